"""Presets: what a submission that names one need not say itself.

Lives here: making, changing and deleting them. Does not live here: HTTP (`routes.presets`), and what a submission makes
of one (`placing`). Two presets may have one name: they are told apart by their ids.
"""

import re
from typing import Any

import structlog

from services.ingest.asker import By
from services.ingest.history import TRIES
from services.ingest.saved import REMOVED, envelope, read_saved
from shared.eventlog.port import ConflictError, EventLog, Expect
from shared.events.library import PresetDeleted, PresetSaved, PresetSavedData
from shared.events.subjects import preset_subject
from shared.identity import new_id
from shared.problems import Problem

PREFIX = "preset"
ID_PATTERN = rf"^{PREFIX}_[0-9a-f]{{16}}$"

_ID = re.compile(rf"{PREFIX}_[0-9a-f]{{16}}")

log = structlog.get_logger()


def unknown_preset() -> Problem:
    """Return the refusal of a request that names a preset which is not there."""
    return Problem(422, "unknown_preset", "There is no preset with this id. Choose another one, or none.")


async def find_preset(events: EventLog, preset_id: str, owner: str) -> PresetSaved | None:
    """Return the owner's preset as it is; None for what is none, or no more. Raises LogUnavailableError."""
    found, _ = await _read(events, preset_id)
    return found if found is not None and found.data.owner == owner else None


async def create_preset(events: EventLog, settings: dict[str, Any], by: By) -> PresetSaved:
    """Append a new preset of these checked settings and return its event. Raises LogUnavailableError."""
    preset_id = new_id(PREFIX)
    attributes = envelope(preset_id, by)
    data = PresetSavedData(owner=by.actor, created_at=attributes["time"], **settings)
    event = PresetSaved(**attributes, data=data)
    await events.append(event, Expect(preset_subject(preset_id), 0))
    log.info("preset_created", preset=preset_id)
    return event


async def change_preset(events: EventLog, preset_id: str, settings: dict[str, Any], by: By) -> PresetSaved:
    """Replace all settings of the preset and return its event; jobs that used it stay as they are.

    Raises Problem 404, 409, LogUnavailableError.
    """
    for _ in range(TRIES):
        now, head = await _existing(events, preset_id, by)
        data = now.data.model_copy(update=settings)
        if data == now.data:
            return now
        event = PresetSaved(**envelope(preset_id, by, now), data=data)
        try:
            await events.append(event, Expect(preset_subject(preset_id), head))
        except ConflictError:
            continue
        return event
    raise _too_busy()


async def delete_preset(events: EventLog, preset_id: str, by: By) -> None:
    """Delete the preset. A project that has it as its default has none from here on.

    Raises Problem 404, also where it is deleted already, 409, LogUnavailableError.
    """
    for _ in range(TRIES):
        now, head = await _existing(events, preset_id, by)
        event = PresetDeleted(**envelope(preset_id, by, now), data=REMOVED)
        try:
            await events.append(event, Expect(preset_subject(preset_id), head))
        except ConflictError:
            continue
        log.info("preset_deleted", preset=preset_id)
        return
    raise _too_busy()


async def _read(events: EventLog, preset_id: str) -> tuple[PresetSaved | None, int]:
    if not _ID.fullmatch(preset_id):  # it must not become a subject
        return None, 0
    known, head = await read_saved(events, preset_subject(preset_id), PresetSaved)
    return known.get(preset_id), head


async def _existing(events: EventLog, preset_id: str, by: By) -> tuple[PresetSaved, int]:
    found, head = await _read(events, preset_id)
    if found is None or not by.principal.changes(found.data.owner):
        raise Problem(404, "preset_not_found", "There is no preset with this id.")
    return found, head


def _too_busy() -> Problem:
    return Problem(409, "too_busy", "The preset changes too fast. Try again.")
