"""How a media file is handed to ffmpeg: the demuxer that its first bytes name, allow-lists, and no file name.

Lives here: the container sniff and the rewriting of an argument list. Does not live here: running it
(`shared.ffmpeg`) and the policy for uploads (`shared.media_check`).

With ffmpeg's defaults a text playlist named `.mp4` opens other files and hosts. Here the demuxer is chosen by magic
bytes, forced, and the only one allowed; a playlist or script has none and is refused before ffmpeg starts.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Container = Literal["mov", "matroska", "avi", "mpegts", "mp3", "wav", "w64", "flac", "ogg", "srt"]
"""Demuxer names of ffmpeg that are ever used on a file. `mov` is also mp4, m4a, 3gp; `matroska` is also webm."""

HEAD_BYTES = 1 << 10
TS_SYNC = 0x47
TS_PACKETS = (188, 192, 204)
"""Lengths of an MPEG transport packet: plain, with a time code (m2ts: 4 bytes in front), with error correction."""
ISO_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp"})
"""Boxes that an ISO base media or QuickTime file may start with."""
W64_GUID = bytes.fromhex("726966662e91cf11a5d628db04c10000")

MAX_STREAMS = 64
MAX_PIXELS = 7680 * 4320
PROBE_BYTES = 50 << 20
ANALYZE_US = 20_000_000
"""Limits on a demuxer's and decoder's appetite, from the hardening page of the design."""

FILE = "file:"
OUTPUT_MODE = 0o666
"""Permissions of a new output before the umask: other services of this installation read artifacts."""


class UnknownMediaError(ValueError):
    """The file's first bytes are of no container that may be opened."""


def sniff(head: bytes) -> Container | None:
    """Return the container that these first bytes (at least 1 KiB of a longer file) belong to, or None."""
    magic: tuple[tuple[bool, Container], ...] = (
        (head[4:8] in ISO_BOXES, "mov"),
        (head[:4] == b"\x1a\x45\xdf\xa3", "matroska"),
        (head[:4] == b"RIFF" and head[8:12] == b"AVI ", "avi"),
        (head[:4] in {b"RIFF", b"RF64"} and head[8:12] == b"WAVE", "wav"),
        (head[:16] == W64_GUID, "w64"),
        (head[:4] == b"fLaC", "flac"),
        (head[:4] == b"OggS", "ogg"),
        (head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2), "mp3"),
        (_is_transport_stream(head), "mpegts"),
    )
    return next((container for matches, container in magic if matches), None)


def _is_transport_stream(head: bytes) -> bool:
    """Three sync bytes at a packet's distance: one alone is the letter G."""
    return any(
        all(len(head) > at and head[at] == TS_SYNC for at in (first, first + size, first + 2 * size))
        for size in TS_PACKETS
        for first in (0, size - 188)
    )


def container_of(path: Path) -> Container:
    """Return the container of a file, by its first bytes.

    Raises UnknownMediaError, OSError.
    """
    with path.open("rb") as file:
        found = sniff(file.read(HEAD_BYTES))
    if found is None:
        raise UnknownMediaError("the file's first bytes are of no known media container")
    return found


def input_options(container: Container, threads: int) -> list[str]:
    """Return what stands before `-i`: one protocol, one format, and limits."""
    options = ["-protocol_whitelist", "file,pipe", "-format_whitelist", container, "-f", container]
    options += ["-max_streams", f"{MAX_STREAMS}", "-probesize", f"{PROBE_BYTES}", "-analyzeduration", f"{ANALYZE_US}"]
    if container == "mov":
        options += ["-enable_drefs", "0", "-use_absolute_path", "0"]
    if container not in {"srt", "wav", "w64"}:
        options += ["-max_pixels", f"{MAX_PIXELS}", "-threads", f"{threads}"]
    return options


@dataclass(frozen=True)
class OpenedArguments:
    """An argument list in which every file is a descriptor of ours, and those descriptors."""

    args: list[str]
    fds: tuple[int, ...]


@contextmanager
def opened(args: Sequence[str], threads: int) -> Iterator[OpenedArguments]:
    """Open every `file:` of an argument list and name it by descriptor; harden every input.

    So no user's file name, nor a directory named after one, is ever in an argument list or an error message. After
    `-i` a file is an input; anywhere else it is an output, created if absent (its format must be given by `-f`:
    the name says nothing). Subtitles of our own making have no magic bytes: only they are named, by `-f srt`.
    Raises UnknownMediaError, OSError, and ValueError for an input that is neither `file:`,
    `pipe:` nor ffmpeg's own generator (`-f lavfi`).
    """
    with ExitStack() as stack:
        rewritten: list[str] = []
        fds: list[int] = []
        for position, arg in enumerate(args):
            is_input = position > 0 and args[position - 1] == "-i"
            if not arg.startswith(FILE):
                if is_input and not arg.startswith("pipe:") and args[position - 3 : position - 1] != ["-f", "lavfi"]:
                    raise ValueError("an ffmpeg input must be file:, pipe: or lavfi")
                rewritten.append(arg)
                continue
            path = Path(arg.removeprefix(FILE))
            if is_input:
                subtitles = args[position - 3 : position - 1] == ["-f", "srt"]
                rewritten[-1:] = [*input_options("srt" if subtitles else container_of(path), threads), "-i"]
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            else:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OUTPUT_MODE)
            stack.callback(os.close, fd)
            fds.append(fd)
            rewritten.append(f"{FILE}/proc/self/fd/{fd}")
        yield OpenedArguments(rewritten, tuple(fds))
