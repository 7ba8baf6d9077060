"""From a request's body to an upload's bytes, through worker threads.

Lives here: that all which arrived is written, however the request ends; that no thread is left behind with a file; and
the checks on the way. Does not live here: reading the request (`services.ingest.body`), and whose turn it is (`turns`).
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable

from services.ingest.body import BATCH_BYTES
from services.ingest.uploads.received import Received
from services.ingest.uploads.tus import CHECKSUM_MISMATCH, Checksum
from shared.problems import Problem
from shared.threads import in_thread


async def at_most(chunks: AsyncIterator[bytes], room: int) -> AsyncIterator[bytes]:
    """Yield the body. Raises Problem 413 before what exceeds `room` bytes."""
    async for chunk in chunks:
        room -= len(chunk)
        if room < 0:
            raise too_long()
        yield chunk


def too_long() -> Problem:
    """Return the refusal of more bytes than the upload was said to have."""
    return Problem(413, "upload_too_long", "This is more than the size that the upload was created with.")


async def pour(chunks: AsyncIterator[bytes], write: Callable[[bytes], None]) -> None:
    """Call `write` in a thread with about 1 MiB at a time, in order. Raises what `chunks` and `write` raise.

    When `chunks` fails or this is cancelled, what has arrived is written all the same: a client whose connection
    breaks every megabyte still gets on.
    """
    batch: list[bytes] = []
    size = 0
    writing: asyncio.Future[None] | None = None
    try:
        async for chunk in chunks:
            batch.append(chunk)
            size += len(chunk)
            if size >= BATCH_BYTES:
                if writing is not None:
                    await asyncio.shield(writing)
                writing = asyncio.ensure_future(asyncio.to_thread(write, b"".join(batch)))
                batch, size = [], 0
    finally:
        if writing is not None:
            await asyncio.wait({writing})
        if size and (writing is None or writing.exception() is None):
            await in_thread(write, b"".join(batch))
    if writing is not None:
        writing.result()


class Whole:
    """Bytes that count only if their digest is right; a sink for `pour`."""

    def __init__(self, received: Received, algorithm: str) -> None:
        self._received = received
        self._digest = hashlib.new(algorithm, usedforsecurity=False)
        self.size = 0

    def write(self, data: bytes) -> None:
        """Write, hash and count. Raises Problem 507, OSError."""
        self._received.write(data)
        self._digest.update(data)
        self.size += len(data)

    def matches(self, expected: bytes) -> bool:
        """Return whether the bytes so far are these."""
        return self._digest.digest() == expected


async def receive(received: Received, chunks: AsyncIterator[bytes], checksum: Checksum | None) -> None:
    """Append a body; with a checksum all of it or nothing.

    Raises Problem 460, 507, OSError, and what `chunks` raises.
    """
    try:
        await in_thread(received.begin, whole=checksum is not None)
        if checksum is None:
            await pour(chunks, received.write)
            return
        sink = Whole(received, checksum.algorithm)
        await pour(chunks, sink.write)
        if not sink.matches(checksum.expected):
            detail = "The bytes are not those of the checksum, and none of them was kept. Send them again."
            raise Problem(CHECKSUM_MISMATCH, "checksum_mismatch", detail)
        await in_thread(received.keep)
    finally:
        await in_thread(received.end)
