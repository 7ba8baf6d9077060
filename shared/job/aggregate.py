"""The job aggregate: `evolve` folds events into a job, `applies` says which transition is legal.

Lives here: states. Does not live here: commands (`transitions`), and when something should happen
(`services.scheduler.policy`).
`evolve` is total: an event that does not apply (a duplicate, a stale outcome, one that came too late) leaves the
job as it was, so that any log folds. Which events get into the log is decided by expected sequences (E2, E4).
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shared.artifacts import Artifact
from shared.events.names import Mode, Stage
from shared.events.runtime import RuntimeEvent, SchedulerEvent
from shared.events.types import (
    EngineUsed,
    Event,
    Issue,
    JobCanceled,
    JobCompleted,
    JobDegraded,
    JobDelayed,
    JobEvent,
    JobFailed,
    JobPaused,
    JobPauseRequested,
    JobReprioritized,
    JobRequeued,
    JobRestored,
    JobResumed,
    JobStarted,
    JobSubmitted,
    JobSubmittedData,
    Setting,
    StageClaimed,
    StageCompleted,
    StageEvent,
    StageFailed,
    StageReleased,
    Timings,
    Value,
)
from shared.job.stages import GRAPH

DISK_FULL = "disk_full"
"""The failure code of a stage that waits for space instead of using up its attempts."""
OUT_OF_MEMORY = "out_of_memory"
"""The failure code after which a stage is tried again with smaller settings (`shared.job.modes`)."""


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
    claimed_from: int = 0
    """The sequence that it had before it was claimed: what tells the command that a claim was made from."""
    worker: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outputs: list[Artifact] = Field(default_factory=list)
    engine: EngineUsed | None = None
    timings: Timings | None = None
    issues: list[Issue] = Field(default_factory=list)
    facts: dict[str, Value] = Field(default_factory=dict)
    reused_from: str | None = None
    completed_id: str | None = None
    error_code: str | None = None
    error: str | None = None
    failed_engine: str | None = None
    retryable: bool = False
    failures: int = 0
    """How many of its attempts in this run failed by themselves; a full disk uses none up."""
    out_of_memory: int = 0
    """How many of them ran out of memory."""


class Job(BaseModel):
    """The folded job; `version` is the last sequence of any of its events."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: JobState
    version: int
    run: int
    submitted: JobSubmittedData
    submitted_event_id: str
    traceparent: str | None = None
    """The span that submitted it: what every later span of the job begins from."""
    mode: Mode
    """The one that it runs in: backpressure may have lowered what `submitted` asks for."""
    priority: int
    created_at: datetime
    updated_at: datetime
    queued_at: datetime
    """When it was submitted, or queued for a re-run: what its age in the queue counts from."""
    started_at: datetime | None = None
    started_seq: int = 0
    started_run: int = 0
    """The run that was started last: one that goes on after a pause is the same."""
    ended_at: datetime | None = None
    stages: dict[Stage, StageState]
    issues: list[Issue] = Field(default_factory=list)
    error_code: str | None = None
    error: str | None = None
    pause_requested: bool = False
    degraded: list[str] = Field(default_factory=list)
    """Reasons why its mode is lower than asked for; empty again once it is restored."""
    restored: bool = False
    """It had its mode given back, and is not degraded a second time."""
    not_before: datetime | None = None
    delayed_because: str = ""
    settings: dict[str, Setting] = Field(default_factory=dict)

    @property
    def claimed_stages(self) -> list[Stage]:
        """Stages that a worker owns; a cancelled job may have one until its process has ended."""
        return [name for name, stage in self.stages.items() if stage.status is StageStatus.CLAIMED]

    @property
    def done_stages(self) -> frozenset[Stage]:
        return frozenset(name for name, stage in self.stages.items() if stage.status is StageStatus.DONE)

    def outputs_of(self, stages: frozenset[Stage]) -> dict[str, Artifact]:
        """Return the artifacts of these stages by name."""
        return {a.name: a for name in GRAPH if name in stages for a in self.stages[name].outputs}

    def facts_of(self, stages: frozenset[Stage]) -> dict[str, Value]:
        """Return the facts of these stages, flat; a later stage's value wins."""
        return {key: value for name in GRAPH if name in stages for key, value in self.stages[name].facts.items()}


_WAITING = frozenset({JobState.QUEUED, JobState.PAUSED})
_UNFINISHED = _WAITING | {JobState.RUNNING}
_LEGAL: dict[type[Any], frozenset[JobState]] = {
    JobStarted: frozenset({JobState.QUEUED}),
    JobPauseRequested: frozenset({JobState.RUNNING}),
    JobPaused: frozenset({JobState.QUEUED, JobState.RUNNING}),
    JobResumed: frozenset({JobState.PAUSED}),
    JobCanceled: _UNFINISHED,
    JobCompleted: frozenset({JobState.RUNNING}),
    JobFailed: frozenset({JobState.QUEUED, JobState.RUNNING}),
    JobRequeued: frozenset({JobState.RUNNING, JobState.DONE, JobState.FAILED, JobState.CANCELED}),
    JobDegraded: _WAITING,
    JobRestored: _WAITING,
    JobDelayed: _WAITING,
    JobReprioritized: _UNFINISHED,
}
"""Event -> the states in which it applies. Everything else is refused, and ignored if a log contains it."""


