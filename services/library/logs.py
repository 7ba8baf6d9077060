"""Reading a job's log: its end, its last lines, and what comes after.

Lives here: files. A log is `job.log` in the job's base directory and `job.log.1`, what it was before it was rotated.
Tails are found by blocks from the end, never by the whole file (E4), and what follows is read from there on, once (E3).
All of it blocks: call it in a thread. Does not live here: who writes it (`services.worker.job_log`), and HTTP.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.library.files import NotServedError, open_below

LOG_NAME = "job.log"
ROTATED_NAME = "job.log.1"
BLOCK = 64 << 10
WHOLE_MAX_BYTES = 5 << 20
"""More than that of a log is not sent: its end is."""

LINE_MAX_BYTES = 8 << 10
"""A longer line is followed in pieces of this size: a file without a line's end must not fill the memory."""


@contextmanager
def opened(root: Path, base_dir: str, name: str) -> Iterator[int | None]:
    """Open a file of a job's log, following no link below the output root; None if there is no such file."""
    try:
        file = open_below(root, f"{base_dir}/{name}")
    except NotServedError:
        yield None
        return
    try:
        yield file.fd
    finally:
        os.close(file.fd)


def blocks(fd: int, first: int, end: int) -> Iterator[bytes]:
    """Yield a file's bytes from `first` to `end`, or to where it ends by now. Raises OSError."""
    while first < end and (block := os.pread(fd, min(BLOCK, end - first), first)):
        yield block
        first += len(block)


def start_of_last_lines(fd: int, count: int) -> tuple[int, int]:
    """Return where the last `count` lines of a file begin, and how many lines there are from there on.

    At most `WHOLE_MAX_BYTES` from the end are looked at. Raises OSError.
    """
    size = os.fstat(fd).st_size
    lowest = max(0, size - WHOLE_MAX_BYTES)
    first, found = size, 0
    while first > lowest:
        step = min(BLOCK, first - lowest)
        first -= step
        block = os.pread(fd, step, first)
        at = len(block) - 1 if first + len(block) == size and block.endswith(b"\n") else len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            found += 1
            if found == count:
                return first + at + 1, count
    return lowest, found + (size > lowest)


def last_lines(root: Path, base_dir: str, count: int) -> bytes:
    """Return the last `count` lines, of the rotated log too if the newer one has fewer. Raises OSError."""
    text = b""
    for name in (LOG_NAME, ROTATED_NAME):
        with opened(root, base_dir, name) as fd:
            if fd is not None and count > 0:
                first, found = start_of_last_lines(fd, count)
                text = b"".join(blocks(fd, first, os.fstat(fd).st_size)) + text
                count -= found
    return text


def end_of_log(root: Path, base_dir: str) -> bytes:
    """Return the whole log, or its last `WHOLE_MAX_BYTES` after a line that says so. Raises OSError."""
    text, left_out = b"", 0
    for name in (LOG_NAME, ROTATED_NAME):
        with opened(root, base_dir, name) as fd:
            if fd is not None:
                size = os.fstat(fd).st_size
                taken = min(size, WHOLE_MAX_BYTES - len(text))
                text = b"".join(blocks(fd, size - taken, size)) + text
                left_out += size - taken
    if not left_out:
        return text
    line_end = text.find(b"\n") + 1
    return b"[the first %d bytes are left out]\n" % (left_out + line_end) + text[line_end:]


@dataclass
class LogFollower:
    """Reads on from a place in a job's log, through truncation and rotation; holds no file open between reads."""

    root: Path
    base_dir: str
    inode: int = 0
    """Which file, however it is called by now; 0 before there is one."""
    offset: int = 0
    rest: bytes = b""
    """The beginning of a line whose end is not there yet."""

    @property
    def place(self) -> str:
        """Where the next line begins, for `start`."""
        return f"{self.inode:x}-{self.offset - len(self.rest)}"

    def start(self, place: str | None, lines: int) -> None:
        """Begin at a place that was told before, if that is still there, or with the last `lines`. Raises OSError."""
        for name in (LOG_NAME, ROTATED_NAME):
            with opened(self.root, self.base_dir, name) as fd:
                if fd is not None:
                    found = os.fstat(fd)
                    inode, _, offset = (place or "").partition("-")
                    if inode == f"{found.st_ino:x}" and offset.isdecimal() and int(offset) <= found.st_size:
                        self.inode, self.offset = found.st_ino, int(offset)
                        return
        for name in (LOG_NAME, ROTATED_NAME):
            with opened(self.root, self.base_dir, name) as fd:
                if fd is not None and lines > 0:
                    self.inode = os.fstat(fd).st_ino
                    self.offset, count = start_of_last_lines(fd, lines)
                    lines -= count

    def read(self) -> list[bytes]:
        """Return the lines that have come, about a block of them; none if nothing is new. Raises OSError."""
        with opened(self.root, self.base_dir, LOG_NAME) as fd:
            if fd is None:
                return []
            inode = os.fstat(fd).st_ino
            if inode == self.inode:
                return self._split(self._more(fd))
            with opened(self.root, self.base_dir, ROTATED_NAME) as old:  # nobody writes to it any more
                if old is not None and os.fstat(old).st_ino == self.inode and (data := self._more(old)):
                    return self._split(data)
            unfinished = self.flush()
            self.inode, self.offset = inode, 0
            return unfinished + self._split(self._more(fd))

    def flush(self) -> list[bytes]:
        """Return the last line although it has no end: nobody writes any more."""
        rest, self.rest = self.rest, b""
        return [rest] if rest else []

    def _more(self, fd: int) -> bytes:
        if os.fstat(fd).st_size < self.offset:  # somebody has emptied it
            self.offset, self.rest = 0, b""
        data = os.pread(fd, BLOCK, self.offset)
        self.offset += len(data)
        return data

    def _split(self, data: bytes) -> list[bytes]:
        *lines, self.rest = (self.rest + data).split(b"\n")
        while len(self.rest) > LINE_MAX_BYTES:
            lines.append(self.rest[:LINE_MAX_BYTES])
            self.rest = self.rest[LINE_MAX_BYTES:]
        return lines
