"""Sending an open file: its bytes from here, or the word to the gateway that it may send them.

Lives here: the two responses. Does not live here: which bytes (`ranges`) and what is said of them (`file_headers`).
"""

import asyncio
import errno
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.library.files import OpenFile
from shared.sealing.format import CHUNK

BLOCK = 512 * 1024
"""Bytes per read and per send: the measured optimum against an event loop's overhead."""

FILE_THREADS = 8
FILE_POOL = ThreadPoolExecutor(FILE_THREADS, "file-reader")
"""Opens and reads files, so that a slow disk keeps neither the event loop nor the readers of jobs.db waiting."""

NOT_CACHED = frozenset({errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
"""What the kernel says of bytes that are not in memory, or where a file system cannot tell."""

ACCEL_PATH = "X-Accel-Redirect"
ACCEL_RANGE = "X-Accel-Range"
"""From the library to the gateway: which file to send, and which bytes of it, nothing for all. It drops both."""

Span = tuple[int, int]


def handed_off(path: str, headers: dict[str, str], spans: Sequence[Span] | None) -> Response:
    """Return the answer that the gateway completes: all preconditions are judged, the spans are final.

    The path is percent-encoded but for what no server and no template takes for anything else.
    """
    wanted = "" if spans is None else "bytes=" + ",".join(f"{first}-{last}" for first, last in spans)
    return Response(headers=headers | {ACCEL_PATH: "/" + quote(path, safe="/"), ACCEL_RANGE: wanted})


class FileResponse(Response):
    """Sends spans of an open file and closes it, however the request ends.

    One span or none at all goes as it is, several as multipart/byteranges (RFC 9110, section 14.6). The next block is
    read while the one before it is sent.
    """

    def __init__(self, file: OpenFile, headers: dict[str, str], spans: Sequence[Span] | None) -> None:
        self._file = file
        self._reading: Future[bytes] | None = None
        self._begun_at: int | None = None
        """Where the block begins that is being read ahead."""
        self._pieces = self._plan(spans, headers)
        length = sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] + 1 for piece in self._pieces)
        status = 200 if spans is None else 206
        super().__init__(status_code=status, headers=headers | {"Content-Length": str(length)})

    def _plan(self, spans: Sequence[Span] | None, headers: dict[str, str]) -> list[bytes | Span]:
        size = self._file.size
        if spans is None:
            return [(0, size - 1)] if size else []
        if len(spans) == 1:
            headers["Content-Range"] = f"bytes {spans[0][0]}-{spans[0][1]}/{size}"
            return [spans[0]]
        content_type = headers["Content-Type"]
        boundary = secrets.token_hex(12)
        headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
        pieces: list[bytes | Span] = []
        for first, last in spans:
            head = f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: bytes {first}-{last}/{size}"
            pieces += [f"{head}\r\n\r\n".encode(), (first, last)]
        return [*pieces, f"\r\n--{boundary}--\r\n".encode()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for piece in self._pieces if scope["method"] != "HEAD" else ():
                if isinstance(piece, bytes):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                elif not await self._send_span(piece, send, gone):
                    return
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            self._close()

    async def _send_span(self, span: Span, send: Send, gone: asyncio.Future[None]) -> bool:
        """Send one span; False if the client went away, which the server tells nobody who only sends."""
        first, last = span
        while first <= last:
            block = await self._read(first, last)
            first += len(block)
            if self._file.sealed and first <= last:
                self._begin_reading(first, last)  # decrypted while the block before it is sent
            await send({"type": "http.response.body", "body": block, "more_body": True})
            # A fast client, or one that is gone, makes none of these wait: the others have their turn here.
            await asyncio.sleep(0)
            if gone.done():
                return False
        return True

    async def _read(self, first: int, last: int) -> bytes | memoryview:
        """Return the next bytes: what is in memory at once, anything else by a thread. Raises OSError, SealError."""
        block: bytes | memoryview | None = None
        if self._file.sealed is None:
            block = _read_cached(self._file.fd, first, min(BLOCK, last - first + 1))
        if block is None:
            if self._begun_at != first:
                self._begin_reading(first, last)
            assert self._reading is not None
            block = await asyncio.wrap_future(self._reading)
            self._begun_at = None
        if not block:
            raise OSError(errno.EIO, "the file became shorter while it was sent")
        return block

    def _begin_reading(self, first: int, last: int) -> None:
        sealed, wanted = self._file.sealed, min(BLOCK, last - first + 1)
        if sealed is None:
            self._reading = FILE_POOL.submit(os.pread, self._file.fd, wanted, first)
        else:  # up to the end of a chunk, so that none is decrypted twice
            self._reading = FILE_POOL.submit(sealed.pread, first, min(wanted, BLOCK - first % CHUNK))
        self._begun_at = first

    def _close(self) -> None:
        """Close the file, once nobody reads it any more: its number may be another file's at once."""
        if self._reading is None:
            os.close(self._file.fd)
        else:
            self._reading.cancel()
            self._reading.add_done_callback(lambda _: os.close(self._file.fd))


def _read_cached(fd: int, first: int, wanted: int) -> memoryview | None:
    """Return what of a range is in the page cache, from its beginning; None if it would have to come from the disk.

    This never waits, so the event loop may do it; a thread's turn would cost several times the copy.
    """
    block = bytearray(wanted)
    try:
        count = os.preadv(fd, [block], first, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno in NOT_CACHED:
            return None
        raise
    return memoryview(block)[:count]


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
