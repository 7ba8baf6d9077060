"""What follows an attempt: delivered, tried again later, or given up. Pure.

Lives here: the schedule and the verdict. Does not live here: sending (`sender`) and remembering (`deliveries`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Literal

State = Literal["pending", "delivered", "failed"]

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
BACKOFF_S = (5.0, MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
"""Seconds before the second attempt, the third, ...: about three days in all."""
JITTER = 0.2
"""Each delay is up to a fifth shorter or longer, so that receivers that come back are not met by everybody at once."""
RETRY_AFTER_MAX_S = DAY
GONE = 410

_random = SystemRandom()


@dataclass(frozen=True)
class Outcome:
    """One attempt: the answer's status, or why there was none."""

    status: int | None
    error: str | None
    duration_ms: int
    retry_after_s: float | None = None

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True)
class Schedule:
    """When to try again, and when a receiver has failed for too long. Seconds."""

    backoff: tuple[float, ...] = BACKOFF_S
    disable_after: float = 5 * DAY
    """A webhook that has only failed for so long is disabled."""
    streak_gap: float = 2 * DAY
    """Failures further apart are not one long failure: nothing was tried in between."""
    jitter: Callable[[], float] = field(default=lambda: _random.uniform(1 - JITTER, 1 + JITTER))


@dataclass(frozen=True)
class Verdict:
    """What becomes of a delivery; `next_at` is in seconds since the epoch, None unless it is pending."""

    state: State
    next_at: float | None = None


def judge(outcome: Outcome, tries: int, now: float, schedule: Schedule, *, once: bool = False) -> Verdict:
    """Return what follows the `tries`th attempt. `once`: there is no second one (a person waits for a test)."""
    if outcome.ok:
        return Verdict("delivered")
    if once or outcome.status == GONE or tries > len(schedule.backoff):
        return Verdict("failed")
    delay = schedule.backoff[tries - 1] * schedule.jitter()
    asked = min(outcome.retry_after_s or 0.0, RETRY_AFTER_MAX_S)
    return Verdict("pending", now + max(delay, asked))
