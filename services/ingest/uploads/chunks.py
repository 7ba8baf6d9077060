"""The predecessor's protocol on the same store: chunks of one size, by number.

Lives here: which chunk may come when. Does not live here: HTTP (`routes.uploads`), how bytes are kept (`received`).

Bytes are only ever appended, so there is never a hole (predecessor fault V14). A chunk that comes before its turn
waits, unread, while the ones before it arrive: a client that sends several at once gets through, and one that left a
chunk out is told which after a few seconds.
"""

import asyncio
from collections.abc import AsyncIterator

from services.ingest.uploads.intake import Whole, at_most, pour
from services.ingest.uploads.store import Upload
from services.ingest.uploads.turns import Turn
from services.ingest.uploads.uploads import Uploads
from shared.problems import Problem
from shared.threads import in_thread

EARLY_WAIT_S = 3.0
"""So long may nobody be writing before an early chunk is refused: connections of one client open within a second."""
WAITING_MAX = 16
"""Chunks of one upload that may wait; browsers open six connections."""
MISSING_TOLD = 1000
"""A refusal names so many missing chunks; their number is told in full."""


async def append_chunk(
    uploads: Uploads,
    upload: Upload,
    index: int,
    offset: int,
    length: int | None,
    sha256: str,
    chunks: AsyncIterator[bytes],
) -> bool:
    """Append a chunk; False if it was there already, as after a lost answer.

    Raises Problem 400 where the bytes are not those of `sha256`, 409 for a wrong place or size, for a chunk that is not
    due, for other bytes than those that are there, and if the same chunk comes on another connection, 507.
    """
    size = _check_geometry(upload, index, offset, length)
    waited = False
    while not _is_there(upload, index, offset + size, sha256):
        turn = uploads.turns.last(upload.id)
        if turn is not None and (waited or turn.about != index):
            waited = await _wait(upload, turn)
            continue
        if upload.offset != offset:
            if not await _stirs(upload):
                raise not_due(upload, index)
            waited = True
            continue
        async with uploads.turns.turn(upload.id, about=index) as mine:
            if upload.offset == offset and upload.record.state == "receiving":
                uploads.stir(upload)
                try:
                    await _append(upload, mine, (index, sha256), size, chunks)
                finally:
                    uploads.arrived(upload)
                return True
    return False


def _check_geometry(upload: Upload, index: int, offset: int, length: int | None) -> int:
    try:
        due, size = upload.record.chunk(index)
    except IndexError as error:
        detail = f"This upload has {upload.record.total_chunks} chunks, counted from 0."
        raise Problem(409, "chunk_geometry", detail, total_chunks=upload.record.total_chunks) from error
    if offset != due or length not in (None, size):
        raise wrong_size(index, due, size)
    return size


def wrong_size(index: int, offset: int, size: int) -> Problem:
    """Return the refusal of a chunk that is not where, or not what, it has to be."""
    detail = f"Chunk {index} begins at byte {offset} and has {size} bytes."
    return Problem(409, "chunk_geometry", detail, offset=offset, size=size)


def _is_there(upload: Upload, index: int, end: int, sha256: str) -> bool:
    if upload.offset < end:
        return False
    if upload.received.chunks.get(index) != sha256:
        detail = f"Chunk {index} is here already, with other bytes or sent another way. Go on behind it."
        raise Problem(409, "chunk_differs", detail, offset=upload.offset)
    return True


async def _wait(upload: Upload, turn: Turn) -> bool:
    """Wait for whoever is writing; that ends, if only because nothing arrives any more."""
    if upload.waiting >= WAITING_MAX:
        raise Problem(409, "too_many_chunks", f"{WAITING_MAX} chunks of this upload are waiting. Send fewer at once.")
    upload.waiting += 1
    try:
        await asyncio.shield(turn.ended)
    finally:
        upload.waiting -= 1
    return True


async def _stirs(upload: Upload) -> bool:
    """Return whether somebody begins to write in time."""
    try:
        async with asyncio.timeout(EARLY_WAIT_S):
            await upload.stirred.wait()
    except TimeoutError:
        return False
    return True


async def _append(upload: Upload, turn: Turn, chunk: tuple[int, str], size: int, chunks: AsyncIterator[bytes]) -> None:
    received = upload.received
    try:
        await in_thread(received.begin, whole=True)
        sink = Whole(received, "sha256")
        async with turn.receiving():
            await pour(at_most(chunks, size), sink.write)
        if sink.size != size:
            raise wrong_size(chunk[0], upload.offset, size)
        if not sink.matches(bytes.fromhex(chunk[1])):
            raise Problem(
                400, "chunk_hash_mismatch", "The bytes are not those of X-Chunk-Sha256. Send the chunk again."
            )
        await in_thread(received.keep, chunk)
    finally:
        await in_thread(received.end)


def not_due(upload: Upload, index: int) -> Problem:
    """Return the refusal of a chunk before its turn, with the one whose turn it is."""
    due, missing = upload.offset // upload.record.chunk_bytes, upload.record.missing(upload.offset)
    detail = f"Chunk {index} comes after chunk {due}, which is missing. Send that first, at byte {upload.offset}."
    told = list(missing[:MISSING_TOLD])
    return Problem(409, "chunk_not_due", detail, due_index=due, due_offset=upload.offset, missing=told)


async def complete(uploads: Uploads, upload: Upload, final_sha256: str | None) -> None:
    """Complete an upload, or find it complete. Raises Problem 400 with what is missing, 409 for another digest, 507."""
    if upload.record.state == "receiving" and upload.offset < upload.record.total_bytes:
        missing = upload.record.missing(upload.offset)
        detail = f"{len(missing)} of {upload.record.total_chunks} chunks are missing, the first is {missing[0]}."
        raise Problem(400, "chunks_missing", detail, missing=list(missing[:MISSING_TOLD]), missing_count=len(missing))
    async with uploads.turns.turn(upload.id, take_over=False):
        if upload.record.state == "receiving":
            await uploads.finish(upload, final_sha256)
    if final_sha256 is not None and upload.record.sha256 != final_sha256.lower():
        detail = "The upload is complete, with another digest than the one that was sent."
        raise Problem(409, "upload_hash_mismatch", detail, sha256=upload.record.sha256)
