"""The first admin: made once, by whoever holds the set-up token, and never again.

Lives here: the token, its file, and what it is good for. Does not live here: the command that makes an admin without
one (`services.standalone.cli_admin`).

Set-up is closed because there is an admin, and by nothing else: no flag can say otherwise. While there is none, every
start makes a new token, which lasts an hour.
"""

import sqlite3
from pathlib import Path

from services.ingest.accounts import users
from services.ingest.accounts.users import User
from shared.access.credentials import digest, new_token
from shared.layout import Layout
from shared.problems import Problem
from shared.secret_files import write_private

LIFETIME_S = 3600.0
"""15 to 60 minutes (reference: first run): time enough to find the file."""


def needed(connection: sqlite3.Connection) -> bool:
    """Return whether there is no admin, not even a disabled one."""
    return connection.execute("SELECT 1 FROM users WHERE role = 'admin' LIMIT 1").fetchone() is None


def renew_token(connection: sqlite3.Connection, now: float) -> str | None:
    """Return a new token, which makes all earlier ones worthless; None where set-up is closed."""
    connection.execute("DELETE FROM setup_tokens")
    if not needed(connection):
        return None
    token = new_token("setup")
    connection.execute("INSERT INTO setup_tokens VALUES (?, ?)", (digest(token), now + LIFETIME_S))
    return token


def check(connection: sqlite3.Connection, token: str, now: float) -> None:
    """Raise Problem 410 `setup_closed` or `setup_token_expired`, or 400 `invalid_setup_token`."""
    if not needed(connection):
        raise Problem(410, "setup_closed", "Dubline has an admin: set-up is closed. Sign in, or ask for an invite.")
    row = connection.execute("SELECT expires_at FROM setup_tokens WHERE token_hash = ?", (digest(token),)).fetchone()
    if row is None:
        raise Problem(400, "invalid_setup_token", "This is not the set-up token of the last start of Dubline.")
    if row["expires_at"] <= now:
        detail = "The set-up token is older than an hour. Start Dubline again, which makes another one."
        raise Problem(410, "setup_token_expired", detail)


def create_admin(connection: sqlite3.Connection, token: str, username: str, hashed: str, now: float) -> User:
    """Make the first admin. Of many at once one wins; the others meet Problem 410 `setup_closed`, as in `check`.

    Raises what `check` and `users.create` raise.
    """
    check(connection, token, now)
    user = users.create(connection, username, hashed, "admin", now)
    connection.execute("DELETE FROM setup_tokens")
    return user


def write_token(layout: Layout, token: str) -> Path:
    """Write the token where only this machine's operator reads it, and return the file. Raises OSError.

    Where the secrets are mounted read-only (containers), it lies beside auth.db.
    """
    forget_token(layout)
    try:
        layout.setup_token.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(layout.setup_token, f"{token}\n")
    except OSError:
        write_private(layout.setup_token_fallback, f"{token}\n")
        return layout.setup_token_fallback
    return layout.setup_token


def read_token(layout: Layout) -> str | None:
    """Return the token of the last start, None if set-up is closed or the file is not ours to read."""
    for path in (layout.setup_token, layout.setup_token_fallback):
        try:
            return path.read_text().strip() or None
        except (OSError, UnicodeDecodeError):
            continue
    return None


def forget_token(layout: Layout) -> None:
    """Remove the file, as far as it is ours to remove: without its row the token is worthless anyway."""
    for path in (layout.setup_token, layout.setup_token_fallback):
        try:
            path.unlink(missing_ok=True)
        except OSError:
            continue
