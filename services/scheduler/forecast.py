"""When every job is expected to start and to end, if everything goes as estimated.

Lives here: list scheduling of what is left under the caps, and how the estimates' intervals add up on the way.
Pure. Does not live here: how long a stage takes (`services.scheduler.eta`), or what really starts (`policy`).

One schedule is made, with the expected durations. What may go wrong travels along it: a job that starts in the slot
that another one freed inherits how unsure that moment was. So low <= expected <= high holds by construction, which
three schedules with low, expected and high durations would not give: with shorter stages a list schedule may end later.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import islice
from typing import NamedTuple

from services.scheduler.eta import Estimate
from services.scheduler.limits import Limits
from shared.events.names import Mode, Stage

AHEAD = 1000
"""So many jobs of the queue are forecast unless told otherwise: nobody plans by the end of the 1001st."""
LATE_SHARE = 0.1
"""A stage that takes longer than expected is expected to need another tenth of what it has taken."""
LATE_HIGH = 3.0
SAME_VIDEO = 0.5
"""How much the stages of one job err alike: much speech is slow to transcribe and to speak."""
FAR_S = 10 * 365.25 * 86400
"""Nothing is expected later than this, so that absurd durations stay dates."""

Stages = Sequence[tuple[Stage, Estimate]]
_Cap = tuple[str, str]
"""What a cap counts: jobs ("all", "owner", "mode") or stages ("phase"), and of which one."""
_ALL: _Cap = ("all", "")


@dataclass(frozen=True)
class Remaining:
    """A running job, or an ended one whose worker has not let go of its stage yet (then only that stage is left).

    `stages` begins with the current one; `elapsed_s` is how long that has been running, None if it has not begun.
    """

    job_id: str
    owner: str
    mode: Mode
    stages: Stages
    elapsed_s: float | None = None


@dataclass(frozen=True)
class Upcoming:
    """A queued job with all stages that it will run; it cannot start before `not_before`."""

    job_id: str
    owner: str
    mode: Mode
    stages: Stages
    not_before: datetime | None = None


@dataclass(frozen=True)
class Forecast:
    """Expected start and end with their 80% intervals; a running job has no start to expect."""

    start_low: datetime | None
    start: datetime | None
    start_high: datetime | None
    end_low: datetime
    end: datetime
    end_high: datetime


def forecast(
    running: Iterable[Remaining], queued: Iterable[Upcoming], limits: Limits, now: datetime, limit: int = AHEAD
) -> dict[str, Forecast]:
    """Return what to expect of the running jobs and of the first `limit` queued ones, which stand in their order."""
    schedule = _Schedule(limits, now)
    schedule.add_running(running)
    schedule.add_queued(islice(queued, limit))
    return schedule.play()


class _Path(NamedTuple):
    """What made a moment come when it does: how much earlier or later it may be, seconds.

    Shared errors go the same way for every stage (a centre learned from few samples) and add up; independent ones
    partly cancel out, so their squares add up. `own` is the part of these that the current job brought in.
    """

    early_shared: float = 0.0
    early_variance: float = 0.0
    early_own: float = 0.0
    late_shared: float = 0.0
    late_variance: float = 0.0
    late_own: float = 0.0

    def after(self, estimate: Estimate) -> "_Path":
        shared_share = 1 / math.sqrt(estimate.samples + 1)
        alone_share = math.sqrt(1 - shared_share * shared_share)
        early, late = estimate.mid_s - estimate.low_s, estimate.high_s - estimate.mid_s
        early_alone, late_alone = early * alone_share, late * alone_share
        return _Path(
            self.early_shared + early * shared_share,
            self.early_variance + early_alone * (early_alone + 2 * SAME_VIDEO * self.early_own),
            self.early_own + early_alone,
            self.late_shared + late * shared_share,
            self.late_variance + late_alone * (late_alone + 2 * SAME_VIDEO * self.late_own),
            self.late_own + late_alone,
        )

    def of_another_job(self) -> "_Path":
        return _Path(self.early_shared, self.early_variance, 0.0, self.late_shared, self.late_variance, 0.0)

    def widths(self) -> tuple[float, float]:
        early = math.sqrt(self.early_shared**2 + self.early_variance)
        return early, math.sqrt(self.late_shared**2 + self.late_variance)


_ON_TIME = _Path()


@dataclass
class _Job:
    """One job of the schedule; times are seconds from now."""

    job_id: str
    caps: Sequence[_Cap]
    steps: Sequence[tuple[_Cap | None, Estimate]]
    """What is left: the cap of each stage, if it has one, and how long it takes."""
    was_running: bool
    not_before: float = 0.0
    start: float | None = None
    start_path: _Path = _ON_TIME
    path: _Path = _ON_TIME
    """Of the moment that the job has reached."""
    step: int = 0
    end: float | None = None


class _Schedule:
    """Jobs are numbered in order, running ones first: whatever is free goes to the lowest number that can use it."""

    def __init__(self, limits: Limits, now: datetime) -> None:
        self._now = now
        self._per_owner = limits.user_running
        self._limits: dict[_Cap, int] = {_ALL: limits.max_running}
        self._limits |= {("mode", mode): most for mode, most in limits.modes.items()}
        self._phases: dict[Stage, _Cap] = {stage: ("phase", stage) for stage, most in limits.phases.items() if most}
        self._limits |= {cap: limits.phases[stage] for stage, cap in self._phases.items()}
        self._time = 0.0
        self._jobs: list[_Job] = []
        self._used: Counter[_Cap] = Counter()
        self._events: list[tuple[float, bool, int]] = []
        """When an unstarted job may start, or the current stage of a started one ends; one event per job at most.

        In between is whether it is started: who may start when a slot gets free stands in line for it.
        """
        self._ready: list[int] = []
        self._blocked: defaultdict[_Cap, list[int]] = defaultdict(list)
        """What waits for a full cap, each job for one; nothing waits for a cap that has room."""

    def add_running(self, running: Iterable[Remaining]) -> None:
        unbegun = []
        for known in running:
            number = len(self._jobs)
            job = self._add(known)
            job.start = self._time
            self._take(job.caps)
            if known.elapsed_s is None or not job.steps:
                unbegun.append(number)
            else:
                (phase, estimate), *rest = job.steps
                job.steps = [(phase, _left(estimate, known.elapsed_s)), *rest]
                self._begin_stage(number)
        for number in unbegun:  # only now is it known which phases are taken
            self._next_stage(number)

    def add_queued(self, queued: Iterable[Upcoming]) -> None:
        for known in queued:
            job = self._add(known)
            if known.not_before is not None and known.not_before > self._now:
                job.not_before = (known.not_before - self._now).total_seconds()
                heappush(self._events, (job.not_before, False, len(self._jobs) - 1))
            else:
                heappush(self._ready, len(self._jobs) - 1)

    def play(self) -> dict[str, Forecast]:
        """Return what becomes of every job: whatever is full gets room again when a stage or a job ends."""
        self._start_jobs(_ON_TIME)
        while self._events:
            self._time, _started, number = heappop(self._events)
            job = self._jobs[number]
            if job.start is None:
                heappush(self._ready, number)
                self._start_jobs(_ON_TIME)
                continue
            self._end_stage(job)
            if job.step < len(job.steps):
                self._next_stage(number)
            else:
                job.end = self._time
                self._free(job.caps)
                self._start_jobs(job.path.of_another_job())
        return {job.job_id: self._forecast_of(job) for job in self._jobs}

    def _add(self, known: Remaining | Upcoming) -> _Job:
        caps = [cap for cap in (_ALL, ("owner", known.owner), ("mode", known.mode)) if self._limit(cap)]
        steps = [(self._phases.get(stage), estimate) for stage, estimate in known.stages]
        self._jobs.append(_Job(known.job_id, caps, steps, isinstance(known, Remaining)))
        return self._jobs[-1]

    def _limit(self, cap: _Cap) -> int:
        """Return how many there may be at once, 0 for any number."""
        return self._per_owner if cap[0] == "owner" else self._limits.get(cap, 0)

    def _full(self, cap: _Cap) -> bool:
        return 0 < self._limit(cap) <= self._used[cap]

    def _start_jobs(self, path: _Path) -> None:
        """Start what is ready, in order; `path` leads to the moment that made something ready or a slot free."""
        while self._ready:
            number = heappop(self._ready)
            job = self._jobs[number]
            full = next((cap for cap in job.caps if self._full(cap)), None)
            if full is None:
                job.start, job.start_path, job.path = self._time, path, path
                self._take(job.caps)
                self._next_stage(number)
            else:
                heappush(self._blocked[full], number)
                self._wake(cap for cap in job.caps if not self._full(cap))

    def _wake(self, caps: Iterable[_Cap]) -> None:
        """Let one job more look at each of these caps, which have room."""
        for cap in caps:
            if self._blocked[cap]:
                heappush(self._ready, heappop(self._blocked[cap]))

    def _take(self, caps: Iterable[_Cap]) -> None:
        for cap in caps:
            self._used[cap] += 1

    def _free(self, caps: Sequence[_Cap]) -> None:
        for cap in caps:
            self._used[cap] -= 1
        self._wake(cap for cap in caps if not self._full(cap))

    def _next_stage(self, number: int) -> None:
        """Begin the next stage, or wait for its cap; a job with nothing left to do ends here and now."""
        job = self._jobs[number]
        phase = job.steps[job.step][0] if job.steps else None
        if phase is not None and self._full(phase):
            heappush(self._blocked[phase], number)
        elif job.steps:
            self._begin_stage(number)
        else:
            heappush(self._events, (self._time, True, number))

    def _begin_stage(self, number: int) -> None:
        job = self._jobs[number]
        phase, estimate = job.steps[job.step]
        if phase is not None:
            self._used[phase] += 1
        job.path = job.path.after(estimate)
        heappush(self._events, (self._time + estimate.mid_s, True, number))

    def _end_stage(self, job: _Job) -> None:
        phase = job.steps[job.step][0] if job.steps else None
        job.step += 1
        if phase is None:
            return
        self._used[phase] -= 1
        if self._blocked[phase] and not self._full(phase):
            waiting = heappop(self._blocked[phase])
            self._jobs[waiting].path = job.path.of_another_job()
            self._begin_stage(waiting)

    def _forecast_of(self, job: _Job) -> Forecast:
        assert job.start is not None
        assert job.end is not None
        low, end, high = self._interval(job.end, job.path, job.not_before)
        if job.was_running:
            return Forecast(None, None, None, low, end, high)
        return Forecast(*self._interval(job.start, job.start_path, job.not_before), low, end, high)

    def _interval(self, moment: float, path: _Path, not_before: float) -> tuple[datetime, datetime, datetime]:
        early, late = path.widths()
        times = (max(not_before, moment - early), moment, moment + late)
        low, expected, high = (self._now + timedelta(seconds=min(seconds, FAR_S)) for seconds in times)
        return low, expected, high


def _left(estimate: Estimate, elapsed_s: float) -> Estimate:
    """Return what is left of a stage that has been running for so long."""
    low, mid, high = (seconds - elapsed_s for seconds in (estimate.low_s, estimate.mid_s, estimate.high_s))
    late = LATE_SHARE * elapsed_s
    if mid >= late:
        return Estimate(max(0.0, low), mid, high, estimate.samples)
    return Estimate(0.0, late, max(high, LATE_HIGH * late), estimate.samples)
