"""The scheduler's state: everything that it decides from, folded from the log and from nothing else.

Lives here: `Board.apply`, total and deterministic, so that a snapshot plus the rest of the log gives the same board as
the whole log (E5). Does not live here: decisions (`policy`), the order of the queue (`fair`), saving (`snapshot`).
Finished jobs leave memory, except while a worker still owns one of their stages: that stage still uses its slots.
"""

import zlib
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from sortedcontainers import SortedSet

from services.scheduler.backpressure import Verdict, judge
from services.scheduler.breakers import Breakers
from services.scheduler.eta import Speeds
from services.scheduler.fair import Entry, FairQueue
from services.scheduler.grants import Grants
from services.scheduler.ledger import Ledger
from services.scheduler.limits import Limits
from shared.events.library import JobDeleted
from shared.events.names import Mode, Stage
from shared.events.policy import JobDegraded, JobDelayed, JobRestored
from shared.events.runtime import LimitsChanged, PrewarmProgressed, PrewarmRequested, SchedulerTookOver, SlotGranted
from shared.events.subjects import job_of
from shared.events.types import (
    Event,
    JobCanceled,
    JobEvent,
    JobFailed,
    JobStarted,
    JobSubmitted,
    StageCompleted,
    StageFailed,
    StageReleased,
)
from shared.job.aggregate import applies, evolve
from shared.job.model import Job, JobState
from shared.job.transitions import Fail

REMEMBERED = 100
"""Dead letters, degradations and prewarm tasks that are kept for operators."""
DEAD_LETTER = "dead_letter"


@dataclass(frozen=True)
class Degradation:
    """One act of backpressure, for operators."""

    job_id: str
    at: datetime
    event: JobDegraded | JobRestored | JobDelayed


