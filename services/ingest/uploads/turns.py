"""Who may write to an upload: one request at a time, and the newest of them.

Lives here: taking over. A client whose connection died comes back before this end has noticed; the request that hangs
there must not keep it out, nor write another byte (tusd 1356). Does not live here: what is done in a turn (`uploads`).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.problems import Problem


class Turn:
    """One request's. The next one waits for `ended`."""

    def __init__(self, before: "Turn | None", about: object) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.about = about
        self._before = before
        self._wanted = False
        self._scope: asyncio.Timeout | None = None

    def begin(self) -> None:
        """Say that nobody is waited for any more."""
        self._before = None

    def want(self) -> None:
        """Ask whoever has this turn to give it up, and all whom they wait for; once is enough."""
        if self._wanted:  # they may be giving it up right now, and a timeout that expires cannot be moved
            return
        self._wanted = True
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())
        elif self._before is not None:
            self._before.want()

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[None]:
        """Do in the block what may be broken off. Raises Problem 409 when somebody takes the turn over."""
        if self._wanted:
            raise _taken_over()
        try:
            async with asyncio.timeout(None) as self._scope:
                yield
        except TimeoutError as error:
            if self._wanted:
                raise _taken_over() from error
            raise
        finally:
            self._scope = None


class Turns:
    """Turns by upload id; an upload that nobody writes to has none here."""

    def __init__(self) -> None:
        self._last: dict[str, Turn] = {}

    def __len__(self) -> int:
        return len(self._last)

    def last(self, upload_id: str) -> Turn | None:
        """Return the turn that somebody has, or of those who wait for one the newest."""
        return self._last.get(upload_id)

    @asynccontextmanager
    async def turn(self, upload_id: str, *, take_over: bool = True, about: object = None) -> AsyncIterator[Turn]:
        """Wait for the one before to end, which `take_over` makes it do, and have the turn in the block."""
        before = self._last.get(upload_id)
        mine = self._last[upload_id] = Turn(before, about)
        if before is not None and take_over:
            before.want()
        try:
            if before is not None:
                await asyncio.shield(before.ended)
            mine.begin()
            yield mine
        finally:
            if before is None or before.ended.done():
                self._end(upload_id, mine)
            else:  # left while waiting: whoever comes next still waits for the one before
                before.ended.add_done_callback(lambda _ended: self._end(upload_id, mine))

    def _end(self, upload_id: str, turn: Turn) -> None:
        turn.ended.set_result(None)
        if self._last.get(upload_id) is turn:
            del self._last[upload_id]


def _taken_over() -> Problem:
    detail = "Another request for this upload came, and took over. Nothing more of this one was written."
    return Problem(409, "upload_taken_over", detail, headers={"Connection": "close"})
