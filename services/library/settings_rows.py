"""Rows of projects, presets and uploads: each comes of its event and the row before it; there is no aggregate of them.

Lives here: which row an event of theirs makes or removes. Does not live here: when it is written (`projection`), and
what may be saved or uploaded at all (`services.ingest`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import TypeAdapter

from shared.events.access import UploadCompleted, UploadCreated, UploadEvent, UploadRemoved
from shared.events.envelope import Timestamp
from shared.events.library import PresetDeleted, PresetSaved, ProjectDeleted, ProjectSaved
from shared.events.types import Event, JobSubmitted

_TIMESTAMP: TypeAdapter[object] = TypeAdapter(Timestamp)

Table = Literal["projects", "presets", "uploads"]
Row = dict[str, Any]
Before = Callable[[str], Row | None]
"""The row of an upload as it is so far, by its id."""


@dataclass(frozen=True)
class SettingsRow:
    """The row of `table` under `key` as it is from here on; None: there is none any more."""

    table: Table
    key: str
    value: Row | None


def settings_row(event: Event, upload: Before) -> SettingsRow | None:
    """Return what an event does to a row of projects, presets or uploads; None for any other kind of event."""
    match event:
        case ProjectSaved():
            data = event.model_dump(mode="json", include={"time", "data"})
            return SettingsRow("projects", event.subject, _saved(event.subject, data))
        case PresetSaved():
            data = event.model_dump(mode="json", include={"time", "data"})
            return SettingsRow("presets", event.subject, _saved(event.subject, data))
        case ProjectDeleted():
            return SettingsRow("projects", event.subject, None)
        case PresetDeleted():
            return SettingsRow("presets", event.subject, None)
        case UploadCreated() | UploadCompleted() | UploadRemoved():
            return _uploaded(event, upload)
        case _:
            return None


def used_upload(event: Event) -> SettingsRow | None:
    """Return that an upload's row goes, for the submission that made it a job's source; None for any other event."""
    if isinstance(event, JobSubmitted) and event.data.upload_id:
        return SettingsRow("uploads", event.data.upload_id, None)
    return None


def _uploaded(event: UploadEvent, upload: Before) -> SettingsRow:
    """Return the row of an upload that is there to be used, or that it is gone.

    What is completed late, after a job was made of it, stays gone. A complete upload is kept as long from then on as
    it was from the beginning: the same setting of ingest's counts for both.
    """
    told = event.model_dump(mode="json", include={"time", "data"})
    data: Row = told["data"]
    if isinstance(event, UploadCreated):
        row = {
            "id": event.subject,
            "owner_id": data["owner"],
            "filename": data["title"],
            "total_bytes": data["total_bytes"],
            "completed": False,
            "encrypted": data["sealed"],
            "sha256": None,
            "created_at": told["time"],
            "updated_at": told["time"],
            "expires_at": data["expires_at"],
        }
        return SettingsRow("uploads", event.subject, row)
    before = None if isinstance(event, UploadRemoved) else upload(event.subject)
    kept = None if before is None else _kept(before)
    if before is None or kept is None:
        return SettingsRow("uploads", event.subject, None)
    after = {
        "completed": True,
        "sha256": data["sha256"],
        "updated_at": told["time"],
        "expires_at": _TIMESTAMP.dump_python(event.time + kept),
    }
    return SettingsRow("uploads", event.subject, before | after)


def _kept(row: Row) -> timedelta | None:
    """Return how long an upload is kept; None for a row that no event made."""
    try:
        return datetime.fromisoformat(row["expires_at"]) - datetime.fromisoformat(row["created_at"])
    except (KeyError, TypeError, ValueError):
        return None


def _saved(key: str, event: Row) -> Row:
    """Return the members in one order for both: who and when first, then what the event says."""
    data = dict(event["data"])
    named = {"id": key, "owner_id": data.pop("owner"), "name": data.pop("name")}
    return named | {"created_at": data.pop("created_at"), "updated_at": event["time"]} | data
