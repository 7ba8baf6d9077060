"""The second factor: time-based one-time passwords (RFC 6238), for every role.

Lives here: the row of a user's factor and its life: asked for, confirmed, used, switched off. Does not live here: when
a sign-in must show one (`second_factor`), and the limits on tries (`throttle`).

An enrolment waits beside the factor that holds and takes its place only when a code proves it (the predecessor's
set-up overwrote it: fault R5.3).
"""

import sqlite3
from dataclasses import dataclass

import pyotp
from pyotp import OTPVerificationError

from services.ingest.accounts import recovery
from services.ingest.accounts.sealer import Sealer

STEP_S = 30
WINDOW_STEPS = 1
"""A clock may be one step off (RFC 6238, 5.2)."""
DIGITS = 6
ISSUER = "Dubline"
PENDING_S = 900.0
"""An enrolment that nobody confirms is forgotten after a quarter of an hour."""
SEALED_AS = "totp"


@dataclass(frozen=True)
class Enrolment:
    """What a person puts into their authenticator and writes down. Shown once."""

    secret: str
    uri: str
    recovery_codes: list[str]


@dataclass(frozen=True)
class State:
    """A user's factor as the user may know it. `confirmed_at` is in seconds since the epoch."""

    enabled: bool
    confirmed_at: float | None
    pending: bool
    recovery_codes_left: int


def state(connection: sqlite3.Connection, user_id: str, now: float) -> State:
    """Return a user's state. In any transaction."""
    row = _row(connection, user_id)
    if row is None:
        return State(enabled=False, confirmed_at=None, pending=False, recovery_codes_left=0)
    enabled = row["secret"] is not None
    return State(
        enabled=enabled,
        confirmed_at=row["confirmed_at"],
        pending=_is_pending(row, now),
        recovery_codes_left=recovery.left(connection, user_id) if enabled else 0,
    )


def enabled(connection: sqlite3.Connection, user_id: str) -> bool:
    """Return whether a user's factor holds. In any transaction."""
    row = _row(connection, user_id)
    return row is not None and row["secret"] is not None


def begin(connection: sqlite3.Connection, sealer: Sealer, user_id: str, username: str, now: float) -> Enrolment:
    """Return a new enrolment, which waits; a factor that holds goes on holding. In a writing transaction."""
    secret = pyotp.random_base32()  # 160 bits, as RFC 4226, 4 recommends
    codes = recovery.new_codes()
    connection.execute(
        "INSERT INTO totp (user_id, pending_secret, pending_codes, pending_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET pending_secret = excluded.pending_secret,"
        " pending_codes = excluded.pending_codes, pending_at = excluded.pending_at",
        (user_id, sealer.seal(secret, SEALED_AS, user_id), " ".join(map(recovery.code_hash, codes)), now),
    )
    uri = pyotp.TOTP(secret, digits=DIGITS, interval=STEP_S).provisioning_uri(name=username, issuer_name=ISSUER)
    return Enrolment(secret, uri, codes)


def confirm(
    connection: sqlite3.Connection, sealer: Sealer, user_id: str, code: str, credential: str, now: float
) -> bool | None:
    """Put the waiting enrolment into force if `code` proves it; `credential` is what the user showed doing so.

    Returns False for a wrong code, None if nothing waits. In a writing transaction. Raises SealedFieldError.
    """
    row = _row(connection, user_id)
    if row is None or not _is_pending(row, now):
        return None
    step = matching_step(sealer.open(row["pending_secret"], SEALED_AS, user_id), code, now)
    if step is None:
        return False
    recovery.replace(connection, user_id, row["pending_codes"].split())
    connection.execute(
        "UPDATE totp SET secret = pending_secret, confirmed_at = ?, confirmed_by = ?, last_step = ?,"
        " pending_secret = NULL, pending_codes = '', pending_at = NULL WHERE user_id = ?",
        (now, credential, step, user_id),
    )
    return True


def use(connection: sqlite3.Connection, sealer: Sealer, user_id: str, code: str, now: float) -> bool:
    """Return whether `code` is right now and newer than the last one that was accepted; it is used from now on.

    The statement decides between requests with the same code: one wins. In a writing transaction. Raises
    SealedFieldError.
    """
    row = _row(connection, user_id)
    if row is None or row["secret"] is None:
        return False
    step = matching_step(sealer.open(row["secret"], SEALED_AS, user_id), code, now)
    if step is None:
        return False
    used = connection.execute(
        "UPDATE totp SET last_step = ? WHERE user_id = ? AND secret IS NOT NULL AND last_step < ?",
        (step, user_id, step),
    )
    return used.rowcount == 1


def remove(connection: sqlite3.Connection, user_id: str) -> None:
    """Switch a user's factor off, its recovery codes with it. In a writing transaction."""
    connection.execute("DELETE FROM totp WHERE user_id = ?", (user_id,))
    recovery.replace(connection, user_id, ())


def passed_by(connection: sqlite3.Connection, user_id: str, credential: str) -> bool:
    """Return whether a session or token family has itself passed the user's factor (true where there is none).

    Every way in asks for it, and putting it into force ends what was open, so what was opened since has passed, and so
    has what put it into force. Anything else has not, however it came to be. In any transaction.
    """
    row = _row(connection, user_id)
    if row is None or row["secret"] is None or row["confirmed_by"] == credential:
        return True
    opened = connection.execute(
        "SELECT created_at FROM sessions WHERE id = ? AND user_id = ?"
        " UNION ALL SELECT created_at FROM token_families WHERE id = ? AND user_id = ?",
        (credential, user_id, credential, user_id),
    ).fetchone()
    return opened is not None and opened["created_at"] >= row["confirmed_at"]


def matching_step(secret: str, code: str, now: float) -> int | None:
    """Return the time step whose code this is, at most one away from `now` (seconds since the epoch); None: wrong."""
    digits = code.replace(" ", "")
    if not (digits.isascii() and digits.isdigit() and len(digits) == DIGITS):
        return None
    try:
        return pyotp.TOTP(secret, digits=DIGITS, interval=STEP_S).verify_and_get_timecode(
            digits, for_time=now, valid_window=WINDOW_STEPS
        )
    except OTPVerificationError:
        return None


def _row(connection: sqlite3.Connection, user_id: str) -> sqlite3.Row | None:
    found: sqlite3.Row | None = connection.execute("SELECT * FROM totp WHERE user_id = ?", (user_id,)).fetchone()
    return found


def _is_pending(row: sqlite3.Row, now: float) -> bool:
    return row["pending_secret"] is not None and now < row["pending_at"] + PENDING_S