@dataclass
class Board:
    """See the module. `limits` are the configured ones; an operator's overrides come from the log."""

    configured: Limits
    seq: int = 0
    quarantined: int = 0
    jobs: dict[str, Job] = field(default_factory=dict)
    heads: dict[str, int] = field(default_factory=dict)
    """Last sequence of each kept job's filter: events that do not decode count too (E7)."""
    queue: FairQueue = field(default_factory=FairQueue)
    grants: Grants = field(default_factory=Grants)
    ledger: Ledger = field(default_factory=Ledger)
    breakers: Breakers = field(default_factory=Breakers)
    speeds: Speeds = field(default_factory=Speeds)
    overrides: dict[str, float] = field(default_factory=dict)
    limits_head: int = 0
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """What backpressure still has to do to queued jobs."""
    refused: dict[str, Fail] = field(default_factory=dict)
    """Queued jobs that came over their owner's quota, in a race that the admission lost."""
    degraded: SortedSet[str] = field(default_factory=SortedSet)
    """Queued jobs whose mode can be given back."""
    paused: SortedSet[str] = field(default_factory=SortedSet)
    waiting_of: dict[str, int] = field(default_factory=dict)
    """How many QUEUED jobs each owner has."""
    active: SortedSet[str] = field(default_factory=SortedSet)
    """Jobs that use a slot: RUNNING ones, and ended ones with a stage that a worker still owns."""
    degradations: deque[Degradation] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    dead_letters: dict[str, JobFailed] = field(default_factory=dict)
    prewarms: dict[str, list[PrewarmRequested | PrewarmProgressed]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.limits = self.configured.overridden(self.overrides)
        """The configured limits with an operator's overrides."""

    def override(self, overrides: dict[str, float]) -> None:
        """Obey these overrides and no others."""
        self.overrides = overrides
        self.limits = self.configured.overridden(overrides)
        self.queue.unpark()

    @property
    def pressure(self) -> int:
        """How many jobs wait for a slot or have one; paused ones press nobody."""
        running = sum(self.jobs[job_id].state is not JobState.QUEUED for job_id in self.active)
        return len(self.queue) + running

    def knows(self, job_id: str) -> bool:
        """Return whether the job is in memory; a finished one has to be `recall`ed before its re-run is applied."""
        return job_id in self.jobs

    def recall(self, job: Job) -> None:
        """Take a finished job back into memory, folded from the log up to before the event that comes next."""
        self.jobs[job.id] = job
        self.heads[job.id] = job.version

    def restore(self, job: Job, head: int) -> None:
        """Put a job of a snapshot where it was."""
        self.jobs[job.id] = job
        self.heads[job.id] = head
        self._place(None, job)

    def apply(self, seq: int, subject: str, event: Event | None) -> None:
        """Fold one record; `event` is None where it does not decode. Records come in order, each once or again."""
        if seq <= self.seq:
            return
        self.seq = seq
        job_id = job_of(subject)
        if job_id in self.heads:
            self.heads[job_id] = seq
        if event is None:
            self.quarantined += 1
            return
        match event:
            case SchedulerTookOver():
                self.refused.clear()  # whoever was admitted by then stays so, even under a limit that is lower now
                self.grants.apply(seq, event, None)
            case SlotGranted():
                self.grants.apply(seq, event, self.jobs.get(event.data.job_id))
                self._recount(self.jobs.get(event.data.job_id))
            case LimitsChanged():
                self.limits_head = seq
                changed = self.overrides | {k: v for k, v in event.data.overrides.items() if v is not None}
                self.override({k: v for k, v in changed.items() if event.data.overrides.get(k, v) is not None})
            case PrewarmRequested() | PrewarmProgressed():
                self._prewarm(event)
            case JobDeleted():  # its job is finished and, but for a stage that still runs, no longer in memory
                self.ledger.deleted(event)
                self._apply_to_job(seq, job_id, event)
            case _:
                self._apply_to_job(seq, job_id, event)

    def _apply_to_job(self, seq: int, job_id: str, event: Event) -> None:
        before = self.jobs.get(job_id)
        after = evolve(before, seq, event)
        if after is None:
            return
        self.heads[job_id] = seq
        self.jobs[job_id] = after
        self._count(before, after, event)
        self.grants.settle(after, event)
        self._place(before, after)
        if after.state.terminal and not after.claimed_stages:
            del self.jobs[job_id]
            del self.heads[job_id]

    def _count(self, before: Job | None, after: Job, event: Event) -> None:
        applied = before is None or not isinstance(event, JobEvent) or applies(before, event)
        if before is not None and after.state.terminal and not before.state.terminal:
            self.ledger.stored(before, after, event.time)
        match event:
            case JobSubmitted() if before is None:
                self.ledger.submitted(after, event.time)
                self._judge(after)
                self._refuse(after)
            case JobStarted() if applied:
                owner = after.submitted.owner
                if before is None or before.started_run != after.run:  # not a job that goes on after a pause
                    self.ledger.started(after, event.time)
                self.queue.started(owner, after.priority, after.submitted.source.duration_s, event.time)
            case JobDegraded() | JobRestored() | JobDelayed() if applied:
                self.degradations.append(Degradation(after.id, event.time, event))
                self._judged(after, event)
            case JobCanceled():
                self.breakers.released(after.id)
            case JobFailed() if applied and event.data.code == DEAD_LETTER:
                self.dead_letters[after.id] = event
                while len(self.dead_letters) > REMEMBERED:
                    self.dead_letters.pop(next(iter(self.dead_letters)))
            case _:
                self._count_stage(before, after, event)
        if not after.state.terminal:
            self.dead_letters.pop(after.id, None)

    def _count_stage(self, before: Job | None, after: Job, event: Event) -> None:
        match event:
            case StageCompleted() if before is not None:
                self.ledger.stored(before, after, event.time)
                self.breakers.completed(event)
                self._learn(after, event)
            case StageFailed():
                self.breakers.failed(event)
            case StageReleased():
                self.breakers.released(after.id)
            case _:
                pass

    def _judge(self, job: Job) -> None:
        verdict = judge(
            job.mode,
            may_degrade=job.submitted.degrade,
            queue_len=self.pressure + 1,
            q_max=self.limits.backpressure_q_max,
            random=zlib.crc32(job.id.encode()) / 0xFFFFFFFF,
        )
        if verdict is not None:
            self.verdicts[job.id] = verdict

    def _refuse(self, job: Job) -> None:
        owner, limits = job.submitted.owner, self.limits
        if limits.user_queued and self.waiting_of.get(owner, 0) >= limits.user_queued:
            reason = f"this user has {limits.user_queued} jobs waiting already, which is the limit"
            self.refused[job.id] = Fail(None, "quota_exceeded", reason)
        elif limits.user_daily_minutes and job.submitted.source.duration_s > 60 * limits.user_daily_minutes:
            reason = f"the video is longer than the {limits.user_daily_minutes:g} minutes of a day's quota"
            self.refused[job.id] = Fail(None, "quota_exceeded", reason)

    def _judged(self, job: Job, event: JobDegraded | JobRestored | JobDelayed) -> None:
        verdict = self.verdicts.get(job.id)
        if verdict is not None and (isinstance(event, JobDelayed) or not verdict.delay_s):
            del self.verdicts[job.id]

    def _learn(self, job: Job, event: StageCompleted) -> None:
        if event.data.reused_from is None:
            engine, media_s = event.data.engine, job.submitted.source.duration_s
            self.speeds.learn(event.data.stage, engine.name, engine.device, job.mode, media_s, event.data.timings)

    def _place(self, before: Job | None, job: Job) -> None:
        """Keep every index in step with the job."""
        queued = job.state is JobState.QUEUED
        change = queued - (before is not None and before.state is JobState.QUEUED)
        if change:
            owner = job.submitted.owner
            self.waiting_of[owner] = self.waiting_of.get(owner, 0) + change
            if not self.waiting_of[owner]:
                del self.waiting_of[owner]
        if not queued:
            self.queue.remove(job.id)
        elif before is None or not _same_place(before, job) or job.id not in self.queue:
            self.queue.add(entry_of(job))
        _keep(self.paused, job.id, keep=job.state is JobState.PAUSED)
        _keep(self.degraded, job.id, keep=queued and bool(job.degraded))
        if job.state not in (JobState.QUEUED, JobState.PAUSED):
            self.verdicts.pop(job.id, None)
            self.refused.pop(job.id, None)
        self._recount(job)

    def _recount(self, job: Job | None) -> None:
        """Keep the slots in use in step: of the job, and of its owner."""
        if job is None:
            return
        holds = uses_slot(job) or self.grants.granted(job.id, None)
        if holds == (job.id in self.active):
            return
        _keep(self.active, job.id, keep=holds)
        owner = job.submitted.owner
        self.queue.set_running(owner, self.queue.running(owner) + (1 if holds else -1))

    def in_phase(self, stage: Stage) -> int:
        """Return how many slots of a capped stage are in use or granted."""
        claimed = sum(stage in self.jobs[job_id].claimed_stages for job_id in self.active)
        return claimed + sum(granted == stage for _, granted in self.grants.open)

    def in_mode(self, mode: Mode) -> int:
        """Return how many slots jobs of a mode use."""
        return sum(self.jobs[job_id].mode == mode for job_id in self.active)

    def _prewarm(self, event: PrewarmRequested | PrewarmProgressed) -> None:
        self.prewarms.setdefault(event.data.task, []).append(event)
        while len(self.prewarms) > REMEMBERED:
            self.prewarms.pop(next(iter(self.prewarms)))


def uses_slot(job: Job) -> bool:
    """Return whether a job counts under the caps: it runs, or a worker still owns one of its stages."""
    return job.state is JobState.RUNNING or bool(job.claimed_stages)


def entry_of(job: Job) -> Entry:
    """Return a queued job's place in the queue."""
    submitted = job.submitted
    return Entry(
        job.id, submitted.owner, job.priority, job.mode, job.queued_at, submitted.source.duration_s, job.not_before
    )


def _same_place(before: Job, after: Job) -> bool:
    def place(job: Job) -> tuple[object, ...]:
        return job.state, job.priority, job.mode, job.queued_at, job.not_before

    return place(before) == place(after)


def _keep(index: SortedSet[str], item: str, *, keep: bool) -> None:
    if keep:
        index.add(item)
    else:
        index.discard(item)
