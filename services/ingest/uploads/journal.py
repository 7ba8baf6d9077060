"""How much of an upload counts, in a file that is only appended to: a line for each block that was written.

Lives here: writing lines and judging them after a crash. Does not live here: the bytes themselves (`medium`).

A line is written after its bytes, so whatever offset the file names, the bytes are there: after kill -9 the last line
holds. After a power cut the disk may have kept lines and lost bytes; then only offsets count that were noted after
`fdatasync`. Which of the two it was, the kernel's boot id tells.
"""

import errno
import os
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from shared.artifacts import write_bytes

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@lru_cache(maxsize=1)
def this_boot() -> str:
    """Return the kernel's name for the time since it started; where it has none, one that no other process has."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return f"process-{os.getpid()}"


@dataclass
class Progress:
    """`offset` bytes count; `chunks` has the SHA-256 of those that came as whole chunks, by index."""

    offset: int = 0
    chunks: dict[int, str] = field(default_factory=dict)


def read_progress(path: Path, size: int, boot: str) -> Progress:
    """Return what a journal says of `size` bytes; of another boot, what is known to be on the disk. Raises OSError.

    No journal says nothing. It ends at a line that is torn, goes back, or names bytes that are not there.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return Progress()
    read, safe, same_boot = Progress(), Progress(), False
    for line in lines:
        fields = _checked(line)
        match fields:
            case ["boot", name]:
                same_boot = name == boot
            case ["at", offset, *chunk] if read.offset <= int(offset) <= size:
                read.offset = int(offset)
                if chunk:
                    read.chunks[int(chunk[0])] = chunk[1]
            case ["synced", offset] if int(offset) == read.offset:
                safe = Progress(read.offset, dict(read.chunks))
            case _:
                break
    return read if same_boot else safe


def _checked(line: bytes) -> list[str]:
    """Return the fields of a whole line, none of any other."""
    text, _, check = line.rpartition(b" ")
    if not text or check != _check(text):
        return []
    return text.decode("ascii").split(" ")


def _check(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)


def _line(text: str) -> bytes:
    raw = text.encode("ascii")
    return b"%b %b\n" % (raw, _check(raw))


def begin_anew(path: Path, progress: Progress, boot: str) -> None:
    """Write a journal that says this and nothing else; the bytes are on the disk already. Raises OSError."""
    text = _line(f"boot {boot}")
    for index, sha256 in sorted(progress.chunks.items()):
        text += _line(f"at 0 {index} {sha256}")
    text += _line(f"at {progress.offset}") + _line(f"synced {progress.offset}")
    write_bytes(path, text)


class Journal:
    """An open journal. Every method raises OSError."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def at(self, offset: int, chunk: tuple[int, str] | None = None) -> None:
        """Say that the bytes up to here are written, and which chunk, of which SHA-256, ends here."""
        self._write(f"at {offset}" + (f" {chunk[0]} {chunk[1]}" if chunk else ""))

    def synced(self, offset: int) -> None:
        """Say that the bytes up to here are on the disk, durably."""
        self._write(f"synced {offset}")
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def _write(self, text: str) -> None:
        """Write all of a line or nothing of it: what follows a torn one would never be read."""
        line = _line(text)
        written = os.write(self._fd, line)
        if written < len(line):  # the disk is about to be full
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
