"""Circuit breakers: an engine that fails again and again is left alone for a while.

Lives here: the fold of stage outcomes into one breaker per engine, and its state at a time (closed, open, then one
trial). Does not live here: choosing another engine (the worker does, told by `StageCommand.avoid`). Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from services.scheduler.limits import Limits
from shared.events.names import Stage
from shared.events.types import StageCompleted, StageFailed

State = Literal["closed", "open", "trial"]
JOINED = "+"
"""A stage that chains several engines names them all, joined by this."""


@dataclass
class Breaker:
    """`failures` in a row; `failed_at` is when the last of them happened, in stage `stage`."""

    failures: int
    failed_at: datetime
    stage: Stage
    trial: str = ""
    """The job whose stage tries the engine again; chosen by this process, and not part of the log."""


@dataclass
class Breakers:
    """Only engines whose last outcome was a failure are kept."""

    known: dict[str, Breaker] = field(default_factory=dict)

    def failed(self, event: StageFailed) -> None:
        """Count a failure that names its engine, and end the trial of a job that failed."""
        self._end_trials(event.subject)
        if event.data.engine is None:
            return
        before = self.known.get(event.data.engine)
        failures = (before.failures if before else 0) + 1
        self.known[event.data.engine] = Breaker(failures, event.time, event.data.stage)

    def completed(self, event: StageCompleted) -> None:
        """A stage that an engine finished closes its breaker; a re-used result says nothing about it."""
        self._end_trials(event.subject)
        if event.data.reused_from is None:
            for name in event.data.engine.name.split(JOINED):
                self.known.pop(name, None)

    def released(self, job_id: str) -> None:
        """A trial that was handed back tried nothing."""
        self._end_trials(job_id)

    def state(self, engine: str, limits: Limits, now: datetime) -> State:
        """Return whether an engine may run: `trial` means that one stage may try it."""
        breaker = self.known.get(engine)
        if breaker is None or breaker.failures < limits.breaker_failures:
            return "closed"
        return "trial" if now >= self.until(engine, limits) else "open"

    def until(self, engine: str, limits: Limits) -> datetime:
        """Return when a failing engine may be tried again. Raises KeyError for one that does not fail."""
        return self.known[engine].failed_at + timedelta(seconds=limits.breaker_cooldown_s)

    def avoided(self, job_id: str, stage: Stage, limits: Limits, now: datetime) -> list[str]:
        """Return the engines that this stage shall not use: open ones, and those that another job tries."""
        found = []
        for engine, breaker in sorted(self.known.items()):
            state = self.state(engine, limits, now)
            tries = state == "trial" and breaker.stage == stage and breaker.trial in ("", job_id)
            if state != "closed" and not tries:
                found.append(engine)
        return found

    def begin_trials(self, job_id: str, stage: Stage, avoided: Iterable[str], limits: Limits, now: datetime) -> None:
        """Note that a command was sent that may use engines whose one trial this is."""
        for engine, breaker in self.known.items():
            if engine not in avoided and breaker.stage == stage and self.state(engine, limits, now) == "trial":
                breaker.trial = job_id

    def _end_trials(self, job_id: str) -> None:
        for breaker in self.known.values():
            if breaker.trial == job_id:
                breaker.trial = ""
