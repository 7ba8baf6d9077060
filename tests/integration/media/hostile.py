"""Films made to do harm: mutated, cut, and lying about themselves. Everything is made from a seed or by hand."""

import random
import struct
import zlib
from collections.abc import Callable, Iterator

CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl"})

Change = Callable[[bytes, bytes], bytes]
"""Given a box's type and payload, its new bytes; `box(type, payload)` leaves it as it is."""


def mutated(data: bytes, seed: int) -> bytes:
    """Flip bits as zzuf does: a share of all bytes, drawn by the seed; half of the seeds only touch the first 4 KiB."""
    rng = random.Random(seed)
    made = bytearray(data)
    reach = len(made) if seed % 2 else min(len(made), 4096)
    for _ in range(max(1, int(reach * 10 ** rng.uniform(-4, -1.5)))):
        made[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    if rng.random() < 0.2:  # and some are cut too
        del made[rng.randrange(len(made)) :]
    return bytes(made)


def box(kind: bytes, payload: bytes) -> bytes:
    """One box of an ISO file."""
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The type and payload of each box in a row of them; 32-bit sizes only."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        size = size if size >= 8 else len(data) - at
        yield kind, data[at + 8 : at + size]
        at += size


def rebuilt(data: bytes, change: Change) -> bytes:
    """An ISO file with boxes changed. Its index must stand behind the media, whose place in the file then stays."""
    made = [change(kind, rebuilt(payload, change) if kind in CONTAINERS else payload) for kind, payload in boxes(data)]
    return b"".join(made)


def with_streams(mp4: bytes, count: int) -> bytes:
    """The same film with its first track so many times."""

    def change(kind: bytes, payload: bytes) -> bytes:
        if kind != b"moov":
            return box(kind, payload)
        first = next(box(inner, content) for inner, content in boxes(payload) if inner == b"trak")
        return box(kind, payload + first * count)

    return rebuilt(mp4, change)


def claiming_seconds(mp4: bytes, seconds: int) -> bytes:
    """The same film with a header, and media headers, that claim a length."""

    def change(kind: bytes, payload: bytes) -> bytes:
        if kind in {b"mvhd", b"mdhd"}:  # version, flags, two times, time scale, duration
            payload = payload[:12] + struct.pack(">II", 1, seconds) + payload[20:]
        return box(kind, payload)

    return rebuilt(mp4, change)


def claiming_samples(mp4: bytes, count: int) -> bytes:
    """The same film with a table of sizes that claims more entries than it has."""

    def change(kind: bytes, payload: bytes) -> bytes:
        return box(kind, payload[:8] + struct.pack(">I", count) + payload[12:] if kind == b"stsz" else payload)

    return rebuilt(mp4, change)


def referring_to(mov: bytes, path: str) -> bytes:
    """The same film, whose media are said to be in another file, by a Macintosh alias record as QuickTime writes it."""
    where = path.encode()
    alias = bytes(10) + bytes([0]) + bytes(27) + bytes(12) + bytes([6]) + b"canary".ljust(63, b"\0") + bytes(16)
    alias += struct.pack(">hh", 1, 1) + bytes(16) + struct.pack(">hH", 2, len(where)) + where + b"\0" * (len(where) % 2)
    alias += struct.pack(">h", -1) + bytes(20)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias

    def change(kind: bytes, payload: bytes) -> bytes:
        return box(kind, struct.pack(">II", 0, 1) + entry if kind == b"dref" else payload)

    return rebuilt(mov, change)


def compressed_index(size: int, claimed: int) -> bytes:
    """A QuickTime file whose index is compressed, and of this size when it is not: all zeros."""
    squeezed = zlib.compressobj(1)
    body = b"".join(squeezed.compress(bytes(1 << 20)) for _ in range(size >> 20)) + squeezed.flush()
    index = box(b"cmov", box(b"dcom", b"zlib") + box(b"cmvd", struct.pack(">I", claimed) + body))
    return box(b"ftyp", b"qt  \0\0\0\0qt  ") + box(b"moov", index)


def nested(depth: int) -> bytes:
    """Boxes within boxes."""
    made = b""
    for _ in range(depth):
        made = box(b"moov", made)
    return box(b"ftyp", b"isom\0\0\0\0isom") + made


def larger_picture(mkv: bytes, size: tuple[int, int], claimed: tuple[int, int]) -> bytes:
    """A Matroska film of JPEG pictures, which then all say that they are of another size. 256 to 65535 pixels."""
    width, height = (struct.pack(">H", side) for side in size)
    new_width, new_height = (struct.pack(">H", side) for side in claimed)
    changed = mkv.replace(b"\xb0\x82" + width, b"\xb0\x82" + new_width)
    changed = changed.replace(b"\xba\x82" + height, b"\xba\x82" + new_height)
    start = b"\xff\xc0\x00\x11\x08"
    assert start + height + width in changed
    return changed.replace(start + height + width, start + new_height + new_width)


def claiming_milliseconds(mkv: bytes, milliseconds: float) -> bytes:
    """A Matroska film whose header claims another duration (an eight-byte float)."""
    at = mkv.index(b"\x44\x89\x88") + 3
    return mkv[:at] + struct.pack(">d", milliseconds) + mkv[at + 8 :]
