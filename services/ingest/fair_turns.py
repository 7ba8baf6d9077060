"""Turns at what only a few may do at once: user by user, so that who brings many keeps nobody waiting who brings one.

Lives here: the queue and its bound. Does not live here: what is done in a turn (`checks`). For one event loop.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TooManyWaitingError(Exception):
    """A user has as many waiting as may wait; `waiting` tells how many."""

    def __init__(self, waiting: int) -> None:
        super().__init__(waiting)
        self.waiting = waiting


class FairTurns:
    """`at_once` turns at a time; of one user at most `waiting_each` wait, each in the order of its coming."""

    def __init__(self, at_once: int, waiting_each: int) -> None:
        self._free = at_once
        self._waiting_each = waiting_each
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """Users in the order in which they are served next; nobody waits while a turn is free."""

    @asynccontextmanager
    async def turn(self, user: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it in the block. Raises TooManyWaitingError at once, never after a wait."""
        await self._begin(user)
        try:
            yield
        finally:
            self._end()

    async def _begin(self, user: str) -> None:
        if self._free:
            self._free -= 1
            return
        own = self._waiting.setdefault(user, deque())
        if len(own) >= self._waiting_each:
            raise TooManyWaitingError(len(own))
        mine = asyncio.get_running_loop().create_future()
        own.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine in own:
                self._leave(user, own, mine)
            elif not mine.cancelled():
                self._end()  # it had become theirs in this very moment
            raise

    def _leave(self, user: str, own: deque[asyncio.Future[None]], mine: asyncio.Future[None]) -> None:
        own.remove(mine)
        if not own:
            del self._waiting[user]

    def _end(self) -> None:
        """Give the turn to the first of the next user who still waits, and put that user behind the others."""
        while self._waiting:
            user = next(iter(self._waiting))
            own = self._waiting.pop(user)
            next_one = own.popleft()
            if own:
                self._waiting[user] = own
            if not next_one.cancelled():
                next_one.set_result(None)
                return
        self._free += 1
