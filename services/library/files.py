"""Files below the output root, over HTTP.

Lives here: which paths are served, opening them without following a link out, and sending bytes off the event loop.
Does not live here: what the headers of a request mean (`ranges`) and which file is whose (`jobstore.reader`).
"""

import asyncio
import os
import re
import secrets
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.library.ranges import Validators

BLOCK = 512 * 1024
"""Bytes per read and per send: the measured optimum against an event loop's overhead."""

READ_THREADS = 8
_READERS = ThreadPoolExecutor(READ_THREADS, "file-reader")

STATE_DIRECTORY = "_state"
_WORK = re.compile(r"(?:^|/)work/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?:/|$)")
"""A job's work directory; a base directory may itself be called `work`, after a film of that name."""

MEDIA_TYPES = {
    ".mkv": "video/x-matroska",
    ".mp4": "video/mp4",
    ".srt": "application/x-subrip; charset=utf-8",
    ".vtt": "text/vtt; charset=utf-8",
    ".json": "application/json",
    ".wav": "audio/wav",
    ".log": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
INLINE = frozenset({".mp4", ".vtt", ".json", ".wav", ".log", ".txt"})
"""What a browser shows by itself, inside the sandbox below; everything else is offered to be saved."""

SAFETY_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}

Span = tuple[int, int]


class NotServedError(Exception):
    """There is no such file, or it is nobody's business. The same answer for both."""


@dataclass(frozen=True)
class OpenFile:
    """A file that is open for reading; whoever holds it closes `fd`."""

    fd: int
    size: int
    modified: datetime


def served(path: str) -> bool:
    """Return whether a path relative to the output root may be served at all."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or part.startswith(".") or "\0" in part for part in parts):
        return False
    return parts[0] != STATE_DIRECTORY and not _WORK.search(path)


def open_below(root: Path, path: str) -> OpenFile:
    """Open a regular file below `root`, following no symbolic link. Raises NotServedError.

    Each directory is opened relative to the one before it, so no rename in between can lead out.
    """
    if not served(path):
        raise NotServedError(path)
    *directories, name = path.split("/")
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for directory in directories:
            fd = _step(fd, directory, os.O_RDONLY | os.O_DIRECTORY)
        fd = _step(fd, name, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO must not hang us
    except (OSError, UnicodeEncodeError) as error:
        raise NotServedError(path) from error
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise NotServedError(path)
    return OpenFile(fd, found.st_size, datetime.fromtimestamp(int(found.st_mtime), UTC))


def _step(directory: int, name: str, flags: int) -> int:
    """Open `name` in a directory and close the directory."""
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.close(directory)


def existing(root: Path, outputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those of a job's outputs whose file can be opened now."""
    found = []
    for output in outputs:
        try:
            file = open_below(root, output["path"])
        except NotServedError:
            continue
        os.close(file.fd)
        found.append(output)
    return found


def validators(file: OpenFile, recorded_sha256: str | None) -> Validators:
    """Return a strong entity tag from the recorded SHA-256, else a weak one from size and time."""
    if recorded_sha256 is not None:
        return Validators(f'"{recorded_sha256}"', file.modified)
    return Validators(f'W/"{file.size:x}-{int(file.modified.timestamp()):x}"', file.modified)


def describing_headers(path: str, file_validators: Validators) -> dict[str, str]:
    """Return the headers that every answer about a file carries (section 15.4.5 for 304; RFC 6266, RFC 8187)."""
    name = path.rsplit("/", 1)[-1]
    disposition = "inline" if Path(name).suffix in INLINE else "attachment"
    ascii_name = re.sub(r'[^\x20-\x7e]|["\\%]', "_", name)
    return {
        "ETag": file_validators.etag,
        "Last-Modified": format_datetime(file_validators.modified, usegmt=True),
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"{disposition}; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}",
        **SAFETY_HEADERS,
    }


def media_type(path: str) -> str:
    """Return the Content-Type of a path, by its suffix."""
    return MEDIA_TYPES.get(Path(path).suffix, "application/octet-stream")


class FileResponse(Response):
    """Sends spans of an open file and closes it, however the request ends.

    One span or none at all goes as it is, several as multipart/byteranges (section 14.6).
    """

    def __init__(self, file: OpenFile, path: str, headers: dict[str, str], spans: Sequence[Span] | None) -> None:
        self._file = file
        self._pieces = self._plan(spans, media_type(path), headers)
        length = sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] + 1 for piece in self._pieces)
        status = 200 if spans is None else 206
        super().__init__(status_code=status, headers=headers | {"Content-Length": str(length)})

    def _plan(self, spans: Sequence[Span] | None, content_type: str, headers: dict[str, str]) -> list[bytes | Span]:
        size = self._file.size
        headers["Content-Type"] = content_type
        if spans is None:
            return [(0, size - 1)] if size else []
        if len(spans) == 1:
            headers["Content-Range"] = f"bytes {spans[0][0]}-{spans[0][1]}/{size}"
            return [spans[0]]
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
            os.close(self._file.fd)

    async def _send_span(self, span: Span, send: Send, gone: asyncio.Future[None]) -> bool:
        """Send one span; False if the client went away, which the server tells nobody who only sends."""
        loop = asyncio.get_running_loop()
        first, last = span
        while first <= last and not gone.done():
            wanted = min(BLOCK, last - first + 1)
            block = await loop.run_in_executor(_READERS, os.pread, self._file.fd, wanted, first)
            if not block:
                raise OSError("the file became shorter while it was sent")
            await send({"type": "http.response.body", "body": block, "more_body": True})
            first += len(block)
        return not gone.done()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
