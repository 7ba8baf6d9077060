"""When a sign-in needs a second factor, and whether what it shows is one.

Lives here: the one judgement that every way in asks for (password, QR code, OIDC, confirmation). Does not live here:
how the factors work (`totp`, `recovery`), and the limit on tries, which callers ask before (`throttle`).
"""

import sqlite3

from services.ingest.accounts import recovery
from services.ingest.accounts.sealer import SealedFieldError, Sealer
from services.ingest.accounts.totp import enabled
from services.ingest.accounts.totp import use as use_totp
from shared.problems import Problem


def required(connection: sqlite3.Connection, user_id: str) -> bool:
    """Return whether this user must show a second factor. In any transaction."""
    return enabled(connection, user_id)


def verify(
    connection: sqlite3.Connection,
    sealer: Sealer,
    user_id: str,
    totp: str | None,
    recovery_code: str | None,
    now: float,
) -> None:
    """Accept a code, which is used from now on, or raise Problem 401 `totp_required` or `totp_invalid`.

    Nothing is asked of a user without a factor. A code that was accepted once is refused ever after (RFC 6238, 5.2).
    In a writing transaction. Raises Problem 503 `second_factor_unavailable` if the factor cannot be read.
    """
    if not required(connection, user_id):
        return
    if totp:
        accepted = _use_totp(connection, sealer, user_id, totp, now)
    elif recovery_code:
        accepted = recovery.use(connection, user_id, recovery_code, now)
    else:
        raise Problem(401, "totp_required", "This account has a second factor: send `totp`, or `recovery_code`.")
    if not accepted:
        raise invalid()


def invalid() -> Problem:
    """The refusal of a code: whether it was wrong, old or used is not told."""
    return Problem(401, "totp_invalid", "This code is wrong or was used before. Wait for the next one and try again.")


def unavailable() -> Problem:
    """The refusal where auth.db and the key file do not fit together."""
    return Problem(
        503,
        "second_factor_unavailable",
        "The second factor cannot be read: the key file of this installation is another one. A recovery code works.",
    )


def _use_totp(connection: sqlite3.Connection, sealer: Sealer, user_id: str, code: str, now: float) -> bool:
    try:
        return use_totp(connection, sealer, user_id, code, now)
    except SealedFieldError as error:
        raise unavailable() from error
