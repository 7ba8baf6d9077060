"""Whose a credential is, as auth.db says.

Lives here: from a digest to a principal, the cache of it, and writing down that a credential was used. Does not live
here: the bus and HTTP, over which other services ask (`answering`), and telling of revocations (`revocations`).
"""

import asyncio
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import structlog

from services.ingest.accounts import keys, sessions, users
from services.ingest.accounts.db import AuthDb
from shared.access.principal import CredentialKind, Principal, granted
from shared.access.resolution import AccessUnavailableError, Revoked

CACHE_S = 5.0
"""The longest that a change may go unseen where nobody told of it (issue: accounts)."""
CACHE_MAX = 4096
TOUCH_S = 60.0
"""A use is written down at most so often."""
TOUCH_TOGETHER_S = 1.0
"""Uses of so long a time are written in one transaction."""

Kind = Literal["session", "key"]

log = structlog.get_logger()


@dataclass(frozen=True)
class Found:
    """A principal, and whether its use should be written down."""

    principal: Principal
    touch: Kind | None = None


class StoreResolver:
    """The resolver of the process that has the accounts. To be used from one event loop.

    `now` is seconds since the epoch, what auth.db's times are; the cache's age is monotonic.
    """

    def __init__(self, db: AuthDb, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._now = now
        self._cache: OrderedDict[str, tuple[Principal, float]] = OrderedDict()
        self._forgotten = 0
        self._used: dict[tuple[Kind, str], float] = {}
        self._writing: asyncio.Task[None] | None = None

    async def resolve(self, digest: str) -> Principal | None:
        """Return whose credential this is, None if nobody's. Raises AccessUnavailableError."""
        cached = self._cached(digest)
        if cached is not None:
            return cached
        while True:
            forgotten = self._forgotten
            try:
                found = await self._db.reading(lambda connection: look_up(connection, digest, self._now()))
            except (sqlite3.Error, RuntimeError) as error:  # RuntimeError: the database was closed
                raise AccessUnavailableError("auth.db does not answer") from error
            if forgotten == self._forgotten:  # else a revocation was told meanwhile, and what was read may be older
                break
        if found is None:
            return None
        self._cache[digest] = (found.principal, time.monotonic() + CACHE_S)
        if len(self._cache) > CACHE_MAX:
            self._cache.popitem(last=False)
        if found.touch is not None:
            self._touch(found.touch, found.principal.credential)
        return found.principal

    def forget(self, revoked: Revoked) -> None:
        """Drop what is remembered of these at once. To be called after the change is committed."""
        self._forgotten += 1
        concerned = [digest for digest, (principal, _) in self._cache.items() if revoked.concerns(principal, digest)]
        for digest in concerned:
            del self._cache[digest]

    async def close(self) -> None:
        """Write down what is not yet."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._write_uses()

    def _cached(self, digest: str) -> Principal | None:
        principal, until = self._cache.get(digest, (None, 0.0))
        if principal is None or time.monotonic() >= until:
            return None
        if principal.expires_at is not None and principal.expires_at.timestamp() <= self._now():
            return None
        return principal

    def _touch(self, kind: Kind, credential: str) -> None:
        self._used[kind, credential] = self._now()
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_soon())

    async def _write_soon(self) -> None:
        await asyncio.sleep(TOUCH_TOGETHER_S)
        await self._write_uses()

    async def _write_uses(self) -> None:
        used, self._used = self._used, {}
        if not used:
            return

        def write(connection: sqlite3.Connection) -> None:
            for (kind, credential), when in used.items():
                if kind == "key":
                    keys.touch(connection, credential, when)
                else:
                    sessions.touch(connection, credential, when)

        try:
            await self._db.writing(write)
        except (sqlite3.Error, RuntimeError) as error:
            log.warning("uses_not_written", count=len(used), error=type(error).__name__)


def look_up(connection: sqlite3.Connection, digest: str, now: float) -> Found | None:
    """Return whose a credential is, None if it is nobody's: unknown, idle, expired, revoked, or of a disabled user."""
    return _session(connection, digest, now) or _token(connection, digest, now) or _key(connection, digest, now)


def _session(connection: sqlite3.Connection, digest: str, now: float) -> Found | None:
    session = sessions.find(connection, digest, now)
    user = _user(connection, session.user_id) if session else None
    if session is None or user is None:
        return None
    ends = min(session.expires_at, session.last_used_at + sessions.IDLE_S)
    principal = _principal(user, "session", session.id, ends, confirmed_at=session.confirmed_at)
    return Found(principal, "session" if sessions.stale(session, now) else None)


def _token(connection: sqlite3.Connection, digest: str, now: float) -> Found | None:
    row = connection.execute(
        "SELECT a.expires_at, f.id, f.user_id, f.confirmed_at FROM access_tokens a "
        "JOIN token_families f ON f.id = a.family_id "
        "WHERE a.token_hash = ? AND a.expires_at > ? AND f.expires_at > ? AND f.revoked_at IS NULL",
        (digest, now, now),
    ).fetchone()
    user = _user(connection, row["user_id"]) if row else None
    if row is None or user is None:
        return None
    return Found(_principal(user, "token", row["id"], row["expires_at"], confirmed_at=row["confirmed_at"]))


def _key(connection: sqlite3.Connection, digest: str, now: float) -> Found | None:
    key = keys.by_digest(connection, digest)
    user = _user(connection, key.user_id) if key and key.usable(now) else None
    if key is None or user is None:
        return None
    principal = _principal(user, "key", key.id, key.expires_at, scopes=key.scopes, networks=key.networks)
    fresh = key.last_used_at is not None and now - key.last_used_at < TOUCH_S
    return Found(principal, None if fresh else "key")


def _principal(
    user: users.User,
    kind: CredentialKind,
    credential: str,
    ends: float,
    *,
    confirmed_at: float | None = None,
    scopes: Iterable[str] | None = None,
    networks: tuple[str, ...] = (),
) -> Principal:
    """`scopes`: what the credential is limited to; None: nothing but its owner's role."""
    return Principal(
        user=user.id,
        name=user.username,
        role=user.role,
        scopes=granted(user.role, scopes),
        kind=kind,
        credential=credential,
        expires_at=_time(ends),
        confirmed_at=None if confirmed_at is None else _time(confirmed_at),
        networks=networks,
    )


def _user(connection: sqlite3.Connection, user_id: str) -> users.User | None:
    user = users.by_id(connection, user_id)
    return None if user is None or user.disabled else user


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
