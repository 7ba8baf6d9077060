"""The newest security events, to be looked through.

Lives here: a bounded table that follows the log, and its questions. Does not live here: recording (`audit`).

The log is the truth, but it reads forwards only: the newest 50 of one user among a million events of all kinds would
mean reading all audit events for every look (predecessor fault E6 was the short cut: one day's file). So the newest
100,000 are kept in auth.db by sequence, and brought up to date by one short read before every question.
"""

import asyncio
import json
import sqlite3
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import structlog

from services.ingest.accounts import audit_outbox
from services.ingest.accounts.audit import ANONYMOUS, Audit
from services.ingest.accounts.db import AuthDb
from shared.eventlog.port import EventLog, LogUnavailableError, Recorded
from shared.events.access import AuditRecorded, Outcome
from shared.events.subjects import ALL_AUDIT

KEPT = 100_000
BATCH = 256
SETTLE_S = 1.0
"""A question waits so long for what was recorded a moment ago."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Entry:
    """One event. `time` is seconds since the epoch."""

    id: str
    time: float
    actor: str
    action: str
    outcome: Outcome
    about: str
    address: str
    agent: str
    detail: dict[str, str | int | bool]


@dataclass(frozen=True)
class Asked:
    """Which events: those by or about `user`, and so on; all that is set must hold. Times are seconds since the epoch.

    `own`: the user asks for themself, who is not told from where others acted.
    """

    user: str | None = None
    own: bool = False
    action: str | None = None
    outcome: Outcome | None = None
    since: float | None = None
    until: float | None = None


class AuditTrail:
    """To be used from one event loop."""

    def __init__(self, db: AuthDb, events: EventLog, audit: Audit) -> None:
        self._db = db
        self._events = events
        self._audit = audit
        self._position: int | None = None
        self._following = asyncio.Lock()

    async def recent(self, asked: Asked, limit: int) -> list[Entry]:
        """Return the newest events, the newest first. While the broker is away, those that are known here."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await audit_outbox.send(self._db, self._audit.store)
        await self._audit.settle(SETTLE_S)
        try:
            await self.catch_up()
        except LogUnavailableError:
            log.info("audit_trail_behind")
        return await self._db.reading(lambda connection: find(connection, asked, limit))

    async def catch_up(self) -> None:
        """Take in what the log has beyond the table. Raises LogUnavailableError."""
        async with self._following:
            if self._position is None:
                self._position = await self._start()
            while batch := await self._events.read(ALL_AUDIT, after=self._position, limit=BATCH):
                await self._db.writing(lambda connection, batch=batch: _store(connection, batch))  # type: ignore[misc]
                self._position = batch[-1].seq

    async def _start(self) -> int:
        newest = await self._events.last(ALL_AUDIT)
        known = await self._db.reading(_newest)
        if known > (newest.seq if newest else 0):  # another log than the one that this table followed
            log.warning("audit_trail_emptied", known=known)
            await self._db.writing(lambda connection: connection.execute("DELETE FROM audit_events"))
            return 0
        return known


def find(connection: sqlite3.Connection, asked: Asked, limit: int) -> list[Entry]:
    """Return the newest events of the table, the newest first."""
    conditions = {
        "(actor = :user OR about = :user)": asked.user,
        "action = :action": asked.action,
        "outcome = :outcome": asked.outcome,
        "time >= :since": asked.since,
        "time < :until": asked.until,
    }
    wanted = " AND ".join(condition for condition, value in conditions.items() if value is not None) or "TRUE"
    values: dict[str, Any] = vars(asked) | {"limit": limit}
    rows = connection.execute(
        "SELECT id, time, actor, action, outcome, about, address, agent, detail "  # noqa: S608 -- literals of this module
        f"FROM audit_events WHERE {wanted} ORDER BY seq DESC LIMIT :limit",
        values,
    )
    found = [Entry(**{**dict(row), "detail": json.loads(row["detail"])}) for row in rows]
    return [_for_user(entry, asked.user) for entry in found] if asked.own else found


def _for_user(entry: Entry, user: str | None) -> Entry:
    """Strangers' addresses are told: whose account it is should know who tries. Other users' are theirs."""
    return entry if entry.actor in (user, ANONYMOUS) else replace(entry, address="", agent="")


def prune(connection: sqlite3.Connection, kept: int = KEPT) -> int:
    """Remove all but the newest, and return how many. In a write transaction."""
    gone = connection.execute(
        "DELETE FROM audit_events WHERE seq <= (SELECT seq FROM audit_events ORDER BY seq DESC LIMIT 1 OFFSET ?)",
        (kept,),
    )
    return gone.rowcount


def _newest(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM audit_events").fetchone()[0])


def _store(connection: sqlite3.Connection, batch: list[Recorded]) -> None:
    connection.executemany(
        # An event that was stored twice, because its first answer came too late, has one id.
        "INSERT OR IGNORE INTO audit_events (seq, id, time, actor, action, outcome, about, address, agent, detail) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [_row(record.seq, record.event) for record in batch if isinstance(record.event, AuditRecorded)],
    )


def _row(seq: int, event: AuditRecorded) -> tuple[int | str | float, ...]:
    data = event.data
    return (
        *(seq, event.id, event.time.timestamp(), event.subject, data.action, data.outcome, data.about),
        *(data.address, data.agent, json.dumps(data.detail)),
    )
