"""What the operator of an installation may do about accounts without being signed in: whoever may write auth.db may.

Lives here: the work of `dubline admin`, on auth.db itself, so that it also works while nothing runs. Does not live
here: arguments (`cli_admin`), and what the same things are over HTTP (`services.ingest.routes`).
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

from services.ingest.accounts import invites, resets, setup, users
from services.ingest.accounts.db import AuthDb, NewerDatabaseError
from services.ingest.accounts.passwords import Passwords, check_new
from services.ingest.accounts.users import User
from shared.access.principal import Role
from shared.identity import LOCAL_OWNER
from shared.layout import Layout
from shared.problems import Problem
from shared.settings import Settings

FAILURES = (NewerDatabaseError, sqlite3.Error, OSError)
SETUP_PAGE, INVITE_PAGE, RESET_PAGE = "/ui/setup", "/ui/invite", "/ui/reset"

T = TypeVar("T")


def check_choice(username: str, password: str) -> None:
    """Raise Problem 422 for a name or a password that cannot be chosen, before anything is made."""
    users.check_name(username)
    check_new(password, username)


def create_user(settings: Settings, username: str, password: str, role: Role) -> User:
    """Make a user with a password of their own typing. Raises Problem, FAILURES."""
    check_choice(username, password)
    with closing(Passwords()) as passwords:
        hashed = passwords.hash_now(password)
    user = _write(settings, lambda connection: users.create(connection, username, hashed, role, time.time()))
    if role == "admin":
        setup.forget_token(settings.layout)
    return user


def invite(settings: Settings, role: Role, hours: int) -> str:
    """Return the address of a new invite. Raises FAILURES."""
    _, token = _write(settings, lambda connection: invites.make(connection, role, LOCAL_OWNER, hours, time.time()))
    return f"{_base(settings)}{INVITE_PAGE}#{token}"


def reset_password(settings: Settings, username: str) -> str:
    """Return the address where this user chooses another password, once, within an hour. Raises Problem, FAILURES."""

    def make(connection: sqlite3.Connection) -> str:
        user = users.by_name(connection, username)
        if user is None:
            raise Problem(404, "user_not_found", f"There is no user {username!r}.")
        return resets.make(connection, user.id, time.time())

    return f"{_base(settings)}{RESET_PAGE}#{_write(settings, make)}"


def everyone(settings: Settings) -> list[User]:
    """Return every user, by name. Raises FAILURES."""
    with _opened(settings) as db:
        return db.read(users.everyone)


def setup_address(layout: Layout, url: str) -> str | None:
    """Return where the first admin is made, None once there is one. The token stands behind the `#`, which a browser
    keeps to itself.
    """
    token = setup.read_token(layout)
    return None if token is None else f"{url}{SETUP_PAGE}#{token}"


def _write(settings: Settings, work: Callable[[sqlite3.Connection], T]) -> T:
    with _opened(settings) as db:
        return db.write(work)


@contextmanager
def _opened(settings: Settings) -> Iterator[AuthDb]:
    with closing(AuthDb(settings.layout.auth_db)) as db:
        yield db


def _base(settings: Settings) -> str:
    return settings.public_base_url.rstrip("/") or f"http://127.0.0.1:{settings.port}"
