"""What the scheduler does next, as a function over values.

Lives here: the global cap, the order of jobs, the release of stages, retries, and the end of a job.
Does not live here: time, randomness, the bus (`services.scheduler.service` passes them in and carries decisions out).
Caps per phase, mode and user, fair share and backpressure come on top of this one function.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.events.types import Stage
from shared.job.aggregate import Command, Complete, Fail, Job, JobState, StageState, StageStatus, Start
from shared.job.stages import ready


@dataclass(frozen=True)
class Limits:
    """Caps and retries; seconds."""

    max_concurrency_global: int = 2
    retry_max: int = 3
    retry_base_s: float = 0.5
    retry_cap_s: float = 8.0


@dataclass(frozen=True)
class Transition:
    """Append the event that `command` makes of this job."""

    job_id: str
    command: Command


@dataclass(frozen=True)
class Release:
    """Put a command for this stage on the work queue."""

    job_id: str
    stage: Stage
    attempt: int
    expected: int


Decision = Transition | Release

ReleaseKey = tuple[str, Stage, int]
"""(job, stage, expected sequence): every change of a stage's head allows a new command for it."""


@dataclass(frozen=True)
class Plan:
    """Decisions to carry out now, why each queued job waits, and when to look again without a new event."""

    decisions: list[Decision]
    waiting: dict[str, str]
    wake_at: datetime | None


def backoff(attempt: int, limits: Limits, job_id: str, stage: Stage) -> timedelta:
    """Return the pause after failed attempt 1, 2, …: base doubling up to the cap, times a jitter of 0.5 to 1.5.

    The jitter is a hash of the job and the attempt, so that the same log always gives the same plan.
    """
    seed = sum((n + 1) * ord(c) for n, c in enumerate(f"{job_id}{stage}{attempt}")) % 1000
    pause = min(limits.retry_cap_s, limits.retry_base_s * 2 ** (attempt - 1))
    return timedelta(seconds=pause * (0.5 + seed / 1000))


def plan(jobs: Mapping[str, Job], released: Collection[ReleaseKey], limits: Limits, now: datetime) -> Plan:
    """Return what to do about all unfinished jobs.

    `released` are the stages whose command this scheduler has queued already; after a restart it is empty, and the
    queue itself refuses the second command of a stage.
    """
    decisions: list[Decision] = []
    waiting: dict[str, str] = {}
    wakes: list[datetime] = []
    running = [job for job in jobs.values() if job.state is JobState.RUNNING]
    for job in running:
        made, wake = _advance(job, released, limits, now)
        decisions += made
        if wake is not None:
            wakes.append(wake)
    free = limits.max_concurrency_global - len(running)
    for position, job in enumerate(_queue_order(jobs.values())):
        if position < free:
            decisions.append(Transition(job.id, Start()))
        else:
            waiting[job.id] = f"{limits.max_concurrency_global} of {limits.max_concurrency_global} jobs are running"
    waiting |= {job.id: "paused" for job in jobs.values() if job.state is JobState.PAUSED}
    return Plan(decisions, waiting, min(wakes, default=None))


def _queue_order(jobs: Iterable[Job]) -> list[Job]:
    queued = [job for job in jobs if job.state is JobState.QUEUED]
    return sorted(queued, key=lambda job: (job.submitted.priority, job.created_at, job.id))


def _advance(
    job: Job, released: Collection[ReleaseKey], limits: Limits, now: datetime
) -> tuple[list[Decision], datetime | None]:
    stages_ready = ready(job.done_stages)
    if not stages_ready:
        return [Transition(job.id, Complete())], None
    decisions: list[Decision] = []
    wakes: list[datetime] = []
    for name in stages_ready:
        stage = job.stages[name]
        if stage.status is StageStatus.CLAIMED:
            continue
        if stage.status is StageStatus.FAILED:
            if not stage.retryable or stage.attempt >= limits.retry_max:
                failure = Fail(name, stage.error_code or "stage_failed", stage.error or "the stage failed")
                return [Transition(job.id, failure)], None
            due = (stage.ended_at or now) + backoff(stage.attempt, limits, job.id, name)
            if due > now:
                wakes.append(due)
                continue
        if (job.id, name, stage.seq) not in released:
            decisions.append(Release(job.id, name, next_attempt(stage), stage.seq))
    return decisions, min(wakes, default=None)


def next_attempt(stage: StageState) -> int:
    """Return the attempt number of the next command; a stage handed back unfinished has not used its attempt up."""
    return stage.attempt + 1 if stage.status in (StageStatus.PENDING, StageStatus.FAILED) else stage.attempt
