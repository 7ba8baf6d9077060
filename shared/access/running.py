"""Requests under way: ended when the credential that opened them is revoked, has expired or may do less.

Lives here: the registry, one request's state, and how one is cut. A stream ends as if it were finished, anything with a
length is broken off, a WebSocket is closed with 1008. Does not live here: who may begin (`guard`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from starlette.types import Message, Receive, Scope, Send

from shared.access.principal import Principal
from shared.access.resolution import AccessUnavailableError, Revoked
from shared.problems import Problem

LOOK_S = 1.0
"""How often longer requests are looked at again: a revocation that nobody told us of ends them too."""
POLICY_VIOLATION = 1008
"""Closes a WebSocket (RFC 6455, section 7.4.1)."""

log = structlog.get_logger()


class UnderWay:
    """One request: `send` is what the application is given in the place of the server's."""

    __slots__ = ("_complete", "_send", "_sized", "_started", "began", "digest", "ended", "principal", "revokes", "task")

    def __init__(self, principal: Principal, digest: str, task: asyncio.Task[Any], send: Send, began: float) -> None:
        self.principal = principal
        self.digest = digest
        self.task = task
        self.began = began
        self.ended = self.revokes = False
        self._send = send
        self._started = self._sized = self._complete = False

    async def send(self, message: Message) -> None:
        if self.ended:
            raise asyncio.CancelledError  # for an application that has held the first one up
        kind = message["type"]
        if kind == "http.response.start":
            self._started = True
            self._sized = any(name == b"content-length" for name, _ in message["headers"])
        elif kind == "http.response.body":
            self._complete = not message.get("more_body", False)
        elif kind == "websocket.close":
            self._complete = True
        await self._send(message)

    async def cut(self, scope: Scope, receive: Receive) -> None:
        """Say that it is over, as far as what was sent before lets that be said."""
        if self._complete:
            return
        if scope["type"] == "websocket":
            await self._send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": "signed out"})
        elif not self._started:
            await over().response()(scope, receive, self._send)
        elif not self._sized:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        # A body shorter than was promised can only be told by closing the connection, which the server does.


def over() -> Problem:
    """Return the answer to a request whose credential was revoked while it was under way."""
    return Problem(401, "invalid_credential", "The credential was revoked. Sign in again.")


class Running:
    """The requests under way of one service, on one event loop."""

    def __init__(self, identify: Callable[[str], Awaitable[Principal | None]]) -> None:
        """`identify`: whose a digest is now; raises AccessUnavailableError."""
        self._identify = identify
        self._under_way: set[UnderWay] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None

    def add(self, principal: Principal, digest: str, send: Send) -> UnderWay:
        """Remember a request, which runs in the current task."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        begun = UnderWay(principal, digest, task, send, loop.time())
        self._under_way.add(begun)
        if self._timer is None:
            self._timer = loop.call_later(LOOK_S, self._look)
        return begun

    def remove(self, begun: UnderWay) -> None:
        self._under_way.discard(begun)

    def end(self, revoked: Revoked) -> None:
        """End what runs for these credentials, but for the request that revokes them: it has an answer to give yet."""
        own = asyncio.current_task()
        for begun in self._under_way:
            begun.revokes |= begun.task is own
        self._end([begun for begun in self._under_way if revoked.concerns(begun.principal, begun.digest)])

    def _end(self, concerned: list[UnderWay]) -> None:
        for begun in concerned:
            if begun.revokes:
                continue
            begun.ended = True
            self._under_way.discard(begun)
            begun.task.cancel()
            log.info("request_ended", user=begun.principal.user, credential=begun.principal.credential)

    def _look(self) -> None:
        self._timer = None
        if not self._under_way:
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_S, self._look)
        if self._looking is None or self._looking.done():
            old = {begun.digest for begun in self._under_way if loop.time() - begun.began >= LOOK_S}
            if old:
                self._looking = loop.create_task(self._look_again(old))

    async def _look_again(self, digests: set[str]) -> None:
        for digest in digests:
            try:
                now = await self._identify(digest)
            except AccessUnavailableError:
                continue  # whoever revokes is away as well; a new request is refused meanwhile
            self._end([begun for begun in self._under_way if begun.digest == digest and _less(begun.principal, now)])


def _less(before: Principal, now: Principal | None) -> bool:
    """Return whether a credential does not let in any more, or may do less than it could."""
    return now is None or not before.scopes <= now.scopes
