"""Telling everybody that a credential is worth nothing any more.

Lives here: the order (this process first, then the others) and the retry. Does not live here: what was revoked (rows of
auth.db, committed before), and what a listener does about it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from shared.access.resolution import Revoked
from shared.eventlog.port import LogUnavailableError
from shared.events.subjects import AUTH_REVOKED

TELL_S = 1.0
"""A request that revokes waits so long for the broker; then it is told in the background. Others forget within 5 s
without being told."""
RETRY_S = 0.5
UNTOLD_MAX = 10_000
"""While the broker is away; the oldest go first, which every cache has forgotten long before."""

Tell = Callable[[str, bytes], Awaitable[None]]
"""Publishes what nobody stores. Raises LogUnavailableError."""
Listener = Callable[[Revoked], None]


class Revocations:
    """Listeners are called in the event loop, in the order they came, and must not block."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._listeners: list[Listener] = []
        self._untold: deque[Revoked] = deque(maxlen=UNTOLD_MAX)
        self._telling: asyncio.Task[None] | None = None

    def listen(self, callback: Listener) -> None:
        """Call this for every revocation from now on, before anybody else hears of it."""
        self._listeners.append(callback)

    async def revoke(self, revoked: Revoked) -> None:
        """Make a committed revocation known. Here it holds when this returns; elsewhere too unless the broker is away.

        Cancelling the caller does not keep it from being told.
        """
        for listener in self._listeners:
            listener(revoked)
        self._untold.append(revoked)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_all())
        await asyncio.wait({self._telling}, timeout=TELL_S)

    async def close(self) -> None:
        """Stop telling."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)

    async def _tell_all(self) -> None:
        while self._untold:
            revoked = self._untold.popleft()
            try:
                await self._tell(AUTH_REVOKED, revoked.model_dump_json().encode())
            except LogUnavailableError:
                self._untold.appendleft(revoked)
                await asyncio.sleep(RETRY_S)
