"""A user's own settings: what their submissions say where neither the request nor a preset does.

Lives here: reading and replacing them in the log. Does not live here: HTTP (`routes.settings`), and what a submission
makes of them (`defaults`).
"""

import structlog

from services.ingest.asker import By
from services.ingest.history import TRIES
from services.ingest.saved import envelope
from shared.eventlog.port import ConflictError, EventLog, Expect
from shared.events.access import UserSettingsSaved, UserSettingsSavedData
from shared.events.subjects import user_settings_subject
from shared.problems import Problem

NOTHING = UserSettingsSavedData()

log = structlog.get_logger()


async def find_settings(events: EventLog, user: str) -> UserSettingsSaved | None:
    """Return the last that was saved for the user; None: nothing ever was. Raises LogUnavailableError."""
    found, _ = await _read(events, user)
    return found


async def save_settings(events: EventLog, user: str, wanted: UserSettingsSavedData, by: By) -> UserSettingsSaved | None:
    """Replace all settings of a user who is there, and return them; `by` may be an admin.

    What is so already makes no event. Raises Problem 409, LogUnavailableError.
    """
    for _ in range(TRIES):
        now, head = await _read(events, user)
        if wanted == (now.data if now else NOTHING):
            return now
        event = UserSettingsSaved(**envelope(user, by, now), data=wanted)
        try:
            await events.append(event, Expect(user_settings_subject(user), head))
        except ConflictError:
            continue
        log.info("user_settings_saved", user=user, actor=by.actor)
        return event
    raise Problem(409, "too_busy", "The settings change too fast. Try again.")


async def _read(events: EventLog, user: str) -> tuple[UserSettingsSaved | None, int]:
    last = await events.last(user_settings_subject(user))
    if last is None:
        return None, 0
    return (last.event if isinstance(last.event, UserSettingsSaved) else None), last.seq
