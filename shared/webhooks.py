"""What ingest and the library both need of outgoing webhooks: the names of events, ids, limits, and secrets.

Lives here: those. Does not live here: where a webhook may go (`shared.webhook_targets`), and sending it (the library).
A secret is in no event and no file: it is derived from the installation's key, the webhook's id and its generation.
"""

import base64
import hashlib
import hmac
import os
import re
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Literal, get_args

from shared.artifacts import fsync_dir
from shared.layout import Layout

EventName = Literal[
    "job.submitted", "job.started", "job.completed", "job.failed", "job.canceled", "job.paused", "job.resumed",
    "job.requeued", "job.tagged", "job.archived", "job.unarchived", "job.visibility_changed", "job.deleted",
    "stage.completed", "stage.failed",
]  # fmt: skip
OFFERED: tuple[EventName, ...] = get_args(EventName)
DEFAULT_EVENTS: tuple[EventName, ...] = ("job.completed", "job.failed", "job.canceled")
"""What a webhook gets that names no events."""
TEST_EVENT = "webhook.test"

PER_OWNER_MAX = 20
URL_MAX_CHARS = 2000
DESCRIPTION_MAX_CHARS = 200
OLD_SECRET_TIME = timedelta(hours=24)
"""After a rotation the secret before signs too for so long."""

KEY_BYTES = 32
SECRET_PREFIX = "whsec_"  # noqa: S105 -- the prefix of the Standard Webhooks specification

_WEBHOOK_ID = re.compile(r"^hook_[0-9a-f]{16}\Z")
_MESSAGE_ID = re.compile(r"^msg_[0-9a-f]{32}\Z")
_EVENT_TYPE = re.compile(r"^dubline\.(.+)\.v\d+\Z")


class KeyUnusableError(Exception):
    """The installation's webhook key is missing or damaged; the message says what to do."""


def event_name(event_type: str) -> str:
    """Return what receivers call an event of this CloudEvents type: `dubline.job.failed.v1` is `job.failed`."""
    match = _EVENT_TYPE.match(event_type)
    return match[1] if match else event_type


def is_webhook_id(text: str) -> bool:
    """Return whether this can be a webhook's id: what is none must never become part of a subject."""
    return _WEBHOOK_ID.match(text) is not None


def is_message_id(text: str) -> bool:
    """Return whether this can be the id of a delivery."""
    return _MESSAGE_ID.match(text) is not None


def message_id(webhook_id: str, event_id: str) -> str:
    """Return the `webhook-id` of one event for one webhook: the same for every attempt, restart and redelivery.

    It comes from the event's id and not from its sequence, which a log restored from a backup gives out again.
    """
    return "msg_" + hashlib.sha256(f"{webhook_id}:{event_id}".encode()).hexdigest()[:32]


def key_file(layout: Layout) -> Path:
    """Return where the installation's key lies: 32 random bytes, mode 0600."""
    return layout.secrets / "webhooks.key"


def read_key(layout: Layout) -> bytes:
    """Return the installation's key. Raises KeyUnusableError."""
    path = key_file(layout)
    try:
        key = path.read_bytes()
    except OSError as error:
        raise KeyUnusableError(f"{path.name} cannot be read: {error.strerror}") from error
    if len(key) != KEY_BYTES:
        raise KeyUnusableError(f"{path.name} has {len(key)} bytes instead of {KEY_BYTES}. Restore it from a backup.")
    return key


def ensure_key(layout: Layout) -> bytes:
    """Return the installation's key, made now if there is none; of two that make one, both get the first's.

    Raises KeyUnusableError, also where the directory cannot be written.
    """
    path = key_file(layout)
    if path.exists():
        return read_key(layout)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(file, secrets.token_bytes(KEY_BYTES))
                os.fsync(file)
            finally:
                os.close(file)
            path.hardlink_to(temporary)
        except FileExistsError:
            pass
        finally:
            temporary.unlink(missing_ok=True)
        fsync_dir(path.parent)
    except OSError as error:
        raise KeyUnusableError(f"{path.name} cannot be made: {error.strerror}") from error
    return read_key(layout)


def derive_secret(key: bytes, webhook_id: str, generation: int) -> bytes:
    """Return the 32 bytes that sign for one generation of a webhook: HMAC-SHA256 under the installation's key."""
    return hmac.digest(key, f"dubline webhook secret v1\0{webhook_id}\0{generation}".encode(), "sha256")


def print_secret(secret: bytes) -> str:
    """Return the secret as receivers' libraries take it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()
