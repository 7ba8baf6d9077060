"""The job aggregate: `evolve` folds events into a job, `decide` turns a command into an event or a refusal.

Lives here: states and transitions. Does not live here: when something should happen (`services.scheduler.policy`).
`evolve` is total: an event that does not apply (a duplicate, a stale outcome, one that came too late) leaves the
job as it was, so that any log folds. Which events get into the log is decided by expected sequences (E2, E4).
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shared.artifacts import Artifact
from shared.events.types import (
    EngineUsed,
    Issue,
    JobCanceled,
    JobCompleted,
    JobCompletedData,
    JobEvent,
    JobFailed,
    JobFailedData,
    JobPaused,
    JobReasonData,
    JobRequeued,
    JobRequeuedData,
    JobResumed,
    JobRunData,
    JobStarted,
    JobSubmitted,
    JobSubmittedData,
    Stage,
    StageClaimed,
    StageCompleted,
    StageEvent,
    StageFailed,
    StageReleased,
    Timings,
)
from shared.job.stages import GRAPH

Fact = str | int | float | bool


class JobState(StrEnum):
    QUEUED = "QUEUED"
    PAUSED = "PAUSED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    @property
    def terminal(self) -> bool:
        """A finished job changes only by an explicit re-run."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELED)


class StageStatus(StrEnum):
    PENDING = "pending"
    CLAIMED = "claimed"
    DONE = "done"
    FAILED = "failed"
    RELEASED = "released"


class StageState(BaseModel):
    """One stage of one job; `seq` is the last sequence of its subject and so the expected one of the next append."""

    model_config = ConfigDict(frozen=True)

    status: StageStatus = StageStatus.PENDING
    seq: int = 0
    attempt: int = 0
    worker: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outputs: list[Artifact] = Field(default_factory=list)
    engine: EngineUsed | None = None
    timings: Timings | None = None
    issues: list[Issue] = Field(default_factory=list)
    facts: dict[str, Fact] = Field(default_factory=dict)
    reused_from: str | None = None
    completed_id: str | None = None
    error_code: str | None = None
    error: str | None = None
    retryable: bool = False


class Job(BaseModel):
    """The folded job; `version` is the last sequence of any of its events."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: JobState
    version: int
    run: int
    submitted: JobSubmittedData
    submitted_event_id: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    stages: dict[Stage, StageState]
    issues: list[Issue] = Field(default_factory=list)
    error_code: str | None = None
    error: str | None = None

    @property
    def done_stages(self) -> frozenset[Stage]:
        return frozenset(name for name, stage in self.stages.items() if stage.status is StageStatus.DONE)

    def outputs_of(self, stages: frozenset[Stage]) -> dict[str, Artifact]:
        """Return the artifacts of these stages by name."""
        return {a.name: a for name in GRAPH if name in stages for a in self.stages[name].outputs}

    def facts_of(self, stages: frozenset[Stage]) -> dict[str, Fact]:
        """Return the facts of these stages, flat; a later stage's value wins."""
        return {key: value for name in GRAPH if name in stages for key, value in self.stages[name].facts.items()}


_LEGAL: dict[type[Any], frozenset[JobState]] = {
    JobStarted: frozenset({JobState.QUEUED}),
    JobPaused: frozenset({JobState.QUEUED}),
    JobResumed: frozenset({JobState.PAUSED}),
    JobCanceled: frozenset({JobState.QUEUED, JobState.PAUSED, JobState.RUNNING}),
    JobCompleted: frozenset({JobState.RUNNING}),
    JobFailed: frozenset({JobState.QUEUED, JobState.RUNNING}),
    JobRequeued: frozenset({JobState.RUNNING, JobState.DONE, JobState.FAILED, JobState.CANCELED}),
}
"""Event -> the states in which it applies. Everything else is refused, and ignored if a log contains it."""


def evolve(job: Job | None, seq: int, event: JobEvent | StageEvent) -> Job | None:
    """Return the job after this event; the same job if the event is a duplicate or does not apply."""
    if job is None:
        return _created(seq, event) if isinstance(event, JobSubmitted) else None
    if seq <= job.version or isinstance(event, JobSubmitted):
        return job
    if isinstance(event, StageClaimed | StageCompleted | StageFailed | StageReleased):
        return _with_stage(job, seq, event)
    if job.state not in _LEGAL[type(event)]:
        return job.model_copy(update={"version": seq})
    changes = _lifecycle_changes(job, event)
    return job.model_copy(update={"version": seq, "updated_at": event.time} | changes)


def _lifecycle_changes(job: Job, event: JobEvent) -> dict[str, Any]:
    match event:
        case JobStarted():
            return {"state": JobState.RUNNING, "started_at": event.time, "run": event.data.run}
        case JobPaused():
            return {"state": JobState.PAUSED}
        case JobResumed():
            return {"state": JobState.QUEUED}
        case JobCanceled():
            return {"state": JobState.CANCELED, "ended_at": event.time}
        case JobCompleted():
            return {"state": JobState.DONE, "ended_at": event.time, "issues": event.data.issues}
        case JobFailed():
            error = {"error_code": event.data.code, "error": event.data.message}
            return {"state": JobState.FAILED, "ended_at": event.time} | error
        case JobRequeued():
            stages = {name: _fresh(stage) for name, stage in job.stages.items()}
            cleared: dict[str, Any] = {"ended_at": None, "error_code": None, "error": None, "issues": []}
            return {"state": JobState.QUEUED, "run": event.data.run, "stages": stages} | cleared
        case JobSubmitted():
            return {}


