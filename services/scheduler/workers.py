"""The workers as their heartbeats tell of them, and the world that the policy decides in.

Lives here: remembering heartbeats, and the free space of the output volume. Does not live here: any decision.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from services.scheduler.policy import World
from shared.job.modes import Hardware
from shared.telemetry import HEARTBEAT_S, Heartbeat

ALIVE_S = 3 * HEARTBEAT_S
"""A worker that was silent for three intervals counts as gone (E6)."""
FORGET_S = 3600.0
CUDA = "cuda"


@dataclass(frozen=True)
class Seen:
    """A worker's last heartbeat, and when it came on this process's monotonic clock, seconds."""

    beat: Heartbeat
    at: float


class Workers:
    """Every worker of the last hour."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[str, Seen] = {}

    def beat(self, beat: Heartbeat) -> bool:
        """Note a sign of life; return whether it tells something new for decisions."""
        before = self._seen.get(beat.worker)
        self._seen[beat.worker] = Seen(beat, self._clock())
        return before is None or not self._alive(before) or before.beat.draining != beat.draining

    def all(self) -> list[Seen]:
        """Return every known worker, by name."""
        now = self._clock()
        self._seen = {name: seen for name, seen in self._seen.items() if now - seen.at < FORGET_S}
        return [self._seen[name] for name in sorted(self._seen)]

    def age(self, seen: Seen) -> float:
        """Return the seconds since a worker's last heartbeat."""
        return self._clock() - seen.at

    def _alive(self, seen: Seen) -> bool:
        return self.age(seen) < ALIVE_S

    def alive(self) -> list[Heartbeat]:
        """Return the heartbeats of the workers that live and take commands."""
        return [seen.beat for seen in self.all() if self._alive(seen) and not seen.beat.draining]

    def world(self, now: datetime, free_gb: float | None) -> World:
        """Return what the policy has to know besides the log."""
        beats = self.alive()
        hardware = Hardware(
            gpu=any(beat.device == CUDA for beat in beats),
            models=frozenset(model for beat in beats for model in beat.models),
            engines=frozenset(engine for beat in beats for engine in beat.engines),
        )
        return World(now, free_gb, hardware, frozenset(beat.pool for beat in beats))


def free_gb(path: Path) -> float | None:
    """Return the free space of the volume that holds `path` in GB, None if it cannot be told (not yet made)."""
    try:
        return shutil.disk_usage(path).free / (1 << 30)
    except OSError:
        return None
