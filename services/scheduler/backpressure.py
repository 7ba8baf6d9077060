"""Backpressure: what a submission means for the job's mode when many others wait or run.

Lives here: the rule. Does not live here: the queue (`board`) or carrying it out (`policy`). Pure; the predecessor's
formula, made explainable: it counts running jobs too, may be refused by the job, and is taken back when it can be.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.events.names import Mode

LOWER: Mapping[Mode, Mode] = {"high": "medium", "medium": "low", "low": "low"}
DELAY_BASE_S = 0.5
DELAY_PER_JOB_S = 0.75
DELAY_JITTER_S = 0.75
DELAY_MAX_S = 30.0


@dataclass(frozen=True)
class Verdict:
    """The mode that a job gets, and how long it is held back after its submission, in seconds (0: not at all)."""

    mode: Mode
    delay_s: float
    queue_len: int


def judge(mode: Mode, *, may_degrade: bool, queue_len: int, q_max: int, random: float) -> Verdict | None:
    """Return what backpressure does to a job submitted as the `queue_len`-th queued or running one, None if nothing.

    Above `q_max` (0: never) the mode falls one step, and one more for each further `q_max`. A job that stands at
    `low` by then, or that may not be degraded, is held back min(30, 0.5 + 0.75 (len - max) + 0.75 random) s, with
    `random` in 0..1.
    """
    if q_max <= 0 or queue_len <= q_max:
        return None
    steps = -(-(queue_len - q_max) // q_max)
    lowered, left = mode, steps if may_degrade else 0
    while left and lowered != "low":
        lowered, left = LOWER[lowered], left - 1
    held = not may_degrade or left > 0
    over = queue_len - q_max
    delay = min(DELAY_MAX_S, DELAY_BASE_S + DELAY_PER_JOB_S * over + DELAY_JITTER_S * random)
    return Verdict(lowered, delay if held else 0.0, queue_len)
