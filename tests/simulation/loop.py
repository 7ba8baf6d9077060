"""An asyncio event loop whose time is a number: sleeping costs nothing, and the same seed gives the same run.

Lives here: virtual time. Nothing but timers can wake a task here: there are no sockets, threads or processes.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from heapq import heappop, heappush
from itertools import count
from typing import Any


class StuckError(Exception):
    """Every task waits, and no timer will ever wake one."""


class Handle:
    """What is to be called, as `asyncio.Handle` without its words for people: a run makes thousands of them."""

    __slots__ = ("args", "callback", "context")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = context or copy_context()

    def cancel(self) -> None:
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        return self.callback is None


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs timers in their order, those of one moment as they were set, as fast as the machine can."""

    _ready: Any
    _scheduled: Any

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._numbers = count()

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        handle = Handle(callback, args, context)
        heappush(self._scheduled, (when, next(self._numbers), handle))
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        handle = Handle(callback, args, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        """Generators that are collected ask for this; there are no other threads here."""
        return self.call_soon(callback, *args, context=context)

    def _run_once(self) -> None:
        """Run what is ready; instead of waiting for input, time jumps to the next timer."""
        ready, timers = self._ready, self._scheduled
        while timers and timers[0][2].callback is None:
            heappop(timers)
        if not ready:
            if not timers:
                raise StuckError
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            ready.append(heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle.callback is None:
                continue
            try:
                handle.context.run(handle.callback, *handle.args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 -- as asyncio does
                self.call_exception_handler({"message": f"exception in {handle.callback!r}", "exception": error})
