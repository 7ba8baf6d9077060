"""A request's body on its way to a worker thread.

Lives here: batching, read-ahead by one batch, the idle limit, and work that ends with its client. So memory stays
bounded, the event loop never waits for a disk or a hash, and a thread is never left behind with a file that its request
gave up.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from shared.problems import Problem

BATCH_BYTES = 1 << 20

T = TypeVar("T")


async def pump(chunks: AsyncIterator[bytes], consume: Callable[[bytes], None]) -> None:
    """Call `consume` in a thread with about 1 MiB at a time, in order. Raises what `chunks` and `consume` raise."""
    loop = asyncio.get_running_loop()
    running: asyncio.Future[None] | None = None
    batch: list[bytes] = []
    size = 0
    try:
        async for chunk in chunks:
            batch.append(chunk)
            size += len(chunk)
            if size >= BATCH_BYTES:
                if running is not None:
                    await asyncio.shield(running)
                running = loop.run_in_executor(None, consume, b"".join(batch))
                batch, size = [], 0
        if running is not None:
            await asyncio.shield(running)
        running = loop.run_in_executor(None, consume, b"".join(batch))
        await asyncio.shield(running)
    finally:
        if running is not None and not running.done():
            await asyncio.wait({running})


async def chunks_of(request: Request, idle_s: float) -> AsyncIterator[bytes]:
    """Yield the body. Raises Problem 408 after `idle_s` seconds without a byte, starlette's ClientDisconnect."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(idle_s):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise Problem(
                408, "upload_stalled", f"Nothing arrived for {idle_s:.0f} s. Send the video again."
            ) from error
        yield chunk


async def disconnected(request: Request) -> None:
    """Return when the client is gone; only after its whole body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def unless_gone(gone: Callable[[], Awaitable[None]], work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; end it and raise ClientDisconnect if `gone` comes first."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait({working, leaving})
