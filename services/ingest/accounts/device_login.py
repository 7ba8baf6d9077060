"""Signing in a new device with one that is signed in: the direction of RFC 8628.

The new device shows a code and a number. A person who is signed in elsewhere opens the code, sees what asks, types the
number and agrees; then the new device, which asks again and again, gets its session, once. Lives here: the rows and
their states. Does not live here: who may agree (`routes.qr`), and drawing the code.
"""

import secrets
import sqlite3
from dataclasses import dataclass
from enum import Enum

from services.ingest.accounts.client import Client
from shared.access.credentials import digest, secret
from shared.problems import Problem

EXPIRES_S = 300.0
INTERVAL_S = 5.0
SLOWER_S = 5.0
"""RFC 8628, 3.5: whoever asks too often is to wait so much longer from then on."""
SLACK_S = 0.5
"""What a network may shorten an interval by."""
ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""RFC 8628, 6.1: no vowels, so no words; 8 of 20 letters are 34.5 bits, behind a limit of tries."""
CODE_CHARS = 8
MAX_WAITING = 500
"""Sign-ins that wait for an answer at one time in the whole installation."""


@dataclass(frozen=True)
class Begun:
    """What the new device is told. `device_code` and `browser` (its cookie) are secrets, kept as digests."""

    device_code: str
    browser: str
    user_code: str
    number: str


@dataclass(frozen=True)
class Waiting:
    """What the person who is to agree sees. `age_s` is in seconds."""

    user_code: str
    address: str
    agent: str
    age_s: float
    expires_in_s: float


class Verdict(Enum):
    """What became of an answer."""

    DONE = "done"
    UNKNOWN = "unknown"
    ANSWERED = "answered"
    WRONG_NUMBER = "wrong number"


def begin(connection: sqlite3.Connection, client: Client, now: float) -> Begun:
    """Return a new request to sign in. In a writing transaction. Raises Problem 429 when too many wait."""
    connection.execute("DELETE FROM device_logins WHERE expires_at <= ?", (now - EXPIRES_S,))
    waiting = connection.execute(
        "SELECT count(*) FROM device_logins WHERE state = 'pending' AND expires_at > ?", (now,)
    ).fetchone()[0]
    if waiting >= MAX_WAITING:
        detail = "Too many devices wait for their sign-in. Try again in five minutes."
        raise Problem(429, "too_many_requests", detail, headers={"Retry-After": str(int(EXPIRES_S))})
    begun = Begun(secret(), secret(), _free_code(connection), str(secrets.randbelow(90) + 10))
    connection.execute(
        "INSERT INTO device_logins (device_hash, user_code, browser_hash, number, state, created_at, expires_at,"
        " interval_s, address, user_agent) VALUES (?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?)",
        (
            *(digest(begun.device_code), begun.user_code, digest(begun.browser), begun.number),
            *(now, now + EXPIRES_S, INTERVAL_S, client.address, client.agent),
        ),
    )
    return begun


def waiting(connection: sqlite3.Connection, user_code: str, now: float) -> Waiting | None:
    """Return the request with this code that waits for an answer; None for any other. In any transaction."""
    row = connection.execute(
        "SELECT * FROM device_logins WHERE user_code = ? AND state = 'pending' AND expires_at > ?",
        (normalized(user_code), now),
    ).fetchone()
    if row is None:
        return None
    return Waiting(
        grouped(row["user_code"]),
        row["address"],
        row["user_agent"],
        now - row["created_at"],
        row["expires_at"] - now,
    )


def approve(
    connection: sqlite3.Connection, user_code: str, number: str, user_id: str, credential: str, now: float
) -> Verdict:
    """Let the device in as this user, if the number is the one it shows; a wrong number refuses it for good.

    The statement decides between answers at one time: one wins. In a writing transaction, to be committed whatever
    the verdict.
    """
    code = normalized(user_code)
    approved = connection.execute(
        "UPDATE device_logins SET state = 'approved', user_id = ?, approved_by = ?"
        " WHERE user_code = ? AND number = ? AND state = 'pending' AND expires_at > ?",
        (user_id, credential, code, number, now),
    )
    if approved.rowcount == 1:
        return Verdict.DONE
    return Verdict.WRONG_NUMBER if deny(connection, code, now) is Verdict.DONE else _why_not(connection, code, now)


def deny(connection: sqlite3.Connection, user_code: str, now: float) -> Verdict:
    """Refuse the device. In a writing transaction."""
    code = normalized(user_code)
    denied = connection.execute(
        "UPDATE device_logins SET state = 'denied' WHERE user_code = ? AND state = 'pending' AND expires_at > ?",
        (code, now),
    )
    return Verdict.DONE if denied.rowcount == 1 else _why_not(connection, code, now)


@dataclass(frozen=True)
class Polled:
    """The answer to the new device: `user_id` of the one it may sign in as, else the error of RFC 8628, 3.5."""

    user_id: str | None
    error: str = ""
    interval_s: float = INTERVAL_S


def redeem(connection: sqlite3.Connection, device_code: str, browser: str, now: float) -> Polled:
    """Return whether the device may come in now. It may once, and only in the browser that began.

    In a writing transaction, to be committed whatever the answer. An approval counts as long as the session that gave
    it lives, and its user may come in.
    """
    row = connection.execute(
        "SELECT * FROM device_logins WHERE device_hash = ? AND browser_hash = ?",
        (digest(device_code), digest(browser)),
    ).fetchone()
    if row is None or row["state"] == "redeemed":
        return Polled(None, "invalid_grant")
    if row["state"] == "denied":
        return Polled(None, "access_denied")
    if row["expires_at"] <= now:
        return Polled(None, "expired_token")
    if row["state"] == "pending":
        return _asked_again(connection, row, now)
    taken = connection.execute(
        "UPDATE device_logins SET state = 'redeemed' WHERE device_hash = ? AND state = 'approved'",
        (row["device_hash"],),
    )
    if taken.rowcount != 1:
        return Polled(None, "invalid_grant")
    return Polled(row["user_id"]) if _approval_holds(connection, row) else Polled(None, "access_denied")


def forget(connection: sqlite3.Connection, user_id: str) -> None:
    """Forget what a user approved and no device has come in with yet. In a writing transaction."""
    connection.execute("DELETE FROM device_logins WHERE user_id = ? AND state = 'approved'", (user_id,))


def grouped(user_code: str) -> str:
    """Return a code as it is shown, `XXXX-XXXX`."""
    return f"{user_code[:4]}-{user_code[4:]}"


def normalized(user_code: str) -> str:
    """Return a code as it is kept, however a person typed it (RFC 8628, 6.1)."""
    return "".join(c for c in user_code.upper() if c in ALPHABET)


def _asked_again(connection: sqlite3.Connection, row: sqlite3.Row, now: float) -> Polled:
    interval = row["interval_s"]
    too_soon = row["polled_at"] is not None and now - row["polled_at"] < interval - SLACK_S
    interval += SLOWER_S if too_soon else 0
    connection.execute(
        "UPDATE device_logins SET polled_at = ?, interval_s = ? WHERE device_hash = ?",
        (now, interval, row["device_hash"]),
    )
    return Polled(None, "slow_down" if too_soon else "authorization_pending", interval)


def _approval_holds(connection: sqlite3.Connection, row: sqlite3.Row) -> bool:
    found = connection.execute(
        "SELECT 1 FROM users WHERE id = :user AND disabled_at IS NULL AND ("
        " EXISTS (SELECT 1 FROM sessions WHERE id = :by AND user_id = :user)"
        " OR EXISTS (SELECT 1 FROM token_families WHERE id = :by AND user_id = :user AND revoked_at IS NULL))",
        {"user": row["user_id"], "by": row["approved_by"]},
    ).fetchone()
    return found is not None


def _why_not(connection: sqlite3.Connection, code: str, now: float) -> Verdict:
    row = connection.execute(
        "SELECT 1 FROM device_logins WHERE user_code = ? AND state <> 'pending' AND expires_at > ?", (code, now)
    ).fetchone()
    return Verdict.UNKNOWN if row is None else Verdict.ANSWERED


def _free_code(connection: sqlite3.Connection) -> str:
    while True:
        code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_CHARS))
        if connection.execute("SELECT 1 FROM device_logins WHERE user_code = ?", (code,)).fetchone() is None:
            return code
