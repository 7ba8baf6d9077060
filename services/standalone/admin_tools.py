"""What the operator of an installation may do about accounts without being signed in: whoever may write auth.db may.

Lives here: the work of `dubline admin`, on auth.db itself, so that it also works while nothing runs. What it changes is
on record like what is changed over HTTP: ingest, when it runs, takes that to the log (`audit_outbox`). Does not live
here: arguments (`cli_admin`), and what the same things are over HTTP (`services.ingest.routes`).
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

from services.ingest.accounts import audit_outbox, invites, resets, setup, users
from services.ingest.accounts.audit import event_of
from services.ingest.accounts.client import Client
from services.ingest.accounts.db import AuthDb, NewerDatabaseError
from services.ingest.accounts.passwords import Passwords, check_new
from services.ingest.accounts.users import User
from shared.access.principal import Role
from shared.identity import LOCAL_OWNER
from shared.layout import Layout
from shared.problems import Problem
from shared.settings import Settings

FAILURES = (NewerDatabaseError, sqlite3.Error, OSError)
AGENT = "dubline admin"
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

    def create(connection: sqlite3.Connection) -> User:
        user = users.create(connection, username, hashed, role, time.time())
        _record(connection, "user.created", user.id, role=role)
        return user

    user = _write(settings, create)
    if role == "admin":
        setup.forget_token(settings.layout)
    return user


def invite(settings: Settings, role: Role, hours: int) -> str:
    """Return the address of a new invite. Raises FAILURES."""

    def make(connection: sqlite3.Connection) -> str:
        made, token = invites.make(connection, role, LOCAL_OWNER, hours, time.time())
        _record(connection, "invite.created", made.id, role=role, hours=hours)
        return token

    return f"{_base(settings)}{INVITE_PAGE}#{_write(settings, make)}"


def reset_password(settings: Settings, username: str) -> str:
    """Return the address where this user chooses another password, once, within an hour. Raises Problem, FAILURES."""

    def make(connection: sqlite3.Connection) -> str:
        user = users.by_name(connection, username)
        if user is None:
            raise Problem(404, "user_not_found", f"There is no user {username!r}.")
        _record(connection, "password.reset_made", user.id)
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


def _record(connection: sqlite3.Connection, action: str, about: str, **detail: str | int) -> None:
    """Write down what this transaction does; whoever may run this command is `local`."""
    event = event_of(LOCAL_OWNER, action, "succeeded", about, Client(agent=AGENT), detail)
    audit_outbox.leave(connection, event)


def _write(settings: Settings, work: Callable[[sqlite3.Connection], T]) -> T:
    with _opened(settings) as db:
        return db.write(work)


@contextmanager
def _opened(settings: Settings) -> Iterator[AuthDb]:
    with closing(AuthDb(settings.layout.auth_db)) as db:
        yield db


def _base(settings: Settings) -> str:
    return settings.public_base_url.rstrip("/") or f"http://127.0.0.1:{settings.port}"
