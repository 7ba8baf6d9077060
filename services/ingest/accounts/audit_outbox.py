"""Security events that another process than ingest recorded: rows of auth.db until ingest has put them into the log.

Lives here: leaving one there, in the transaction of what it tells of, and sending what is there. Does not live here:
what an event may say (`audit`). `dubline admin` writes auth.db itself, whether or not there is a broker, and this is
its way to the log: no change is without its record, and no record without its change.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable

import structlog
from pydantic import ValidationError

from services.ingest.accounts.db import AuthDb
from shared.events.access import AuditRecorded

LOOK_S = 1.0
AT_ONCE = 256

Store = Callable[[AuditRecorded], Awaitable[bool]]
"""`Audit.store`. It recognises an event by its id: one whose row could not be removed is in the log once."""

log = structlog.get_logger()


def leave(connection: sqlite3.Connection, event: AuditRecorded) -> None:
    """Keep an event until ingest sends it. In the write transaction of what it tells of."""
    connection.execute("INSERT INTO audit_outbox (id, event) VALUES (?, ?)", (event.id, event.model_dump_json()))


async def send(db: AuthDb, store: Store) -> None:
    """Put what waits into the log, the oldest first, as far as that can be done now. Raises sqlite3.Error."""
    for event in await db.reading(_waiting):
        if not await store(event):
            return
        await db.writing(lambda connection, sent=event.id: _forget(connection, sent))  # type: ignore[misc]


async def send_for_ever(db: AuthDb, store: Store) -> None:
    """Send what other processes leave, soon after they have."""
    while True:
        try:
            await send(db, store)
        except sqlite3.Error as error:  # a full disk, say; the next round tries again
            log.warning("audit_outbox_unreadable", error=type(error).__name__)
        await asyncio.sleep(LOOK_S)


def _waiting(connection: sqlite3.Connection) -> list[AuditRecorded]:
    found = []
    for row in connection.execute("SELECT id, event FROM audit_outbox ORDER BY rowid LIMIT ?", (AT_ONCE,)):
        try:
            found.append(AuditRecorded.model_validate_json(row["event"]))
        except ValidationError:  # of a newer command line; it stays for an ingest that understands it
            log.warning("audit_outbox_undecodable", id=row["id"])
    return found


def _forget(connection: sqlite3.Connection, event_id: str) -> None:
    connection.execute("DELETE FROM audit_outbox WHERE id = ?", (event_id,))