def _created(seq: int, event: JobSubmitted) -> Job:
    return Job(
        id=event.subject,
        state=JobState.QUEUED,
        version=seq,
        run=1,
        submitted=event.data,
        submitted_event_id=event.id,
        created_at=event.time,
        updated_at=event.time,
        stages={name: StageState() for name in GRAPH},
    )


def _fresh(stage: StageState) -> StageState:
    """A re-run keeps what is done and tries the rest from the first attempt; the subject's sequence goes on."""
    return stage if stage.status is StageStatus.DONE else StageState(seq=stage.seq)


def _with_stage(job: Job, seq: int, event: StageEvent) -> Job:
    stage = job.stages[event.data.stage]
    changes: dict[str, Any] = {"seq": seq, "attempt": event.data.attempt}
    match event:
        case StageClaimed():
            changes |= {
                "status": StageStatus.CLAIMED,
                "worker": event.data.worker,
                "started_at": event.time,
                "ended_at": None,
                "error_code": None,
                "error": None,
            }
        case StageCompleted():
            changes |= {
                "status": StageStatus.DONE,
                "ended_at": event.time,
                "outputs": event.data.outputs,
                "engine": event.data.engine,
                "timings": event.data.timings,
                "issues": event.data.issues,
                "facts": event.data.facts,
                "reused_from": event.data.reused_from,
                "completed_id": event.id,
            }
        case StageFailed():
            changes |= {
                "status": StageStatus.FAILED,
                "ended_at": event.time,
                "error_code": event.data.code,
                "error": event.data.message,
                "retryable": event.data.retryable,
            }
        case StageReleased():
            changes |= {"status": StageStatus.RELEASED, "ended_at": event.time}
    stages = job.stages | {event.data.stage: stage.model_copy(update=changes)}
    return job.model_copy(update={"version": seq, "updated_at": event.time, "stages": stages})


@dataclass(frozen=True)
class Context:
    """What the shell adds to a decision: the new event's identity, time and cause."""

    event_id: str
    now: datetime
    source: str
    actor: str
    causationid: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True)
class Refusal:
    """A command that does not apply to the job as it is; a 409 over HTTP."""

    code: str
    state: JobState


@dataclass(frozen=True)
class Start:
    pass


@dataclass(frozen=True)
class Pause:
    reason: str = ""


@dataclass(frozen=True)
class Resume:
    reason: str = ""


@dataclass(frozen=True)
class Cancel:
    reason: str = ""


@dataclass(frozen=True)
class Requeue:
    reason: str = ""


@dataclass(frozen=True)
class Complete:
    pass


@dataclass(frozen=True)
class Fail:
    stage: Stage | None
    code: str
    message: str


Command = Start | Pause | Resume | Cancel | Requeue | Complete | Fail


def decide(job: Job, command: Command, context: Context) -> JobEvent | Refusal:
    """Return the event that this command makes of this job, or why it is refused.

    The caller appends the event with the job's `version` as the expected sequence of its filter (E2).
    """
    event = _event(job, command, _attributes(job, context))
    if job.state not in _LEGAL[type(event)]:
        return Refusal("illegal_transition", job.state)
    if isinstance(command, Complete) and job.done_stages != frozenset(GRAPH):
        return Refusal("stages_missing", job.state)
    return event


def _attributes(job: Job, context: Context) -> dict[str, Any]:
    return {
        "id": context.event_id,
        "source": context.source,
        "subject": job.id,
        "time": context.now,
        "actor": context.actor,
        "correlationid": job.submitted_event_id,
        "causationid": context.causationid,
        "traceparent": context.traceparent,
    }


def _event(job: Job, command: Command, attributes: dict[str, Any]) -> JobEvent:
    match command:
        case Start():
            return JobStarted(**attributes, data=JobRunData(run=job.run))
        case Pause(reason):
            return JobPaused(**attributes, data=JobReasonData(reason=reason))
        case Resume(reason):
            return JobResumed(**attributes, data=JobReasonData(reason=reason))
        case Cancel(reason):
            return JobCanceled(**attributes, data=JobReasonData(reason=reason))
        case Requeue(reason):
            return JobRequeued(**attributes, data=JobRequeuedData(run=job.run + 1, reason=reason))
        case Complete():
            issues = [issue for name in GRAPH for issue in job.stages[name].issues]
            return JobCompleted(**attributes, data=JobCompletedData(run=job.run, issues=issues))
        case Fail(stage, code, message):
            data = JobFailedData(run=job.run, stage=stage, code=code, message=message)
            return JobFailed(**attributes, data=data)
