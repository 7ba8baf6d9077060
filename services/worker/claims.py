"""The claim: how a worker comes to own a stage, and how its outcome is committed (E4).

Lives here: the protocol over the event log. Does not live here: the work itself.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.commands import StageCommand
from shared.eventlog.port import ConflictError, EventLog, Expect
from shared.events.subjects import lifecycle_subject, stage_subject
from shared.events.types import (
    JobRequeued,
    JobResumed,
    JobStarted,
    Pool,
    StageClaimed,
    StageClaimedData,
    StageEvent,
)

SOURCE = "urn:dubline:worker"
MAX_DELIVERIES = 5
"""A command that was delivered more often kills its workers: it ends as a failed stage instead of coming for ever."""

_TRIES = 3


@dataclass(frozen=True)
class Claim:
    """This worker owns the stage as long as `fence` is the last sequence of its subject."""

    command: StageCommand
    fence: int
    claimed_id: str


def attributes(command: StageCommand, worker: str, causationid: str) -> dict[str, Any]:
    """Return the envelope attributes of an event that this worker appends for this command."""
    return {
        "source": SOURCE,
        "subject": command.job_id,
        "time": datetime.now(UTC),
        "actor": worker,
        "correlationid": command.correlationid,
        "causationid": causationid,
        "traceparent": command.traceparent,
    }


async def job_runs(log: EventLog, job_id: str) -> bool:
    """Return whether the job still wants its stages: a cancelled job's commands are dropped."""
    last = await log.last(lifecycle_subject(job_id))
    return last is not None and isinstance(last.event, JobStarted | JobResumed | JobRequeued)


async def claim(log: EventLog, command: StageCommand, worker: str, host: str, pool: Pool) -> Claim | None:
    """Append this worker's claim; None if the stage is finished or was handed to a newer command.

    A claim by a worker that lost its lease is taken over: the new claim's sequence is the fence from then on.
    Raises LogUnavailableError.
    """
    scope = stage_subject(command.job_id, command.stage, command.part)
    expected = command.expected
    for _ in range(_TRIES):
        data = StageClaimedData(
            stage=command.stage, part=command.part, attempt=command.attempt, worker=worker, host=host, pool=pool
        )
        event = StageClaimed(**attributes(command, worker, command.causationid), data=data)
        try:
            return Claim(command, await log.append(event, Expect(scope, expected)), event.id)
        except ConflictError:
            head = await log.last(scope)
            if head is None or not isinstance(head.event, StageClaimed) or head.event.data.attempt != command.attempt:
                return None
            expected = head.seq
    return None


async def commit(log: EventLog, claimed: Claim, event: StageEvent) -> bool:
    """Append the stage's outcome; False if another worker has claimed the stage since. Raises LogUnavailableError."""
    command = claimed.command
    scope = stage_subject(command.job_id, command.stage, command.part)
    try:
        await log.append(event, Expect(scope, claimed.fence))
    except ConflictError:
        return False
    return True
