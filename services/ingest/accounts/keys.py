"""API keys: credentials of programs, which may do less than their owners and never more.

Lives here: making, listing, revoking and pruning them, as functions over auth.db. Does not live here: whose a key is
(`resolver`), and who may make one (`routes.keys`). Times are seconds since the epoch.

A key is shown once, and kept as its SHA-256. What it may do is its scopes as far as its owner's role has them at that
moment (`shared.access.principal.granted`): an admin's narrow key stays narrow (predecessor fault B4).
"""

import secrets
import sqlite3
from dataclasses import dataclass
from typing import cast

from services.ingest.accounts import users
from shared.access.credentials import KEY_PREFIX, digest, new_key
from shared.access.principal import SCOPES, Scope, scopes_of
from shared.problems import Problem

DAY_S = 86400.0
DEFAULT_DAYS = 90
LONGEST_DAYS = 365
KEYS_MAX = 100
"""Usable ones of one user."""
KEPT_S = 30 * DAY_S
"""So long a list shows a key that can no longer be used."""
ID_PATTERN = r"^k[0-9a-f]{16}$"


@dataclass(frozen=True)
class Key:
    """A row without its digest. `networks`: from where it may be used, empty: from anywhere."""

    id: str
    user_id: str
    name: str
    scopes: tuple[Scope, ...]
    networks: tuple[str, ...]
    created_at: float
    expires_at: float
    last_used_at: float | None
    revoked_at: float | None

    @property
    def prefix(self) -> str:
        """The beginning of the key, which tells it from others and is no secret."""
        return f"{KEY_PREFIX}_{self.id}"

    def usable(self, now: float) -> bool:
        return self.revoked_at is None and now < self.expires_at


@dataclass(frozen=True)
class Wanted:
    """What a new key shall be."""

    scopes: frozenset[Scope]
    name: str = ""
    networks: tuple[str, ...] = ()
    days: int = DEFAULT_DAYS


_COLUMNS = "id, user_id, name, scopes, networks, created_at, expires_at, last_used_at, revoked_at"


def create(connection: sqlite3.Connection, owner_id: str, wanted: Wanted, now: float) -> tuple[Key, str]:
    """Make a key for a user; the second value is the key itself, to be shown once. In a write transaction.

    Raises Problem 404 `user_not_found`, 409 `user_disabled` or `too_many_keys`, 403 `scope_not_granted`.
    """
    owner = users.existing(connection, owner_id)
    if owner.disabled:
        raise Problem(409, "user_disabled", "This user is disabled. A key for them could not be used.")
    if beyond := wanted.scopes - scopes_of(owner.role):
        detail = f"{owner.username} may not do {', '.join(sorted(beyond))}, so a key of theirs may not either."
        raise Problem(403, "scope_not_granted", detail)
    usable = "SELECT count(*) FROM api_keys WHERE user_id = ? AND revoked_at IS NULL AND expires_at > ?"
    if connection.execute(usable, (owner.id, now)).fetchone()[0] >= KEYS_MAX:
        detail = f"A user has at most {KEYS_MAX} usable keys. Revoke one that nobody needs."
        raise Problem(409, "too_many_keys", detail)
    key_id = f"k{secrets.token_hex(8)}"
    key = new_key(key_id)
    scopes = tuple(scope for scope in SCOPES if scope in wanted.scopes)
    made = Key(key_id, owner.id, wanted.name, scopes, wanted.networks, now, now + wanted.days * DAY_S, None, None)
    connection.execute(
        "INSERT INTO api_keys (id, key_hash, user_id, name, scopes, networks, created_at, expires_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(key_id, digest(key), owner.id, wanted.name),
            *(" ".join(scopes), " ".join(wanted.networks), now, made.expires_at),
        ),
    )
    return made, key


def by_digest(connection: sqlite3.Connection, key_hash: str) -> Key | None:
    """Return the key with this digest, whether it can be used or not."""
    return _first(connection.execute(f"SELECT {_COLUMNS} FROM api_keys WHERE key_hash = ?", (key_hash,)))  # noqa: S608 -- literals of this module


def by_id(connection: sqlite3.Connection, key_id: str) -> Key | None:
    """Return the key with this id."""
    return _first(connection.execute(f"SELECT {_COLUMNS} FROM api_keys WHERE id = ?", (key_id,)))  # noqa: S608 -- literals of this module


def listed(connection: sqlite3.Connection, user_id: str | None) -> list[Key]:
    """Return a user's keys, None: everybody's, the newest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM api_keys WHERE ?1 IS NULL OR user_id = ?1 ORDER BY created_at DESC, id",  # noqa: S608 -- literals of this module
        (user_id,),
    )
    return [_key(row) for row in rows]


def revoke(connection: sqlite3.Connection, key_id: str, now: float) -> bool:
    """Revoke a key; False if it is revoked already, or there is none. In a write transaction."""
    done = connection.execute("UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, key_id))
    return done.rowcount == 1


def touch(connection: sqlite3.Connection, key_id: str, now: float) -> None:
    """Write down that a key was used. In a write transaction."""
    connection.execute("UPDATE api_keys SET last_used_at = ? WHERE id = ?", (now, key_id))


def prune(connection: sqlite3.Connection, now: float) -> int:
    """Remove keys that nobody could use for a month, and return how many. In a write transaction."""
    before = now - KEPT_S
    gone = connection.execute("DELETE FROM api_keys WHERE expires_at <= ? OR revoked_at <= ?", (before, before))
    return gone.rowcount


def _first(rows: sqlite3.Cursor) -> Key | None:
    row = rows.fetchone()
    return None if row is None else _key(row)


def _key(row: sqlite3.Row) -> Key:
    return Key(
        id=row["id"],
        user_id=row["user_id"],
        name=row["name"],
        scopes=cast(tuple[Scope, ...], tuple(row["scopes"].split())),
        networks=tuple(row["networks"].split()),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
    )
