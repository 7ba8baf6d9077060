"""A history checker: reads a recorded log and says which promises it breaks.

Lives here: what a log may contain, as a state machine of its own. It shares no code with `shared.job.aggregate` or
any service: a checker that reuses what it checks proves nothing. Used after every step of the simulation, and on
the logs of real runs under fire.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from shared.eventlog.port import Recorded
from shared.events import types as t
from shared.job.stages import GRAPH

QUEUED, PAUSED, RUNNING = "QUEUED", "PAUSED", "RUNNING"
DONE, FAILED, CANCELED = "DONE", "FAILED", "CANCELED"
WAITING = frozenset({QUEUED, PAUSED})
UNFINISHED = frozenset({QUEUED, PAUSED, RUNNING})
ENDED = frozenset({DONE, FAILED, CANCELED})

CAPPED_STAGES: Mapping[str, str] = {"transcribe": "MAX_CONCURRENCY_TRANSCRIBE", "tts": "MAX_CONCURRENCY_TTS"}
FREE_FAILURES = frozenset({"disk_full"})
"""Failures that use no attempt up."""
LEVEL = {"low": 0, "medium": 1, "high": 2}


@dataclass(frozen=True)
class Caps:
    """The caps that the log was made under, by their environment names.

    `lag_s`: a scheduler learns of a changed cap only when it reads of it; so long it may still go by the old one.
    """

    by_name: Mapping[str, float] = field(
        default_factory=lambda: {
            "MAX_CONCURRENCY_GLOBAL": 2, "MAX_CONCURRENCY_TRANSCRIBE": 1, "MAX_CONCURRENCY_TTS": 1,
            "MAX_JOBS_HIGH": 0, "MAX_JOBS_MEDIUM": 0, "MAX_JOBS_LOW": 0,
            "MAX_CONCURRENT": 2, "DAILY_PROCESSING_MINUTES": 240, "RETRY_MAX": 3,
        }
    )  # fmt: skip
    lag_s: float = 0.0


@dataclass
class _Claim:
    event_id: str
    worker: str
    attempt: int
    run: int


@dataclass
class _Job:
    owner: str
    minutes: float
    asked_mode: str
    mode: str
    may_degrade: bool
    state: str = QUEUED
    run: int = 1
    pause_requested: bool = False
    degraded: bool = False
    granted: datetime | None = None
    """When its slot was granted, until the start that uses it."""
    stage_grants: dict[str, datetime] = field(default_factory=dict)
    claims: dict[str, _Claim] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failures: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Counted failures of each stage in this run."""
    hopeless: set[str] = field(default_factory=set)
    deleted: bool = False

    @property
    def busy(self) -> bool:
        """It takes a slot: it runs, or a worker has not let go of it yet."""
        return self.state == RUNNING or bool(self.claims)

    def leave(self, state: str) -> None:
        """It waits or has ended: what it was granted is void."""
        self.state = state
        self.pause_requested = False
        self.granted = None
        self.stage_grants.clear()