def applies(job: Job, event: JobEvent) -> bool:
    """Return whether this transition is legal for the job as it is."""
    match event:
        case JobSubmitted():
            return False
        case JobResumed() if job.state is JobState.RUNNING:
            return job.pause_requested
        case JobPauseRequested() if job.pause_requested:
            return False
        case JobPaused() if job.state is JobState.RUNNING:
            return job.pause_requested and not job.claimed_stages  # only at a stage boundary
        case _:
            return job.state in _LEGAL[type(event)]


def evolve(job: Job | None, seq: int, event: Event) -> Job | None:
    """Return the job after this event; the same job if the event is a duplicate, another's, or does not apply."""
    if isinstance(event, SchedulerEvent | RuntimeEvent):
        return job
    if job is None:
        return _created(seq, event) if isinstance(event, JobSubmitted) else None
    if seq <= job.version or isinstance(event, JobSubmitted):
        return job
    if isinstance(event, StageClaimed | StageCompleted | StageFailed | StageReleased):
        return _with_stage(job, seq, event)
    if not applies(job, event):
        return job.model_copy(update={"version": seq})
    changes = _lifecycle_changes(job, event)
    if isinstance(event, JobStarted):
        changes |= {"started_seq": seq, "started_run": event.data.run}
    return job.model_copy(update={"version": seq, "updated_at": event.time} | changes)


def _lifecycle_changes(job: Job, event: JobEvent) -> dict[str, Any]:
    match event:
        case JobStarted():
            cleared: dict[str, Any] = {"not_before": None, "delayed_because": "", "pause_requested": False}
            made = {"mode": event.data.mode or job.mode, "settings": event.data.settings}
            return {"state": JobState.RUNNING, "started_at": event.time, "run": event.data.run} | made | cleared
        case JobPauseRequested():
            return {"pause_requested": True}
        case JobPaused():
            return {"state": JobState.PAUSED, "pause_requested": False}
        case JobResumed():
            state = JobState.RUNNING if job.state is JobState.RUNNING else JobState.QUEUED
            return {"state": state, "pause_requested": False}
        case JobCanceled():
            return {"state": JobState.CANCELED, "ended_at": event.time, "pause_requested": False}
        case JobCompleted():
            ended: dict[str, Any] = {"ended_at": event.time, "pause_requested": False}
            return {"state": JobState.DONE, "issues": event.data.issues} | ended
        case JobFailed():
            error = {"error_code": event.data.code, "error": event.data.message}
            return {"state": JobState.FAILED, "ended_at": event.time, "pause_requested": False} | error
        case JobRequeued():
            return _requeued(job, event)
        case _:
            return _policy_changes(job, event)


def _policy_changes(job: Job, event: JobEvent) -> dict[str, Any]:
    match event:
        case JobDegraded():
            return {"mode": event.data.to_mode, "degraded": [*job.degraded, event.data.reason]}
        case JobRestored():
            return {"mode": event.data.mode, "degraded": [], "restored": True}
        case JobDelayed():
            return {"not_before": event.data.until, "delayed_because": event.data.reason}
        case JobReprioritized():
            return {"priority": event.data.priority}
        case _:
            return {}


def _requeued(job: Job, event: JobRequeued) -> dict[str, Any]:
    return {
        "state": JobState.QUEUED,
        "run": event.data.run,
        "stages": {name: _fresh(stage) for name, stage in job.stages.items()},
        "mode": job.submitted.mode,
        "queued_at": event.time,
        "ended_at": None,
        "error_code": None,
        "error": None,
        "issues": [],
        "pause_requested": False,
        "degraded": [],
        "restored": False,
        "settings": {},
        "traceparent": event.traceparent or job.traceparent,
    }


def _created(seq: int, event: JobSubmitted) -> Job:
    return Job(
        id=event.subject,
        state=JobState.QUEUED,
        version=seq,
        run=1,
        submitted=event.data,
        submitted_event_id=event.id,
        traceparent=event.traceparent,
        mode=event.data.mode,
        priority=event.data.priority,
        created_at=event.time,
        updated_at=event.time,
        queued_at=event.time,
        stages={name: StageState() for name in GRAPH},
    )


def _fresh(stage: StageState) -> StageState:
    """A re-run keeps what is done and what a worker still owns, and tries the rest from the first attempt.

    The subject's sequence goes on.
    """
    return stage if stage.status in (StageStatus.DONE, StageStatus.CLAIMED) else StageState(seq=stage.seq)


def _with_stage(job: Job, seq: int, event: StageEvent) -> Job:
    stage = job.stages[event.data.stage]
    changes: dict[str, Any] = {"seq": seq, "attempt": event.data.attempt}
    match event:
        case StageClaimed():
            changes |= {
                "status": StageStatus.CLAIMED,
                "claimed_from": stage.claimed_from if stage.status is StageStatus.CLAIMED else stage.seq,
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
                "failed_engine": event.data.engine,
                "failures": stage.failures + (event.data.code != DISK_FULL),
                "out_of_memory": stage.out_of_memory + (event.data.code == OUT_OF_MEMORY),
            }
        case StageReleased():
            changes |= {"status": StageStatus.RELEASED, "ended_at": event.time}
    stages = job.stages | {event.data.stage: stage.model_copy(update=changes)}
    return job.model_copy(update={"version": seq, "updated_at": event.time, "stages": stages})
