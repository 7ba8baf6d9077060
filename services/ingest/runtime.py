"""What an operator changes of the running system: its caps, and which models are ready.

Lives here: the events of both, and which values a cap may have. Does not live here: obeying them
(`services.scheduler`, `services.worker`) and HTTP (`routes.runtime`).
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from services.ingest.asker import By
from services.ingest.bus import Bus
from services.ingest.history import SOURCE, TRIES
from shared.eventlog.port import ConflictError, EventLog, Expect
from shared.events.names import Mode
from shared.events.runtime import LimitsChanged, LimitsChangedData, PrewarmRequested, PrewarmRequestedData
from shared.events.subjects import PREWARM_WORKERS, RUNTIME_LIMITS
from shared.identity import uuid7
from shared.problems import Problem
from shared.runtime_state import CAP_NAMES

AGGREGATE = "runtime"
"""The subject, in CloudEvents' sense, of events that are about no job."""
FRACTIONAL = frozenset({"DAILY_PROCESSING_MINUTES", "MIN_FREE_GB"})
"""Every other cap is a count."""
HIGHEST = 1 << 53
"""Above this, JSON readers disagree about a number."""

Overrides = dict[str, int | float | None]

log = structlog.get_logger()


def checked(overrides: Mapping[str, float | None]) -> Overrides:
    """Return the overrides with counts as whole numbers. Raises Problem 422."""
    found: Overrides = {}
    for name, value in overrides.items():
        if name not in CAP_NAMES:
            detail = f"There is no limit {name[:40]!r} to change. The limits are: {', '.join(CAP_NAMES)}."
            raise Problem(422, "unknown_limit", detail, limits=list(CAP_NAMES))
        if value is not None and not (math.isfinite(value) and 0 <= value <= HIGHEST):
            raise Problem(422, "invalid_limit", f"{name} is a number from 0 (no limit) upwards, or null to reset it.")
        if value is not None and name not in FRACTIONAL:
            if value != int(value):
                raise Problem(422, "invalid_limit", f"{name} is a whole number.")
            value = int(value)  # noqa: PLW2901 -- 2.0 and 2 are the same JSON number
        found[name] = value
    return found


async def change_limits(events: EventLog, overrides: Overrides, reason: str, by: By) -> Overrides:
    """Append the change and return every override that is in force after it.

    Raises Problem 409 where others change limits all the while, LogUnavailableError.
    """
    attributes = _attributes(by)  # one id for all tries (E3)
    for _ in range(TRIES):
        in_force, head = await _in_force(events)
        event = LimitsChanged(**attributes, data=LimitsChangedData(overrides=overrides, reason=reason))
        try:
            await events.append(event, Expect(RUNTIME_LIMITS, head))
        except ConflictError:
            continue
        log.info("limits_changed", names=sorted(overrides))
        return _after(in_force, overrides)
    raise Problem(409, "too_busy", "The limits change too fast. Try again.")


async def request_prewarm(bus: Bus, preset: Mode, by: By) -> str:
    """Append the request, wake the workers, and return the task's id. Raises LogUnavailableError."""
    data = PrewarmRequestedData(task=uuid7(), preset=preset)
    await bus.log.append(PrewarmRequested(**_attributes(by), data=data))
    await bus.tell(PREWARM_WORKERS, data.model_dump_json().encode())
    log.info("prewarm_requested", task=data.task, preset=preset)
    return data.task


async def _in_force(events: EventLog) -> tuple[Overrides, int]:
    """Return the overrides that the log amounts to, and the last sequence of their subject."""
    found: Overrides = {}
    head = 0
    while batch := await events.read(RUNTIME_LIMITS, after=head):
        for recorded in batch:
            if isinstance(recorded.event, LimitsChanged):
                found = _after(found, recorded.event.data.overrides)
        head = batch[-1].seq
    return found, head


def _after(before: Overrides, change: Overrides) -> Overrides:
    return {name: value for name, value in sorted((before | change).items()) if value is not None}


def _attributes(by: By) -> dict[str, Any]:
    event_id = uuid7()
    return {
        "id": event_id,
        "source": SOURCE,
        "subject": AGGREGATE,
        "time": datetime.now(UTC),
        "actor": by.actor,
        "correlationid": event_id,
        "traceparent": by.traceparent,
    }
