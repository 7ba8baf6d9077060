"""Room that uploads have been promised: counted when one is created, so that none of them fails halfway for want of it.

Lives here: the sums, for each user and for the disk. May be asked from any thread; nothing is checked in one step and
taken in another. Does not live here: what jobs may store, which the scheduler counts.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from services.ingest.storage import disk_full
from shared.problems import Problem


@dataclass
class _Held:
    owner: str
    total: int
    arrived: int


@dataclass(frozen=True)
class Limits:
    """For each user: uploads, and bytes of all of them. For the disk: what is to stay free, in bytes."""

    uploads: int
    bytes: int
    min_free: int


class Quota:
    """Reservations by upload id. `free` returns the disk's free bytes."""

    def __init__(self, limits: Limits, free: Callable[[], int]) -> None:
        self._limits = limits
        self._free = free
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()

    def reserve(self, upload_id: str, owner: str, total: int) -> int:
        """Promise room for an upload, and return how many bytes the user's others were promised.

        Raises Problem 429 `quota_exceeded`, 507 `disk_full`, OSError.
        """
        with self._lock:
            own = [held.total for held in self._held.values() if held.owner == owner]
            if len(own) >= self._limits.uploads:
                raise _exceeded("open_uploads", self._limits.uploads, 0)
            if sum(own) + total > self._limits.bytes:
                raise _exceeded("open_upload_bytes", self._limits.bytes, max(0, self._limits.bytes - sum(own)))
            awaited = sum(held.total - held.arrived for held in self._held.values())
            if self._free() - awaited - total < self._limits.min_free:
                raise disk_full()
            self._held[upload_id] = _Held(owner, total, 0)
            return sum(own)

    def resume(self, upload_id: str, owner: str, total: int, arrived: int) -> None:
        """Count an upload from before a restart: what was promised then is not taken back."""
        with self._lock:
            self._held[upload_id] = _Held(owner, total, arrived)

    def arrived(self, upload_id: str, offset: int) -> int:
        """Say how much of an upload is on the disk, and so no longer free; return how much of that is new."""
        with self._lock:
            held = self._held.get(upload_id)
            if held is None:
                return 0
            new, held.arrived = offset - held.arrived, offset
            return new

    def release(self, upload_id: str) -> None:
        """Forget an upload, which may be forgotten already."""
        with self._lock:
            self._held.pop(upload_id, None)

    def reserved(self, owner: str) -> tuple[int, int]:
        """Return how many uploads of a user are counted, and their bytes."""
        with self._lock:
            own = [held.total for held in self._held.values() if held.owner == owner]
        return len(own), sum(own)

    def open(self) -> tuple[int, int]:
        """Return how many uploads of everybody are counted, and their bytes."""
        with self._lock:
            return len(self._held), sum(held.total for held in self._held.values())


def _exceeded(code: str, limit: int, remaining: int) -> Problem:
    detail = "Your unfinished and unused uploads take all that one user may. Make jobs of them, or remove some."
    return Problem(429, "quota_exceeded", detail, quota=code, limit=limit, remaining=remaining)
