"""A way back for who forgot the password: an admin hands out a token, and the user alone chooses what follows.

Lives here: the token, good once and for an hour. Does not live here: who may make one (`routes.users`,
`services.standalone.admin_tools`). It never stands for the second factor. `connection` is one of a write transaction
where a function changes something.
"""

import sqlite3

from services.ingest.accounts import users
from services.ingest.accounts.users import User
from shared.access.credentials import digest, new_token
from shared.problems import Problem

LIFETIME_S = 3600.0


def make(connection: sqlite3.Connection, user_id: str, now: float) -> str:
    """Return a new token for the user; one that was made before is worth nothing."""
    token = new_token("reset")
    connection.execute("DELETE FROM password_resets WHERE user_id = ? OR expires_at <= ?", (user_id, now))
    connection.execute("INSERT INTO password_resets VALUES (?, ?, ?)", (digest(token), user_id, now + LIFETIME_S))
    return token


def check(connection: sqlite3.Connection, token: str, now: float) -> User:
    """Return whose token this is. Raises Problem 400 `invalid_reset`, also for one that was used or is too old."""
    row = connection.execute(
        "SELECT user_id FROM password_resets WHERE token_hash = ? AND expires_at > ?", (digest(token), now)
    ).fetchone()
    user = None if row is None else users.by_id(connection, row["user_id"])
    if user is None or user.disabled:
        detail = "This address was used, is older than an hour, or is not whole. Ask an admin for another one."
        raise Problem(400, "invalid_reset", detail)
    return user


def redeem(connection: sqlite3.Connection, token: str, hashed: str, now: float) -> User:
    """Give the user the password that they chose. Of many at once one wins. Raises what `check` raises."""
    user = check(connection, token, now)
    connection.execute("DELETE FROM password_resets WHERE user_id = ?", (user.id,))
    users.set_password_hash(connection, user.id, hashed)
    return user
