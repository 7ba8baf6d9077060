"""The job aggregate: `evolve` folds events into a job, `applies` says which transition is legal.

Lives here: the fold. Does not live here: its types (`model`), commands (`transitions`), and when something should
happen (`services.scheduler.policy`).
`evolve` is total: an event that does not apply (a duplicate, a stale outcome, one that came too late) leaves the
job as it was, so that any log folds. Which events get into the log is decided by expected sequences (E2, E4).
"""

from typing import Any

from shared.events.access import AccessEvent
from shared.events.library import (
    CurationEvent,
    JobArchived,
    JobDeleted,
    JobTagged,
    JobUnarchived,
    JobVisibilityChanged,
    SettingsEvent,
)
from shared.events.names import Stage
from shared.events.policy import JobDegraded, JobDelayed, JobReprioritized, JobRestored
from shared.events.runtime import RuntimeEvent, SchedulerEvent
from shared.events.types import (
    Event,
    JobCanceled,
    JobCompleted,
    JobEvent,
    JobFailed,
    JobImported,
    JobPaused,
    JobPauseRequested,
    JobRequeued,
    JobResumed,
    JobStarted,
    JobSubmitted,
    JobSubmittedData,
    StageClaimed,
    StageCompleted,
    StageEvent,
    StageFailed,
    StageReleased,
)
from shared.job.kept import can_run_again, kept_outputs, made_anew
from shared.job.model import DISK_FULL, IMPORT, OUT_OF_MEMORY, Job, JobState, StageState, StageStatus, changed
from shared.job.stages import GRAPH

_WAITING = frozenset({JobState.QUEUED, JobState.PAUSED})
_UNFINISHED = _WAITING | {JobState.RUNNING}
_FINISHED = frozenset(JobState) - _UNFINISHED
_ANY = frozenset(JobState)
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
    JobTagged: _ANY,
    JobArchived: _ANY,
    JobUnarchived: _ANY,
    JobVisibilityChanged: _ANY,
    JobDeleted: _FINISHED,
}
"""Event -> the states in which it applies. Everything else is refused, and ignored if a log contains it."""


def applies(job: Job, event: JobEvent) -> bool:
    """Return whether this transition is legal for the job as it is."""
    match event:
        case _ if job.deleted:
            return False
        case JobSubmitted() | JobImported():
            return False
        case JobRequeued() if job.imported is not None:
            return False  # its source is not here
        case JobRequeued() if job.state.terminal and not can_run_again(job):
            return False  # nor is what was not to be kept
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
    if isinstance(event, SchedulerEvent | RuntimeEvent | SettingsEvent | AccessEvent):
        return job
    if job is None:
        return _first(seq, event)
    if seq <= job.version or isinstance(event, JobSubmitted | JobImported):
        return job
    if isinstance(event, StageClaimed | StageCompleted | StageFailed | StageReleased):
        return _with_stage(job, seq, event)
    if not applies(job, event):
        return changed(job, {"version": seq})
    changes = _lifecycle_changes(job, event)
    if isinstance(event, JobStarted):
        changes |= {"started_seq": seq, "started_run": event.data.run}
    return changed(job, {"version": seq, "updated_at": event.time} | changes)


def _first(seq: int, event: Event) -> Job | None:
    match event:
        case JobSubmitted():
            return _created(seq, event)
        case JobImported():
            return _imported(seq, event)
        case _:
            return None


def _lifecycle_changes(job: Job, event: JobEvent) -> dict[str, Any]:
    match event:
        case JobTagged() | JobArchived() | JobUnarchived() | JobVisibilityChanged() | JobDeleted():
            return _curation_changes(event)
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


def _curation_changes(event: CurationEvent) -> dict[str, Any]:
    match event:
        case JobTagged():
            return {"tags": event.data.tags}
        case JobArchived():
            return {"archived_at": event.time}
        case JobUnarchived():
            return {"archived_at": None}
        case JobVisibilityChanged():
            return {"visibility": event.data.visibility}
        case JobDeleted():
            return {"deleted": True}


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
    anew = made_anew(job)
    return {
        "state": JobState.QUEUED,
        "run": event.data.run,
        "stages": {name: _fresh(job, name, anew=name in anew) for name in job.stages},
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
        stages={name: _at_first(name, event.data) for name in GRAPH},
        created_seq=seq,
        tags=event.data.tags,
        visibility=event.data.visibility,
    )


def _at_first(name: Stage, data: JobSubmittedData) -> StageState:
    brought = data.imports.get(name)
    if brought is None:
        return StageState()
    return StageState(status=StageStatus.DONE, outputs=brought.outputs, facts=brought.facts, reused_from=IMPORT)


def _imported(seq: int, event: JobImported) -> Job:
    data = event.data
    return Job(
        id=event.subject,
        state=JobState(data.state),
        version=seq,
        run=1,
        submitted=data.submitted,
        submitted_event_id=event.id,
        mode=data.submitted.mode,
        priority=data.submitted.priority,
        created_at=data.created_at,
        updated_at=data.updated_at,
        queued_at=data.created_at,
        ended_at=data.updated_at,
        stages={name: StageState() for name in GRAPH},
        error_code="imported" if data.error else None,
        error=data.error,
        created_seq=seq,
        tags=data.submitted.tags,
        archived_at=data.updated_at if data.archived else None,
        visibility=data.submitted.visibility,
        imported=data.outputs,
    )


def _fresh(job: Job, name: Stage, *, anew: bool) -> StageState:
    """A re-run keeps what is done and what a worker still owns, and tries the rest from the first attempt.

    `anew`: what is done is not all kept, and needed. The subject's sequence goes on.
    """
    stage, outputs = job.stages[name], kept_outputs(job, name)
    if anew or stage.status not in (StageStatus.DONE, StageStatus.CLAIMED):
        return StageState(seq=stage.seq, outputs=outputs)
    return stage if outputs == stage.outputs else changed(stage, {"outputs": outputs})


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
    stages = job.stages | {event.data.stage: changed(stage, changes)}
    return changed(job, {"version": seq, "updated_at": event.time, "stages": stages})
