"""What the log says about uploads: created, completed, removed. Never a chunk.

Lives here: telling the log what it does not know yet, as often as needed. Does not live here: when (`uploads`).

The files are the truth about an upload; the log hears of it, if need be later. So nothing that arrived is refused
because the broker was away in that second. It does not hear its name: whether that is private, only its job will say.
"""

from datetime import UTC, datetime

from services.ingest.history import SOURCE
from services.ingest.uploads.record import Record
from shared.eventlog.port import ConflictError, EventLog, Expect, Recorded
from shared.events.access import (
    UploadCompleted,
    UploadCompletedData,
    UploadCreated,
    UploadCreatedData,
    UploadEvent,
    UploadRemoved,
    UploadRemovedData,
)
from shared.events.subjects import upload_subject
from shared.identity import uuid7

ACTOR = "ingest"
"""Who removes what nobody came back for."""
TRIES = 4
"""Ingest is one process, so another appender is an append of ours whose answer was lost."""


async def announce(log: EventLog, record: Record) -> None:
    """Append what the log lacks of this upload. Raises LogUnavailableError; ConflictError if others append too."""
    subject = upload_subject(record.upload_id)
    for attempt in range(TRIES):
        last = await log.last(subject)
        event = _next(record, last)
        if event is None:
            return
        try:
            await log.append(event, Expect(subject, last.seq if last else 0))
        except ConflictError:
            if attempt == TRIES - 1:
                raise


def _next(record: Record, last: Recorded | None) -> UploadEvent | None:
    """Return the event that comes after `last`, None where all is said. An unknown last event says all."""
    if last is None:  # an upload that went before the log heard of it was never there
        return None if record.state == "removed" else _created(record)
    match last.event:
        case UploadCreated() if record.state in ("complete", "used"):
            return _completed(record)
        case UploadCreated() | UploadCompleted() if record.state == "removed":
            return _removed(record)
        case _:
            return None


def _created(record: Record) -> UploadCreated:
    data = UploadCreatedData(
        owner=record.owner,
        title="",
        total_bytes=record.total_bytes,
        sealed=record.sealed,
        expires_at=datetime.fromtimestamp(record.expires_at, UTC),
    )
    return UploadCreated(**_context(record, record.owner), data=data)


def _completed(record: Record) -> UploadCompleted:
    assert record.sha256 is not None
    data = UploadCompletedData(
        owner=record.owner,
        title="",
        total_bytes=record.total_bytes,
        sha256=record.sha256,
        sealed=record.sealed,
    )
    return UploadCompleted(**_context(record, record.owner), data=data)


def _removed(record: Record) -> UploadRemoved:
    assert record.reason is not None
    data = UploadRemovedData(owner=record.owner, reason=record.reason)
    return UploadRemoved(**_context(record, record.removed_by or ACTOR), data=data)


def _context(record: Record, actor: str) -> dict[str, object]:
    event_id = uuid7()
    return {
        "id": event_id,
        "source": SOURCE,
        "subject": record.upload_id,
        "time": datetime.now(UTC),
        "actor": actor,
        "correlationid": event_id,
    }
