"""An asyncio event loop whose time is a number: sleeping costs nothing, and the same seed gives the same run.

Lives here: virtual time. Nothing but timers can wake a task here: there are no sockets, threads or processes.
"""

import asyncio
from heapq import heappop
from typing import Any


class StuckError(Exception):
    """Every task waits, and no timer will ever wake one."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs timers in their order as fast as the machine can."""

    _ready: Any
    _scheduled: Any

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        """Run what is ready; instead of waiting for input, time jumps to the next timer."""
        ready, timers = self._ready, self._scheduled
        while timers and timers[0]._cancelled:
            heappop(timers)._scheduled = False
        if not ready:
            if not timers:
                raise StuckError
            self._now = max(self._now, timers[0]._when)
        while timers and timers[0]._when <= self._now:
            timer = heappop(timers)
            timer._scheduled = False
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _write_to_self(self) -> None:
        """Nobody else's thread wakes this loop."""
