"""Signatures of the Standard Webhooks specification, symmetric scheme `v1`. Pure.

Lives here: the headers of one attempt. Does not live here: where secrets come from (`shared.webhooks`).
"""

import base64
import hmac
from collections.abc import Sequence

USER_AGENT = "Dubline-Webhooks/1"


def sign(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return one signature, `v1,<base64>`, over id, time (seconds since the epoch) and body."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()


def headers(message_id: str, timestamp: int, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """Return the headers of an attempt, with one signature per secret: receivers accept any that they know."""
    return {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(sign(secret, message_id, timestamp, body) for secret in secrets),
    }
