"""Blocking work in a thread that is never left behind.

Lives here: calls whose thread has ended when they return, raise or are cancelled. `asyncio.to_thread` alone goes on
behind the back of a cancelled request, with files that were closed by then. Does not live here: which work blocks.
"""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it in a thread; when cancelled, wait for its end first, so that nothing goes on behind our back."""
    return await _ended(asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs)), None)


async def made_in_thread(make: Callable[[], T], undo: Callable[[T], object]) -> T:
    """Return what `make` makes in a thread; when cancelled meanwhile, undo it, because nobody else can."""
    return await _ended(asyncio.ensure_future(asyncio.to_thread(make)), undo)


async def _ended(running: asyncio.Future[T], undo: Callable[[T], object] | None) -> T:
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        if not running.cancelled() and running.exception() is None and undo is not None:
            undo(running.result())
        raise
