"""Identifiers: UUIDv7 for new things, derived ids for idempotent ones.

Lives here: how ids are made. Does not live here: who may use them (accounts are ingest's).
"""

import hashlib
import re
import secrets
import time
import uuid

LOCAL_OWNER = "local"
"""Whoever holds this machine's own key; owner of what was made before there were accounts."""


def uuid7(unix_ms: int | None = None, randomness: bytes | None = None) -> str:
    """Return a UUIDv7 (RFC 9562, section 5.7) as a string.

    `unix_ms` is milliseconds since the epoch; `randomness` is 10 bytes. Both may be passed in by
    tests and simulations; the defaults are the clock and the operating system's generator.
    """
    ms = int(time.time() * 1000) if unix_ms is None else unix_ms
    rand = secrets.token_bytes(10) if randomness is None else randomness
    value = bytearray(ms.to_bytes(6, "big") + rand)
    value[6] = (value[6] & 0x0F) | 0x70
    value[8] = (value[8] & 0x3F) | 0x80
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def derived_job_id(owner: str, idempotency_key: str) -> str:
    """Return the job id that (owner, idempotency key) always maps to (invariant E1).

    The id is a UUIDv8 (RFC 9562, section 5.8) over SHA-256 of both parts, so a retried submit
    meets the subject of its first try and can never make a second job.
    """
    digest = hashlib.sha256(f"{len(owner)}:{owner}:{idempotency_key}".encode()).digest()
    value = bytearray(digest[:16])
    value[6] = (value[6] & 0x0F) | 0x80
    value[8] = (value[8] & 0x3F) | 0x80
    return str(uuid.UUID(bytes=bytes(value)))


_JOB_ID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


def is_job_id(text: str) -> bool:
    """Return whether this can be a job's id: what is none must never become part of a subject or a path."""
    return _JOB_ID.match(text) is not None


def new_id(prefix: str) -> str:
    """Return an id of another aggregate: its prefix (`proj`, `preset`, `hook`), `_` and 16 hex digits."""
    return f"{prefix}_{secrets.token_hex(8)}"
