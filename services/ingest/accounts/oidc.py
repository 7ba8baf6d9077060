"""Sign-ins with an OpenID provider: which browser began them, where they go on, and whose account they open.

Lives here: rows of auth.db. Does not live here: talking to the provider (`oidc_provider`). A user is found by issuer
and subject alone: an e-mail address is no proof of being the same person, so no account is ever linked by one.
"""

import re
import secrets
import sqlite3
from dataclasses import dataclass

from services.ingest.accounts import users
from services.ingest.accounts.id_token import Identity, IdentityRefusedError
from services.ingest.accounts.users import User
from shared.access.credentials import digest, secret
from shared.access.principal import Role
from shared.problems import Problem

EXPIRES_S = 600.0
"""Time to sign in at the provider, its own second factor included."""
MAX_WAITING = 2000
"""Sign-ins under way at one time in the whole installation."""
NEXT_MAX = 500
DEFAULT_NEXT = "/ui/"
NAME_MAX = 58
"""Six characters of the longest user name are left to tell two people of one name apart."""


@dataclass(frozen=True)
class Begun:
    """A sign-in that begins: `browser` goes into a cookie, the others to the provider. All are 256 bits."""

    state: str
    browser: str
    nonce: str
    verifier: str


@dataclass(frozen=True)
class Resumed:
    """A sign-in whose browser came back."""

    nonce: str
    verifier: str
    next_path: str


def begin(connection: sqlite3.Connection, next_path: str, now: float) -> Begun:
    """Return a new sign-in. In a writing transaction. Raises Problem 429 when too many are under way."""
    _make_room(connection, now)
    begun = Begun(secret(), secret(), secret(), secret())
    connection.execute(
        "INSERT INTO oidc_states (state_hash, browser_hash, nonce, verifier, next_path, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (digest(begun.state), digest(begun.browser), begun.nonce, begun.verifier, next_path, now + EXPIRES_S),
    )
    return begun


def resume(connection: sqlite3.Connection, state: str, browser: str, now: float) -> Resumed | None:
    """Return the sign-in that this browser began with this state, once; None for any other.

    In a writing transaction. Another browser's try leaves it to the one that began.
    """
    row = connection.execute(
        "DELETE FROM oidc_states WHERE state_hash = ? AND browser_hash = ? AND user_id IS NULL AND expires_at > ?"
        " RETURNING nonce, verifier, next_path",
        (digest(state), digest(browser), now),
    ).fetchall()
    return Resumed(*row[0]) if row else None


def wait_for_factor(connection: sqlite3.Connection, user_id: str, now: float) -> str:
    """Remember that the provider named this user, whose second factor is to be shown; return the browser's secret.

    In a writing transaction.
    """
    _make_room(connection, now)
    browser = secret()
    connection.execute(
        "INSERT INTO oidc_states (state_hash, browser_hash, nonce, verifier, next_path, expires_at, user_id)"
        " VALUES (?, ?, '', '', '', ?, ?)",
        (digest(secret()), digest(browser), now + EXPIRES_S, user_id),
    )
    return browser


def waiting_user(connection: sqlite3.Connection, browser: str, now: float) -> str | None:
    """Return the user whose second factor this browser is to show. In any transaction."""
    row = connection.execute(
        "SELECT user_id FROM oidc_states WHERE browser_hash = ? AND user_id IS NOT NULL AND expires_at > ?",
        (digest(browser), now),
    ).fetchone()
    return None if row is None else str(row["user_id"])


def finish(connection: sqlite3.Connection, browser: str) -> bool:
    """End the wait for a second factor; False if another request did. In a writing transaction."""
    ended = connection.execute(
        "DELETE FROM oidc_states WHERE browser_hash = ? AND user_id IS NOT NULL", (digest(browser),)
    )
    return ended.rowcount == 1


def forget(connection: sqlite3.Connection, user_id: str) -> None:
    """Forget a user's sign-ins that wait for a second factor. In a writing transaction."""
    connection.execute("DELETE FROM oidc_states WHERE user_id = ?", (user_id,))


def user_of(
    connection: sqlite3.Connection, issuer: str, identity: Identity, *, create_as: Role | None, now: float
) -> tuple[User, bool]:
    """Return the user with this identity and whether they are new; `create_as`: the role of one who comes first.

    In a writing transaction. Raises IdentityRefusedError for one who may not come in.
    """
    row = connection.execute(
        "SELECT id FROM users WHERE oidc_issuer = ? AND oidc_subject = ?", (issuer, identity.subject)
    ).fetchone()
    if row is not None:
        user = users.existing(connection, row["id"])
        if user.disabled:
            raise IdentityRefusedError("The user is disabled.")
        return user, False
    if create_as is None:
        raise IdentityRefusedError("Nobody here has this identity.", "oidc_user_unknown")
    user = users.create(connection, _free_name(connection, identity), None, create_as, now)
    connection.execute(
        "UPDATE users SET oidc_issuer = ?, oidc_subject = ? WHERE id = ?", (issuer, identity.subject, user.id)
    )
    return user, True


def check_domain(identity: Identity, allowed: frozenset[str]) -> None:
    """Refuse one without a proved e-mail address of an allowed domain; no allowed ones: everybody may come.

    Raises IdentityRefusedError.
    """
    if allowed and identity.email.rpartition("@")[2].lower() not in allowed:
        raise IdentityRefusedError("The e-mail address is not proved, or of no domain that may come in.")


def local_path(wanted: str) -> str:
    """Return `wanted` if a browser can only take it for a path of this site, else `/ui/`: no open redirect."""
    is_local = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted
    return wanted if is_local and _plain(wanted) else DEFAULT_NEXT


def _plain(text: str) -> bool:
    """Browsers drop some control characters before they read an address, so none may be in it."""
    return len(text) <= NEXT_MAX and all("!" <= c <= "~" for c in text)


def _make_room(connection: sqlite3.Connection, now: float) -> None:
    connection.execute("DELETE FROM oidc_states WHERE expires_at <= ?", (now,))
    if connection.execute("SELECT count(*) FROM oidc_states").fetchone()[0] >= MAX_WAITING:
        detail = "Too many sign-ins are under way. Try again in ten minutes."
        raise Problem(429, "too_many_requests", detail, headers={"Retry-After": str(int(EXPIRES_S))})


def _free_name(connection: sqlite3.Connection, identity: Identity) -> str:
    """Return a user name like the one at the provider; who had it first keeps it."""
    wanted = identity.suggested_name or identity.email.partition("@")[0]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("-._")[:NAME_MAX]
    name = name if len(name) >= 3 else "user"
    while users.by_name(connection, name) is not None:
        name = f"{name[:NAME_MAX]}-{secrets.token_hex(2)}"
    return name
