"""Projects and presets as the log tells them: aggregates of few events, folded whenever they are needed.

Lives here: reading them, and the envelope of their events. Does not live here: what they may be.
Nothing is remembered between requests: whoever else writes is seen at once.
"""

from datetime import UTC, datetime
from typing import Any, TypeVar

from services.ingest.asker import By
from services.ingest.history import SOURCE
from shared.eventlog.port import EventLog
from shared.events.envelope import Envelope
from shared.events.library import CurationData, PresetDeleted, PresetSaved, ProjectDeleted, ProjectSaved
from shared.identity import uuid7

SavedT = TypeVar("SavedT", ProjectSaved, PresetSaved)

REMOVED = CurationData(reason="deleted by its owner")


async def read_saved(log: EventLog, scope: str, kind: type[SavedT]) -> tuple[dict[str, SavedT], int]:
    """Return the newest event of each aggregate in `scope` that is not deleted, by id, and the scope's last sequence.

    Raises LogUnavailableError.
    """
    found: dict[str, SavedT] = {}
    head = 0
    while batch := await log.read(scope, after=head):
        for recorded in batch:
            if isinstance(recorded.event, kind):
                found[recorded.event.subject] = recorded.event
            elif isinstance(recorded.event, ProjectDeleted | PresetDeleted):
                found.pop(recorded.event.subject, None)
        head = batch[-1].seq
    return found, head


def envelope(subject: str, by: By, cause: Envelope | None = None) -> dict[str, Any]:
    """Return the attributes of a new event about a project or a preset; `cause` is the state that it follows."""
    event_id = uuid7()
    return {
        "id": event_id,
        "source": SOURCE,
        "subject": subject,
        "time": datetime.now(UTC),
        "actor": by.actor,
        "correlationid": cause.correlationid if cause else event_id,
        "traceparent": by.traceparent,
    }
