"""The fit ladder: how a spoken take gets into the time that the original line leaves it.

Lives here: the arithmetic of slots, speaking rates and stretches. Does not live here: synthesis, time-stretching and
mixing themselves. Nothing here ever trims: a take that is too long at the hardest stretch stays whole and is flagged.

The ladder: 1. let the line end a little later than the original (COMFORTABLE_BORROW_S); 2. ask the engine to speak
faster (`plan_rate`, a new take); 3. stretch gently; 4. borrow the whole pause up to the next line; 5. stretch up to
MAX_STRETCH; 6. flag (`Placement.fits`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

GUARD_S = 0.05
"""Silence kept before the next line's start (VoiceStudio's and our ladder's slot: next start - 50 ms)."""
COMFORTABLE_BORROW_S = 0.5
"""How long speech may go on after the original's lips have closed before it is noticed (ladder, step 1)."""
MAX_ENGINE_RATE = 1.15
"""Fastest speaking rate asked of an engine: beyond it listeners call the voice hurried (peers' badges start there)."""
MIN_ENGINE_RATE = 1.05
"""A smaller gain is not worth a new take: tempo differences below 5 % are not heard (Quené 2007)."""
MIN_STRETCH = 0.90
"""Slowest gentle tempo; what is still missing stays silence."""
GENTLE_STRETCH = 1.15
"""Fastest gentle tempo, engine rate included."""
MAX_STRETCH = 1.30
"""Hardest tempo of the ladder (KrillinAI and open-dubbing stop there too)."""
SLOW_BELOW = 0.95
"""A take at least this share of the original's length is left as spoken (VoiceStudio)."""
_TOLERANCE_S = 1e-6


@dataclass(frozen=True)
class Slot:
    """The time that one line has, in seconds on the media timeline.

    `start` and `spoken_end` are the original line's; up to `comfortable_end` a dub may go on unnoticed; `end` is where
    it must have ended (the next line's start less GUARD_S, or the end of the media). `end` may lie before `spoken_end`.
    """

    start: float
    spoken_end: float
    comfortable_end: float
    end: float


@dataclass(frozen=True)
class Placement:
    """Where a take goes: [start, end] in seconds, played `stretch` times as fast as it was spoken.

    `fits` is False if `end` lies beyond the slot: the caller reports the issue `line_overruns`.
    """

    start: float
    end: float
    slot_end: float
    stretch: float
    fits: bool


def plan_slots(spans: Sequence[tuple[float, float]], *, duration_s: float) -> list[Slot]:
    """Return the slot of each line; `spans` are the original lines' (start, end) in seconds, in order of start.

    Raises ValueError if starts go back.
    """
    starts = [start for start, _ in spans]
    if any(later < earlier for earlier, later in pairwise(starts)):
        raise ValueError("lines must be in order of their starts")
    limits = [*(start - GUARD_S for start in starts[1:]), duration_s]
    slots = []
    for (start, spoken_end), limit in zip(spans, limits, strict=True):
        end = max(min(limit, duration_s), start)
        slots.append(Slot(start, spoken_end, min(end, spoken_end + COMFORTABLE_BORROW_S), end))
    return slots


def plan_rate(natural_s: float, slot: Slot) -> float:
    """Return the speaking rate to ask of the engine, in {1.0} or [MIN_ENGINE_RATE, MAX_ENGINE_RATE].

    `natural_s` is the length of the take spoken at rate 1.0. 1.0 means: keep that take.
    """
    need = _need(natural_s, slot.comfortable_end - slot.start)
    return min(need, MAX_ENGINE_RATE) if need >= MIN_ENGINE_RATE else 1.0


def place(natural_s: float, slot: Slot, *, engine_rate: float = 1.0) -> Placement:
    """Place a take of `natural_s` seconds, which the engine spoke at `engine_rate`, at the start of its slot.

    The stretch lies in [MIN_STRETCH, MAX_STRETCH]. A short take is slowed a little towards the original's length;
    a long one is stretched gently towards the comfortable end, and beyond that only as much as the slot demands.
    Raises ValueError unless both numbers are positive.
    """
    if not (natural_s > 0 and engine_rate > 0):
        raise ValueError("natural_s and engine_rate must be positive")
    stretch = _stretch(natural_s, slot, engine_rate)
    end = slot.start + natural_s / stretch
    return Placement(slot.start, end, slot.end, stretch, fits=end <= slot.end + _TOLERANCE_S)


def _stretch(natural_s: float, slot: Slot, engine_rate: float) -> float:
    original_s = min(slot.spoken_end, slot.end) - slot.start
    if natural_s < SLOW_BELOW * original_s:
        return max(natural_s / original_s, MIN_STRETCH)
    gentle_limit = max(GENTLE_STRETCH / engine_rate, 1.0)
    gentle = min(max(_need(natural_s, slot.comfortable_end - slot.start), 1.0), gentle_limit)
    return min(max(_need(natural_s, slot.end - slot.start), gentle), MAX_STRETCH)


def _need(natural_s: float, room_s: float) -> float:
    """Return how many times faster a take must be to fill a room; infinite for no room."""
    return natural_s / room_s if room_s > 0 else float("inf")
