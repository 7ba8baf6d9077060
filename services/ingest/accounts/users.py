"""Users: rows of auth.db, by name and by id.

Lives here: what a name may be, a user's role, and that one enabled admin always remains. Does not live here: passwords
(`passwords`), and what ends when a user is disabled (`sessions`, `tokens`). `connection` is one of a write
transaction where a function changes something.
"""

import re
import sqlite3
from dataclasses import dataclass
from typing import cast

from shared.access.principal import Role
from shared.identity import new_id
from shared.problems import Problem

PREFIX = "u"
NAME_PATTERN = r"^[A-Za-z0-9._-]{3,64}$"
ID_PATTERN = rf"^{PREFIX}_[0-9a-f]{{16}}$"

_NAME = re.compile(r"[A-Za-z0-9._-]{3,64}")
_COLUMNS = "id, username, role, created_at, disabled_at IS NOT NULL AS disabled"


@dataclass(frozen=True)
class User:
    """`created_at` is in seconds since the epoch."""

    id: str
    username: str
    role: Role
    disabled: bool
    created_at: float


def create(connection: sqlite3.Connection, username: str, hashed: str | None, role: Role, now: float) -> User:
    """Make a user; `hashed` is what `passwords` made of the password, None where another service signs them in.

    Raises Problem 422 `invalid_username`, 409 `username_taken`, in any case of its letters."""
    check_name(username)
    user = User(new_id(PREFIX), username, role, disabled=False, created_at=now)
    try:
        connection.execute(
            "INSERT INTO users (id, username, password_hash, role, created_at) VALUES (?, ?, ?, ?, ?)",
            (user.id, username, hashed, role, now),
        )
    except sqlite3.IntegrityError:
        raise taken() from None
    return user


def check_name(username: str) -> None:
    """Raise Problem 422 for what cannot be a user's name."""
    if _NAME.fullmatch(username) is None:
        detail = 'A user name has 3 to 64 letters, digits, ".", "_" or "-", without accents.'
        raise Problem(422, "invalid_username", detail)


def taken() -> Problem:
    """Return the refusal of a name that somebody has."""
    return Problem(409, "username_taken", "Somebody has this user name already. Choose another one.")


def by_name(connection: sqlite3.Connection, username: str) -> User | None:
    """Return the user with this name, in any case of its letters."""
    return _one(connection, "username = ?", username)


def by_id(connection: sqlite3.Connection, user_id: str) -> User | None:
    """Return the user with this id."""
    return _one(connection, "id = ?", user_id)


def existing(connection: sqlite3.Connection, user_id: str) -> User:
    """Return the user with this id. Raises Problem 404 `user_not_found`."""
    user = by_id(connection, user_id)
    if user is None:
        raise Problem(404, "user_not_found", "There is no user with this id.")
    return user


def everyone(connection: sqlite3.Connection) -> list[User]:
    """Return every user, by name."""
    return [_user(row) for row in connection.execute(f"SELECT {_COLUMNS} FROM users ORDER BY username")]  # noqa: S608 -- literals of this module


def set_role(connection: sqlite3.Connection, user_id: str, role: Role) -> User:
    """Give a user another role. Raises Problem 404, 409 `last_admin`."""
    user = existing(connection, user_id)
    if role != "admin":
        _not_the_last_admin(connection, user)
    connection.execute("UPDATE users SET role = ? WHERE id = ?", (role, user_id))
    return existing(connection, user_id)


def set_disabled(connection: sqlite3.Connection, user_id: str, *, disabled: bool, now: float) -> User:
    """Keep a user out, or let them in again. Raises Problem 404, 409 `last_admin`."""
    user = existing(connection, user_id)
    if disabled:
        _not_the_last_admin(connection, user)
    since = now if disabled else None
    connection.execute("UPDATE users SET disabled_at = ? WHERE id = ?", (since, user_id))
    return existing(connection, user_id)


def password_hash(connection: sqlite3.Connection, user_id: str) -> str | None:
    """Return what the user's password is compared with; None for one who only comes by another sign-in service."""
    row = connection.execute("SELECT password_hash FROM users WHERE id = ?", (user_id,)).fetchone()
    return None if row is None else cast(str | None, row["password_hash"])


def set_password_hash(connection: sqlite3.Connection, user_id: str, hashed: str) -> None:
    """Replace what the user's password is compared with."""
    connection.execute("UPDATE users SET password_hash = ? WHERE id = ?", (hashed, user_id))


def count_admins(connection: sqlite3.Connection) -> int:
    """Return how many admins may come in."""
    counted = "SELECT count(*) FROM users WHERE role = 'admin' AND disabled_at IS NULL"
    return cast(int, connection.execute(counted).fetchone()[0])


def _not_the_last_admin(connection: sqlite3.Connection, user: User) -> None:
    if user.role == "admin" and not user.disabled and count_admins(connection) == 1:
        detail = "This is the last admin: nobody could administer Dubline any more. Make somebody else an admin first."
        raise Problem(409, "last_admin", detail)


def _one(connection: sqlite3.Connection, where: str, value: str) -> User | None:
    found = f"SELECT {_COLUMNS} FROM users WHERE {where}"  # noqa: S608 -- only literals of this module
    row = connection.execute(found, (value,)).fetchone()
    return None if row is None else _user(row)


def _user(row: sqlite3.Row) -> User:
    return User(row["id"], row["username"], row["role"], bool(row["disabled"]), row["created_at"])
