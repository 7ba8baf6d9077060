"""Signing in with a password: the order of its checks, and what it ends in.

Lives here: throttle, then hash, then second factor, then a session or tokens. Does not live here: HTTP (`routes.auth`),
and the other ways in (`device_login`, `oidc`). Whoever may not come in is told the same, whatever the reason: unknown
name, wrong password, disabled user; and it took one hash in each case.
"""

import sqlite3
from dataclasses import dataclass

from services.ingest.accounts import second_factor, sessions, throttle, tokens, users
from services.ingest.accounts.accounts import Accounts
from services.ingest.accounts.audit import ANONYMOUS
from services.ingest.accounts.client import Client
from services.ingest.accounts.passwords import Verdict
from services.ingest.accounts.sessions import Opened
from services.ingest.accounts.tokens import Issued
from services.ingest.accounts.users import User
from shared.problems import Problem


@dataclass(frozen=True)
class Attempt:
    """What somebody shows; `session` asks for a browser's session instead of tokens."""

    username: str
    password: str
    totp: str | None = None
    recovery_code: str | None = None
    session: bool = False


@dataclass(frozen=True)
class SignedIn:
    """Who came in, and with what from now on."""

    user: User
    credential: Opened | Issued


def refused() -> Problem:
    """Return the one refusal of a name and a password."""
    return Problem(401, "invalid_credentials", "The user name or the password is wrong, or the account is disabled.")


async def sign_in(accounts: Accounts, attempt: Attempt, client: Client, now: float) -> SignedIn:
    """Let somebody in.

    Raises Problem 401 `invalid_credentials`, `totp_required`, `totp_invalid`, 429, 503 `busy`.
    """
    accounts.throttle.check(throttle.LOGIN, attempt.username, client.address)
    user, kept = await accounts.db.reading(lambda connection: _known(connection, attempt.username))
    verdict = await accounts.passwords.verify(kept, attempt.password)
    if user is None or user.disabled or not verdict.right:
        accounts.audit.record(ANONYMOUS, "login", outcome="failed", about=user.id if user else "", client=client)
        raise refused()
    shows_factor = bool(attempt.totp or attempt.recovery_code)
    with accounts.audit.refusals(ANONYMOUS, "login", about=user.id, client=client):
        if shows_factor:
            accounts.throttle.check(throttle.TOTP, user.id, client.address)
        signed_in = await accounts.db.writing(
            lambda connection: _admit(connection, accounts, user, kept, verdict, attempt, client, now)
        )
    accounts.throttle.succeeded(throttle.LOGIN, attempt.username, client.address)
    if shows_factor:
        accounts.throttle.succeeded(throttle.TOTP, user.id, client.address)
    accounts.audit.record(user.id, "login", about=user.id, client=client, method="password", session=attempt.session)
    return signed_in


def _known(connection: sqlite3.Connection, username: str) -> tuple[User | None, str | None]:
    user = users.by_name(connection, username)
    return user, None if user is None else users.password_hash(connection, user.id)


def _admit(
    connection: sqlite3.Connection,
    accounts: Accounts,
    user: User,
    kept: str | None,
    verdict: Verdict,
    attempt: Attempt,
    client: Client,
    now: float,
) -> SignedIn:
    """In one transaction: while the hash was computed, the user may have been disabled or the password changed."""
    still = users.by_id(connection, user.id)
    if still is None or still.disabled or users.password_hash(connection, user.id) != kept:
        raise refused()
    second_factor.verify(connection, accounts.sealer, user.id, attempt.totp, attempt.recovery_code, now)
    if verdict.renewed is not None:
        users.set_password_hash(connection, user.id, verdict.renewed)
    if attempt.session:
        return SignedIn(still, sessions.open_session(connection, user.id, "password", client, now))
    return SignedIn(still, tokens.issue(connection, user.id, client, now))