class Checker:
    """`step` takes the records in order; `found` collects every broken promise, `finish` those of a log at rest."""

    def __init__(self, caps: Caps) -> None:
        self.found: list[str] = []
        self.jobs: dict[str, _Job] = {}
        self._lag = timedelta(seconds=caps.lag_s)
        self._configured = dict(caps.by_name)
        self._overrides: dict[str, float] = {}
        self._past_caps: list[tuple[datetime, dict[str, float]]] = []
        """Caps that were replaced, each with the time until which it was in force."""
        self._caps = dict(caps.by_name)
        self._epoch = 0
        self._seq = 0
        self._ids: set[str] = set()
        self._minutes: dict[tuple[str, Any], dict[tuple[str, int], float]] = defaultdict(dict)
        self._handlers: dict[type[Any], Any] = {
            t.JobStarted: self._started, t.JobCompleted: self._completed, t.JobFailed: self._job_failed,
            t.JobPauseRequested: self._pause_requested, t.JobPaused: self._paused, t.JobResumed: self._resumed,
            t.JobCanceled: self._canceled, t.JobRequeued: self._requeued, t.JobDegraded: self._degraded,
            t.JobRestored: self._restored, t.JobDelayed: self._delayed, t.JobReprioritized: self._reprioritized,
            t.JobTagged: self._curated, t.JobArchived: self._curated, t.JobUnarchived: self._curated,
            t.JobVisibilityChanged: self._curated, t.JobDeleted: self._deleted,
            t.StageClaimed: self._claimed, t.StageCompleted: self._stage_completed,
            t.StageFailed: self._stage_failed, t.StageReleased: self._released,
        }  # fmt: skip

    def step(self, recorded: Recorded) -> list[str]:
        """Check one more record; return what it breaks."""
        before = len(self.found)
        if recorded.seq <= self._seq:
            self._breach(f"the log went back from {self._seq}")
        self._seq = recorded.seq
        event = recorded.event
        if event is None:
            return []
        if event.id in self._ids:
            self._breach(f"I1: event {event.id} is stored twice")
        self._ids.add(event.id)
        self._about_job(event) if isinstance(event, t.JobEvent | t.StageEvent) else self._about_system(event)
        return self.found[before:]

    def _about_job(self, event: t.JobEvent | t.StageEvent) -> None:
        if isinstance(event, t.JobSubmitted):
            self._submitted(event)
        elif job := self.jobs.get(event.subject):
            self._handlers[type(event)](event, job)
        else:
            self._breach(f"{event.type} of a job that was never submitted")

    def _about_system(self, event: t.Event) -> None:
        match event:
            case t.SchedulerTookOver():
                self._epoch = self._seq
            case t.SlotGranted():
                self._slot_granted(event)
            case t.LimitsChanged():
                self._limits_changed(event)
            case _:
                pass  # prewarming, projects, presets, webhooks: no promise is about them

    def unsettled(self) -> bool:
        """Return whether a job is open, or a worker has not let go of one."""
        return any(job.state not in ENDED or job.claims for job in self.jobs.values())

    def finish(self) -> list[str]:
        """Say what keeps a log from being at rest: E6 for a system that was left alone long enough."""
        open_jobs = [
            f"E6: job {job_id} ends {job.state}" for job_id, job in self.jobs.items() if job.state not in ENDED
        ]
        held = [
            f"job {job_id}: {stage} is still claimed by {claim.worker}"
            for job_id, job in self.jobs.items()
            for stage, claim in job.claims.items()
        ]
        self.found += open_jobs + held
        return open_jobs + held

    def _breach(self, what: str) -> None:
        self.found.append(f"seq {self._seq}: {what}")

    def _must(self, holds: bool, what: str) -> None:
        if not holds:
            self._breach(what)

    # -- caps

    def _limits_changed(self, event: t.LimitsChanged) -> None:
        self._past_caps.append((event.time, self._caps))
        for name, value in event.data.overrides.items():
            if value is None:
                self._overrides.pop(name, None)
            else:
                self._overrides[name] = value
        self._caps = self._configured | self._overrides

    def _cap(self, name: str, decided_at: datetime) -> float:
        """Return the largest cap that a decision of that time may have gone by."""
        in_force = [self._caps, *(caps for until, caps in self._past_caps if until >= decided_at - self._lag)]
        return max(caps[name] or math.inf for caps in in_force)  # 0 switches a cap off

    def _check_job_caps(self, job: _Job, decided_at: datetime, what: str, *, with_grants: bool) -> None:
        taken = [(j, j.mode) for j in self.jobs.values() if j.busy or (with_grants and j.granted)]
        slots = [("MAX_CONCURRENCY_GLOBAL", len(taken))]
        slots.append((f"MAX_JOBS_{job.mode.upper()}", sum(mode == job.mode for _, mode in taken)))
        slots.append(("MAX_CONCURRENT", sum(j.owner == job.owner for j, _ in taken)))
        for name, count in slots:
            cap = self._cap(name, decided_at)
            self._must(count <= cap, f"{what}: {name} is {cap:g}, and {count} take a slot")

    def _check_stage_cap(self, stage: str, decided_at: datetime, what: str, *, with_grants: bool) -> None:
        name = CAPPED_STAGES[stage]
        cap = self._cap(name, decided_at)
        count = sum(stage in j.claims or (with_grants and stage in j.stage_grants) for j in self.jobs.values())
        self._must(count <= cap, f"{what}: {name} is {cap:g}, and {count} take a slot")

    def _slot_granted(self, event: t.SlotGranted) -> None:
        data = event.data
        what = f"grant of {data.stage or 'a slot'} to {data.job_id}"
        self._must(data.epoch == self._epoch, f"{what}: of epoch {data.epoch}, but {self._epoch} took over")
        job = self.jobs.get(data.job_id)
        if job is None:
            self._breach(f"{what}: there is no such job")
        elif data.run != job.run:
            pass  # it was requeued in the same moment: the grant is void
        elif data.stage is None:
            if job.state == QUEUED:  # else it was paused or cancelled in the same moment
                self._must(job.granted is None, f"{what}: it has one already")
                job.granted = event.time
                self._check_job_caps(job, event.time, what, with_grants=True)
        elif job.state == RUNNING and data.stage not in job.claims:
            self._must(data.stage in CAPPED_STAGES, f"{what}: it has no cap")
            self._must(data.stage not in job.done, f"{what}: it is done")
            self._must(data.stage not in job.stage_grants, f"{what}: it has one already")
            job.stage_grants[data.stage] = event.time
            self._check_stage_cap(data.stage, event.time, what, with_grants=True)

    # -- the life of a job

    def _submitted(self, event: t.JobSubmitted) -> None:
        data = event.data
        if event.subject in self.jobs:
            self._breach(f"E1: job {event.subject} is submitted twice")
            return
        minutes = data.source.duration_s / 60
        self.jobs[event.subject] = _Job(data.owner, minutes, data.mode, data.mode, data.degrade)

    def _in(self, event: t.JobEvent, job: _Job, states: frozenset[str]) -> None:
        self._must(job.state in states, f"{event.type} of job {event.subject} while {job.state}")

    def _started(self, event: t.JobStarted, job: _Job) -> None:
        what = f"start of {event.subject}"
        self._in(event, job, frozenset({QUEUED}))
        self._must(event.data.run == job.run, f"{what}: run {event.data.run} instead of {job.run}")
        self._must(job.granted is not None, f"{what}: without a grant")
        self._must(event.data.mode in (None, job.mode), f"{what}: in mode {event.data.mode} instead of {job.mode}")
        decided_at = job.granted or event.time
        job.leave(RUNNING)
        self._check_job_caps(job, decided_at, what, with_grants=False)
        day = self._minutes[job.owner, event.time.date()]
        day[event.subject, job.run] = job.minutes
        cap = self._cap("DAILY_PROCESSING_MINUTES", decided_at)
        self._must(sum(day.values()) <= cap + 1e-6, f"{what}: {job.owner} has more than {cap:g} minutes today")

    def _completed(self, event: t.JobCompleted, job: _Job) -> None:
        self._in(event, job, frozenset({RUNNING}))
        missing = [stage for stage in GRAPH if stage not in job.done]
        self._must(not missing, f"job {event.subject} completed without {missing}")
        self._must(not job.claims, f"job {event.subject} completed while a worker has {list(job.claims)}")
        self._must(event.data.run == job.run, f"completion of run {event.data.run} in run {job.run}")
        job.leave(DONE)

    def _job_failed(self, event: t.JobFailed, job: _Job) -> None:
        self._in(event, job, frozenset({QUEUED, RUNNING}))
        self._must(event.data.run == job.run, f"failure of run {event.data.run} in run {job.run}")
        job.leave(FAILED)

    def _pause_requested(self, event: t.JobPauseRequested, job: _Job) -> None:
        self._in(event, job, frozenset({RUNNING}))
        self._must(not job.pause_requested, f"job {event.subject} was asked to pause twice")
        job.pause_requested = True

    def _paused(self, event: t.JobPaused, job: _Job) -> None:
        self._in(event, job, frozenset({QUEUED, RUNNING}))
        if job.state == RUNNING:
            self._must(job.pause_requested, f"job {event.subject} paused while running, and nobody asked")
            self._must(not job.claims, f"job {event.subject} paused inside {list(job.claims)}")
        job.leave(PAUSED)

    def _resumed(self, event: t.JobResumed, job: _Job) -> None:
        if job.state == RUNNING:
            self._must(job.pause_requested, f"job {event.subject} resumed while running, and nobody paused it")
            job.pause_requested = False
        else:
            self._in(event, job, frozenset({PAUSED}))
            job.leave(QUEUED)

    def _canceled(self, event: t.JobCanceled, job: _Job) -> None:
        self._in(event, job, UNFINISHED)
        job.leave(CANCELED)

    def _requeued(self, event: t.JobRequeued, job: _Job) -> None:
        self._in(event, job, ENDED | {RUNNING})
        self._curated(event, job)
        self._must(event.data.run == job.run + 1, f"job {event.subject} went from run {job.run} to {event.data.run}")
        job.leave(QUEUED)
        job.run, job.mode, job.degraded = event.data.run, job.asked_mode, False
        job.failures.clear()
        job.hopeless.clear()

    def _degraded(self, event: t.JobDegraded, job: _Job) -> None:
        self._in(event, job, WAITING)
        data = event.data
        self._must(job.may_degrade, f"job {event.subject} is degraded though it opted out")
        self._must(data.from_mode == job.mode, f"job {event.subject} is degraded from a mode that it does not have")
        self._must(LEVEL[data.to_mode] < LEVEL[data.from_mode], f"job {event.subject} is degraded upwards")
        job.mode, job.degraded = data.to_mode, True

    def _restored(self, event: t.JobRestored, job: _Job) -> None:
        self._in(event, job, WAITING)
        self._must(job.degraded, f"job {event.subject} is restored, but was not degraded")
        self._must(event.data.mode == job.asked_mode, f"job {event.subject} is restored to {event.data.mode}")
        job.mode, job.degraded = job.asked_mode, False

    def _delayed(self, event: t.JobDelayed, job: _Job) -> None:
        self._in(event, job, WAITING)

    def _reprioritized(self, event: t.JobReprioritized, job: _Job) -> None:
        self._in(event, job, UNFINISHED)

    def _curated(self, event: t.CurationEvent | t.JobRequeued, job: _Job) -> None:
        self._must(not job.deleted, f"{event.type} of {event.subject}, which was deleted")

    def _deleted(self, event: t.JobDeleted, job: _Job) -> None:
        self._curated(event, job)
        self._in(event, job, ENDED)
        job.deleted = True

    # -- the life of a stage

    def _claimed(self, event: t.StageClaimed, job: _Job) -> None:
        data = event.data
        stage = data.stage
        what = f"claim of {event.subject} {stage} {data.attempt} by {data.worker}"
        self._must(job.state == RUNNING, f"{what}: the job is {job.state}")
        self._must(not job.pause_requested, f"{what}: the job was asked to pause")
        self._must(stage not in job.done, f"{what}: it is done")
        self._must(job.done.issuperset(GRAPH[stage]), f"{what}: its inputs are not done")
        self._must(stage not in job.hopeless, f"{what}: it cannot succeed")
        self._must(job.failures[stage] < self._cap("RETRY_MAX", event.time), f"{what}: too many attempts")
        inherited = job.claims.get(stage)
        if inherited is not None:
            self._must(inherited.attempt == data.attempt, f"{what}: over attempt {inherited.attempt}, which is held")
        granted_at = job.stage_grants.pop(stage, None)
        job.claims[stage] = _Claim(event.id, data.worker, data.attempt, job.run)
        if stage in CAPPED_STAGES and inherited is None:
            uncapped = self._cap(CAPPED_STAGES[stage], event.time) == math.inf
            self._must(uncapped or granted_at is not None, f"{what}: without a grant")
            self._check_stage_cap(stage, granted_at or event.time, what, with_grants=False)

    def _settle(self, event: Any, job: _Job) -> _Claim | None:
        """End the claim that this outcome is of, and return it."""
        data = event.data
        claim = job.claims.pop(data.stage, None)
        what = f"E4: {event.type} of {event.subject} {data.stage} {data.attempt} by {event.actor}"
        if claim is None:
            self._breach(f"{what}: nobody has claimed it")
        else:
            self._must(claim.attempt == data.attempt, f"{what}: attempt {claim.attempt} is the claimed one")
        return claim

    def _settle_own(self, event: Any, job: _Job) -> _Claim | None:
        claim = self._settle(event, job)
        mine = claim is None or (claim.worker == event.actor and claim.event_id == event.causationid)
        self._must(mine, f"E4: {event.type} of {event.subject} {event.data.stage}: not by the claim's worker")
        return claim

    def _stage_completed(self, event: t.StageCompleted, job: _Job) -> None:
        self._settle_own(event, job)
        self._must(event.data.stage not in job.done, f"{event.data.stage} of {event.subject} is completed twice")
        job.done.add(event.data.stage)

    def _stage_failed(self, event: t.StageFailed, job: _Job) -> None:
        claim = self._settle_own(event, job)
        if claim is not None and claim.run == job.run:
            job.failures[event.data.stage] += event.data.code not in FREE_FAILURES
            if not event.data.retryable:
                job.hopeless.add(event.data.stage)

    def _released(self, event: t.StageReleased, job: _Job) -> None:
        self._settle(event, job)  # also by the heir of a worker that is gone


def violations(records: Sequence[Recorded], limits: Caps, *, at_rest: bool = True) -> list[str]:
    """Return every promise that this log breaks; `at_rest`: it is expected to have come to its end."""
    checker = Checker(limits)
    for recorded in records:
        checker.step(recorded)
    if at_rest:
        checker.finish()
    return checker.found
