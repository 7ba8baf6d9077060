"""How long a stage will take, learned from the stages that finished.

Lives here: the windows of finished stages and the interval that follows from them. Pure, and a function of the events
folded, so that a snapshot of it plus the tail of the log gives exactly what the whole log gives (E5).
Does not live here: when a job starts and ends (`services.scheduler.forecast`).

The model, `docs/decisions/0005-eta.md`: seconds = loading + factor x seconds of media, where the factor is log-normal
around the median of a window of recent stages like this one.
"""

import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, Self

from shared.events.names import Mode, Stage
from shared.events.types import Timings

WINDOW = 32
"""Finished stages remembered per key: enough for a spread, and soon forgotten when an engine got faster."""
MAX_KEYS = 512
"""The keys learned longest ago go first: a log full of odd engine names cannot fill the memory."""
INTERVAL_Z = 1.2816
"""The interval is meant to hold 80% of the time: from the 10th to the 90th percentile."""

PRIOR_SAMPLES = 3
PRIOR_VARIANCE = 0.4**2
"""Before anything is known about its spread, a log factor is believed to vary this much, as if seen so often."""
UNSEEN_VARIANCE = (0.8**2, 0.4**2, 0.4**2)
"""More when the window is of another device, mode or engine than the one asked for."""
NORMAL_SIGMA = math.sqrt(math.pi / 2)
"""Standard deviation of a normal value per mean absolute deviation; the latter forgives a single outlier more."""

MIN_MEDIA_S = 0.1
MIN_WORK_S = 0.001
MAX_S = 1e7
"""Four months: no media and no stage is longer, so nothing that is computed from them overflows."""

DEFAULT_FACTOR: Mapping[Stage, float] = {
    "audio": 0.03,
    "transcribe": 0.5,
    "translate": 0.05,
    "tts": 1.2,
    "mix": 0.12,
    "mux": 0.2,
}
"""Seconds per second of media before anything has finished: about twice what two slow cores without a GPU need."""
DEFAULT_MODE: Mapping[Mode, float] = {"high": 2.0, "medium": 1.0, "low": 0.7}
DEFAULT_LOAD_S = 2.0
DEFAULT_SPREAD = 3.0
"""The built-in factors may be wrong by this much either way."""


class Sample(NamedTuple):
    """One finished stage, seconds; `work_s` is without loading."""

    media_s: float
    work_s: float
    load_s: float


class Estimate(NamedTuple):
    """Seconds that a stage takes: expected, and an 80% interval; `samples` finished ones stand behind it."""

    low_s: float
    mid_s: float
    high_s: float
    samples: int


Key = tuple[str, ...]
"""(stage, device, mode, engine), or the first one to three of these: the wider windows."""


class Speeds:
    """What the finished stages teach about the next ones; bounded in memory, equal when the same was learned."""

    def __init__(self) -> None:
        self._windows: dict[Key, _Window] = {}
        """In the order of the last time each one learned something."""

    def learn(self, stage: Stage, engine: str, device: str, mode: Mode, media_s: float, timings: Timings) -> None:
        """Take in a stage that really ran, not one that was re-used; what no stage can have taken is left out."""
        work_s = timings.total_s - timings.load_s
        if not (MIN_MEDIA_S <= media_s <= MAX_S and 0 <= timings.load_s <= MAX_S and 0 <= work_s <= MAX_S):
            return
        sample = Sample(media_s, max(work_s, MIN_WORK_S), timings.load_s)
        key = (stage, device, mode, engine)
        for depth in range(1, len(key) + 1):
            window = self._windows.pop(key[:depth], None)
            samples = window.samples if window else deque[Sample](maxlen=WINDOW)
            samples.append(sample)
            self._windows[key[:depth]] = _Window(samples)
        for oldest in list(islice(self._windows, max(0, len(self._windows) - MAX_KEYS))):
            del self._windows[oldest]

    def estimate(self, stage: Stage, mode: Mode, device: str, media_s: float, engine: str | None = None) -> Estimate:
        """Return how long a stage will take; without an engine, by whichever engines ran it in this mode lately.

        `device` is the one it will run on, as `EngineUsed.device` says it. Where nothing like it has finished yet, the
        stage in other modes, then on other devices, then built-in factors stand in, with a wider interval.
        """
        media_s = min(max(0.0, media_s), MAX_S)
        asked: Key = (stage, device, mode) if engine is None else (stage, device, mode, engine)
        for depth in range(len(asked), 0, -1):
            window = self._windows.get(asked[:depth])
            if window is not None:
                return window.fit.estimate(media_s, sum(UNSEEN_VARIANCE[depth - 1 : len(asked) - 1]))
        mid = DEFAULT_FACTOR[stage] * DEFAULT_MODE[mode] * media_s
        return Estimate(mid / DEFAULT_SPREAD, mid + DEFAULT_LOAD_S, (mid + DEFAULT_LOAD_S) * DEFAULT_SPREAD, 0)

    def dump(self) -> dict[str, Any]:
        """Return everything learned as JSON values, in an order that `load` keeps."""
        return {"windows": [[list(key), [list(s) for s in window.samples]] for key, window in self._windows.items()]}

    @classmethod
    def load(cls, dumped: Mapping[str, Any]) -> Self:
        """Return what `dump` was called on."""
        speeds = cls()
        for key, samples in dumped["windows"]:
            speeds._windows[tuple(key)] = _Window(deque((Sample(*sample) for sample in samples), maxlen=WINDOW))
        return speeds


@dataclass
class _Window:
    """Never changed once its fit was asked for: learning puts another in its place."""

    samples: deque[Sample]

    @cached_property
    def fit(self) -> "_Fit":
        return _fitted(self.samples)


@dataclass(frozen=True)
class _Fit:
    """`centre` and `variance` of the log factor; loading from the 10th to the 90th percentile."""

    centre: float
    variance: float
    load_low_s: float
    load_mid_s: float
    load_high_s: float
    samples: int

    def estimate(self, media_s: float, unseen_variance: float) -> Estimate:
        width = INTERVAL_Z * math.sqrt(self.variance + unseen_variance)
        low, mid, high = (math.exp(self.centre + shift) * media_s for shift in (-width, 0.0, width))
        return Estimate(low + self.load_low_s, mid + self.load_mid_s, high + self.load_high_s, self.samples)


def _fitted(samples: Sequence[Sample]) -> _Fit:
    factors = [math.log(sample.work_s / sample.media_s) for sample in samples]
    centre = statistics.median(factors)
    count = len(factors)
    seen_variance = (NORMAL_SIGMA * statistics.fmean(abs(factor - centre) for factor in factors)) ** 2
    variance = (PRIOR_SAMPLES * PRIOR_VARIANCE + count * seen_variance) / (PRIOR_SAMPLES + count)
    loads = sorted(sample.load_s for sample in samples)
    return _Fit(
        centre,
        variance * (1 + 1 / count),  # the centre is an estimate, too
        [0.0, *loads][(count + 1) // 10],  # an engine that was always cold so far may be warm next time
        statistics.median(loads),
        loads[min(count - 1, 9 * count // 10)],
        count,
    )
