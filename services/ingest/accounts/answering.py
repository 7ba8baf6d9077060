"""Telling other services whose a credential is, over the bus.

Lives here: answering `AUTH_RESOLVE`. Does not live here: the look-up (`resolver`), and the way over HTTP for when the
broker is away (`routes.credentials`).
"""

import asyncio
import contextlib

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import ValidationError

from shared.access.resolution import AccessUnavailableError, ResolveAnswer, Resolver, ResolveRequest

AT_ONCE = 64
"""More than this wait in the connection, so that a flood costs memory there and not tasks here."""
NO_ANSWER = b""
"""Neither yes nor no: whoever gets it treats it as if nobody had answered, without waiting for that."""

log = structlog.get_logger()


class Answering:
    """Answers requests beside each other: one that waits for the disk holds up none that is remembered."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._free = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, message: Msg) -> None:
        """Answer one message; returns when there is room for the next."""
        await self._free.acquire()
        task = asyncio.create_task(self._respond(message))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def answer(self, payload: bytes) -> bytes:
        """Return the answer to a request's bytes, `NO_ANSWER` to what is no request or cannot be answered now."""
        try:
            request = ResolveRequest.model_validate_json(payload)
            principal = await self._resolver.resolve(request.digest)
        except (ValidationError, AccessUnavailableError) as error:
            log.warning("credential_not_resolved", error=type(error).__name__)
            return NO_ANSWER
        return ResolveAnswer(principal=principal).model_dump_json().encode()

    async def _respond(self, message: Msg) -> None:
        answer = await self.answer(message.data)
        with contextlib.suppress(NatsError):  # the connection went; the asker asks again or elsewhere
            await message.respond(answer)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free.release()
