"""The claim: how a worker comes to own a stage, and how its outcome is committed (E4).

Lives here: the protocol over the event log, `verdict` being its pure part. Does not live here: the work itself, and
how long a claim is kept (`lease`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.commands import StageCommand
from shared.eventlog.job_history import load_job
from shared.eventlog.port import ConflictError, EventLog, Expect, LogUnavailableError, Recorded
from shared.events.names import Pool
from shared.events.subjects import job_filter, stage_subject
from shared.events.types import (
    StageClaimed,
    StageClaimedData,
    StageCompleted,
    StageEvent,
    StageFailed,
    StageReleased,
    StageReleasedData,
)
from shared.job.model import Job, JobState, StageState, StageStatus

SOURCE = "urn:dubline:worker"
MAX_DELIVERIES = 5
"""A stage that was claimed so often without an outcome kills its workers: it ends failed instead of coming for ever."""

TRIES = 8
"""How often a claim reads the job again because somebody else appended meanwhile."""
READ_BATCH = 256


@dataclass(frozen=True)
class Owner:
    """The worker that claims."""

    worker: str
    host: str
    pool: Pool


@dataclass(frozen=True)
class Claim:
    """This worker owns the stage as long as `fence` is the last sequence of its subject."""

    command: StageCommand
    fence: int
    claimed_id: str
    heir_of: str | None = None
    """The traceparent of the claim that this one took over."""

    @property
    def scope(self) -> str:
        return stage_subject(self.command.job_id, self.command.stage, self.command.part)


@dataclass(frozen=True)
class Drop:
    """The command is not wanted any more. `release` is a dead worker's claim that is to be given back first."""

    reason: str
    release: StageState | None = None


@dataclass(frozen=True)
class Take:
    """Claim it."""


def verdict(job: Job | None, command: StageCommand) -> Take | Drop:
    """Return what to do with a command, given the job that it is for.

    A claim that was made from this very command is taken over: the queue hands a command out again only when its holder
    was silent for too long. Where the job does not go on, that claim is given back, so that the caps count it no more.
    A command from before the stage's last outcome, or from before the job's last start, is dropped: the slot that was
    granted for it is not its own any more, and the scheduler sends another.
    """
    if job is None:
        return Drop("the job is unknown")
    stage = job.stages[command.stage]
    claimed = stage.status is StageStatus.CLAIMED
    inherits = claimed and stage.claimed_from == command.expected
    if reason := _unwanted(job, command):
        return Drop(reason, stage if inherits else None)
    if stage.status is StageStatus.DONE:
        return Drop("the stage is done")
    if inherits:
        return Take()
    if claimed or stage.seq != command.expected:
        return Drop("the stage moved on")
    if command.version < job.started_seq:
        return Drop("the job was started again")
    return Take()


def _unwanted(job: Job, command: StageCommand) -> str:
    if job.run != command.run:
        return "it belongs to another run of the job"
    if job.state is not JobState.RUNNING:
        return f"the job is {job.state}"
    return "the job is to pause" if job.pause_requested else ""


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


async def claim(log: EventLog, command: StageCommand, owner: Owner, *, redelivered: bool = False) -> Claim | Drop:
    """Append this worker's claim, or return why the command is to be dropped.

    A first delivery needs no read: the command names the job's last event, and any event since then (a cancel, a
    request to pause) makes the append conflict. Only then, or if the command came before, the job is folded.
    Raises LogUnavailableError.
    """
    if command.version and not redelivered:
        try:
            return await _claim_at(log, command, owner, command.version)
        except ConflictError:
            pass
    for _ in range(TRIES):
        job, version = await load_job(log, command.job_id)
        decided = verdict(job, command)
        try:
            if isinstance(decided, Take):
                return await _claim_at(log, command, owner, version, await _heir_of(log, job, command))
            if decided.release is not None:
                await _release(log, command, owner, decided.reason, decided.release)
        except ConflictError:
            continue
        return decided
    raise LogUnavailableError("the job's events came faster than they could be folded")


async def commit(log: EventLog, claimed: Claim, event: StageEvent) -> bool:
    """Append the stage's outcome; False if another worker has claimed the stage since. Raises LogUnavailableError."""
    try:
        await log.append(event, Expect(claimed.scope, claimed.fence))
    except ConflictError:
        return False
    return True


async def worn_out(log: EventLog, claimed: Claim) -> str | None:
    """Return why nobody should try this attempt again, None if it may be tried. Raises LogUnavailableError."""
    return epitaph(await log.read(claimed.scope, limit=10 * READ_BATCH), claimed.command.attempt)


def epitaph(records: Sequence[Recorded], attempt: int) -> str | None:
    """Return the last words of an attempt that was claimed too often without an outcome, else None.

    `records` are the stage's events, the newest claim included, which has not been worked on yet.
    """
    claims: list[StageClaimed] = []
    failure = ""
    for record in records:
        match record.event:
            case StageClaimed() if record.event.data.attempt == attempt:
                claims.append(record.event)
            case StageFailed():
                failure = f"; the attempt before failed: {record.event.data.code}: {record.event.data.message}"
                claims = []
            case StageCompleted() | StageReleased():
                claims = []
    if len(claims) <= MAX_DELIVERIES:
        return None
    last = claims[-2].data
    return f"the stage took {len(claims) - 1} workers down, the last one {last.worker} on {last.host}{failure}"


async def _heir_of(log: EventLog, job: Job | None, command: StageCommand) -> str | None:
    """Return the traceparent of the claim that is about to be taken over, if any. Raises LogUnavailableError."""
    if job is None or job.stages[command.stage].status is not StageStatus.CLAIMED:
        return None
    head = await log.last(stage_subject(command.job_id, command.stage, command.part))
    return head.event.traceparent if head is not None and isinstance(head.event, StageClaimed) else None


async def _claim_at(
    log: EventLog, command: StageCommand, owner: Owner, version: int, heir_of: str | None = None
) -> Claim:
    data = StageClaimedData(
        stage=command.stage,
        part=command.part,
        attempt=command.attempt,
        worker=owner.worker,
        host=owner.host,
        pool=owner.pool,
    )
    event = StageClaimed(**attributes(command, owner.worker, command.causationid), data=data)
    fence = await log.append(event, Expect(job_filter(command.job_id), version))
    return Claim(command, fence, event.id, heir_of)


async def _release(log: EventLog, command: StageCommand, owner: Owner, reason: str, held: StageState) -> None:
    """Give back the stage of a worker that is gone. Raises ConflictError, LogUnavailableError."""
    data = StageReleasedData(
        stage=command.stage, part=command.part, attempt=held.attempt, reason=f"its worker is gone, and {reason}"
    )
    event = StageReleased(**attributes(command, owner.worker, command.causationid), data=data)
    await log.append(event, Expect(stage_subject(command.job_id, command.stage, command.part), held.seq))
