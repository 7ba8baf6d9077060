"""Commands to a job: `decide` turns one into an event, or into a typed refusal. Pure.

Lives here: what may be asked of a job. Does not live here: its states (`aggregate`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.events.names import Mode, Stage
from shared.events.policy import (
    JobDegraded,
    JobDegradedData,
    JobDelayed,
    JobDelayedData,
    JobReprioritized,
    JobReprioritizedData,
    JobRestored,
    JobRestoredData,
)
from shared.events.types import (
    JobCanceled,
    JobCanceledData,
    JobCompleted,
    JobCompletedData,
    JobEvent,
    JobFailed,
    JobFailedData,
    JobPaused,
    JobPauseRequested,
    JobReasonData,
    JobRequeued,
    JobRequeuedData,
    JobResumed,
    JobStarted,
    JobStartedData,
    Setting,
)
from shared.job.aggregate import applies
from shared.job.model import Job, JobState
from shared.job.stages import GRAPH


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
    """`settings` are the effective ones for the job's mode as it is now."""

    settings: Mapping[str, Setting]


@dataclass(frozen=True)
class Pause:
    """Of a queued job at once, of a running one at its next stage boundary."""

    reason: str = ""


@dataclass(frozen=True)
class PauseNow:
    """The stage boundary of a running job that was asked to pause."""


@dataclass(frozen=True)
class Resume:
    reason: str = ""


@dataclass(frozen=True)
class Cancel:
    reason: str = ""
    kill: bool = False


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


@dataclass(frozen=True)
class Degrade:
    to_mode: Mode
    queue_len: int
    reason: str


@dataclass(frozen=True)
class Restore:
    reason: str


@dataclass(frozen=True)
class Delay:
    until: datetime
    queue_len: int
    reason: str


@dataclass(frozen=True)
class Reprioritize:
    priority: int
    reason: str = ""


Command = (
    Start | Pause | PauseNow | Resume | Cancel | Requeue | Complete | Fail | Degrade | Restore | Delay | Reprioritize
)


def decide(job: Job, command: Command, context: Context) -> JobEvent | Refusal:
    """Return the event that this command makes of this job, or why it is refused.

    The caller appends the event with the job's `version` as the expected sequence of its filter (E2).
    """
    event = _event(job, command, attributes(job, context))
    if not applies(job, event):
        return Refusal("illegal_transition", job.state)
    if isinstance(command, Complete) and job.done_stages != frozenset(GRAPH):
        return Refusal("stages_missing", job.state)
    return event


def attributes(job: Job, context: Context) -> dict[str, Any]:
    """Return the envelope of an event about this job."""
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
        case Start(settings):
            return JobStarted(**attributes, data=JobStartedData(run=job.run, mode=job.mode, settings=dict(settings)))
        case Pause(reason) if job.state is JobState.RUNNING:
            return JobPauseRequested(**attributes, data=JobReasonData(reason=reason))
        case Pause(reason):
            return JobPaused(**attributes, data=JobReasonData(reason=reason))
        case PauseNow():
            return JobPaused(**attributes, data=JobReasonData(reason="at a stage boundary, as requested"))
        case Resume(reason):
            return JobResumed(**attributes, data=JobReasonData(reason=reason))
        case Cancel(reason, kill):
            return JobCanceled(**attributes, data=JobCanceledData(reason=reason, kill=kill))
        case Requeue(reason):
            return JobRequeued(**attributes, data=JobRequeuedData(run=job.run + 1, reason=reason))
        case Complete():
            issues = [issue for name in GRAPH for issue in job.stages[name].issues]
            return JobCompleted(**attributes, data=JobCompletedData(run=job.run, issues=issues))
        case Fail(stage, code, message):
            data = JobFailedData(run=job.run, stage=stage, code=code, message=message)
            return JobFailed(**attributes, data=data)
        case _:
            return _policy_event(job, command, attributes)


def _policy_event(job: Job, command: Degrade | Restore | Delay | Reprioritize, attributes: dict[str, Any]) -> JobEvent:
    match command:
        case Degrade(to_mode, queue_len, reason):
            degraded = JobDegradedData(from_mode=job.mode, to_mode=to_mode, queue_len=queue_len, reason=reason)
            return JobDegraded(**attributes, data=degraded)
        case Restore(reason):
            return JobRestored(**attributes, data=JobRestoredData(mode=job.submitted.mode, reason=reason))
        case Delay(until, queue_len, reason):
            return JobDelayed(**attributes, data=JobDelayedData(until=until, queue_len=queue_len, reason=reason))
        case Reprioritize(priority, reason):
            return JobReprioritized(**attributes, data=JobReprioritizedData(priority=priority, reason=reason))
