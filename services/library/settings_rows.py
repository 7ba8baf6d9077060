"""Rows of projects and presets: each is what its last event says, so that no aggregate is kept for them.

Lives here: which row an event of theirs makes or removes. Does not live here: when it is written (`projection`), and
what may be saved at all (`services.ingest`).
"""

from dataclasses import dataclass
from typing import Any, Literal

from shared.events.library import PresetDeleted, PresetSaved, ProjectDeleted, ProjectSaved
from shared.events.types import Event

Table = Literal["projects", "presets"]


@dataclass(frozen=True)
class SettingsRow:
    """The row of `table` under `key` as it is from here on; None: there is none any more."""

    table: Table
    key: str
    value: dict[str, Any] | None


def settings_row(event: Event) -> SettingsRow | None:
    """Return what an event does to a row of projects or presets; None for any other kind of event."""
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
        case _:
            return None


def _saved(key: str, event: dict[str, Any]) -> dict[str, Any]:
    """Return the members in one order for both: who and when first, then what the event says."""
    data = dict(event["data"])
    named = {"id": key, "owner_id": data.pop("owner"), "name": data.pop("name")}
    return named | {"created_at": data.pop("created_at"), "updated_at": event["time"]} | data
