"""Writing a sealed file from its beginning to its end, through cuts and crashes.

Lives here: appending, making durable, going on where a process was killed. Does not live here: the format.

A growing file has whole chunks, and behind them what does not fill a chunk yet. That tail is stored by `flush`, as a
record of its own in one of two places, in turn: at the end of the chunks (A), or a record's length further on (B). The
newest record is never written over: before a chunk is written where it lies, it is copied to B. So what was flushed can
be read back wherever a later write is torn by a kill, and what was synced also after a power cut. The last chunk is
marked as such by `finish`, so a chunk is written only when more bytes follow it.
"""

import os
import struct
from typing import Self

from shared.sealing.format import (
    CHUNK,
    FRAME,
    HEADER_BYTES,
    OVERHEAD,
    DamagedError,
    Header,
    Kind,
    chunk_at,
)
from shared.sealing.keyring import Keyring

_LENGTH = struct.Struct(">I")
_RECORD = _LENGTH.size + FRAME
"""Bytes of the largest tail record: its plain length, and its frame."""
_A, _B = 0, 1


class SealedWriter:
    """Appends to an open file, whose descriptor stays the caller's; one thread at a time.

    After an OSError (a full disk) the file must be resumed anew: what `offset` said before is still in it.
    """

    def __init__(self, fd: int, keys: Keyring, binding: str, *, resumed: bool = False) -> None:
        """Begin an empty file, or go on with one (`resume`). Raises OSError, and ValueError for an unusable binding."""
        self._fd = fd
        self._chunks = 0
        self._tail = bytearray()
        self._stored = 0
        self._place = _A  # so that the first record goes to B, where the next chunk is not written over it
        self.finished = False
        if resumed:
            header = Header.decode(os.pread(fd, HEADER_BYTES, 0))
            if header.binding != binding:
                raise DamagedError("the sealed file is another one than the one that belongs here")
            self._cipher = keys.cipher(header)
            self._find_end(os.fstat(fd).st_size)
        else:
            header, self._cipher = keys.begin(binding)
            _write(fd, memoryview(header.encode()), 0)

    @classmethod
    def resume(cls, fd: int, keys: Keyring, binding: str) -> Self:
        """Go on with a file that was being written: `offset` says how much of it is there.

        Only its end is read. What lies behind a torn chunk is lost; it was never flushed.
        Raises DamagedError for another file or one without a header, UnknownKeyError, OSError.
        """
        return cls(fd, keys, binding, resumed=True)

    @property
    def offset(self) -> int:
        """Plain bytes that a resumed writer would find."""
        return self._chunks * CHUNK + self._stored

    @property
    def size(self) -> int:
        """Plain bytes that were appended, also those that `flush` has not stored yet."""
        return self._chunks * CHUNK + len(self._tail)

    def append(self, data: bytes | memoryview) -> None:
        """Append; whole chunks are written. Raises OSError."""
        if self.finished:
            raise ValueError("the sealed file is finished")
        room = CHUNK - len(self._tail)
        self._tail += data[:room]
        if len(data) <= room:
            return
        rest = memoryview(data)[room:]
        whole = (len(rest) - 1) // CHUNK  # the last bytes are kept back: they may be the end
        chunks = [memoryview(self._tail), *(rest[place * CHUNK : (place + 1) * CHUNK] for place in range(whole))]
        if self._stored:
            self._write_over_tail(self._frames(chunks[:1], Kind.INNER))
            self._advance(1)
            chunks = chunks[1:]
        if chunks:
            _write(self._fd, self._frames(chunks, Kind.INNER), chunk_at(self._chunks))
            self._advance(len(chunks))
        self._tail = bytearray(rest[whole * CHUNK :])

    def flush(self) -> None:
        """Hold back nothing: a killed process leaves all that was appended. Raises OSError."""
        if not self.finished and self._stored != len(self._tail):
            self._store(_A if self._place == _B else _B)

    def sync(self) -> None:
        """Make all that was appended durable. Raises OSError."""
        self.flush()
        os.fdatasync(self._fd)

    def cut(self, offset: int) -> None:
        """Forget what lies behind `offset`, durably. Raises DamagedError if there is less than that, OSError."""
        if offset > self.size:
            raise DamagedError(f"the sealed file has {self.size} bytes; it had {offset}")
        if offset == self.size:
            return
        chunks = max(0, -(-offset // CHUNK) - 1)  # the end of a chunk is the tail of that chunk
        if chunks < self._chunks:
            plain = self._opened(chunks, FRAME, Kind.INNER)
            if plain is None:
                raise DamagedError(f"chunk {chunks} of the sealed file is not the one that was written")
            self._tail = bytearray(plain)
        if chunks < self._chunks or self.finished:  # a whole chunk lies where record A would
            self._advance(chunks - self._chunks)
            self.finished = False
        self._tail = self._tail[: offset - chunks * CHUNK]
        base = chunk_at(chunks)
        if self._tail:
            self._store(_A if self._stored and self._place == _B else _B)
            os.fdatasync(self._fd)
        if self._place == _B or not self._tail:
            _write(self._fd, memoryview(bytes(OVERHEAD)), base)  # what was there is no chunk any more
        os.ftruncate(self._fd, base + ((self._place + 1) * _RECORD if self._tail else 0))
        os.fdatasync(self._fd)

    def finish(self) -> None:
        """Write the last chunk, durably; nothing can be appended afterwards. Raises DamagedError, OSError."""
        if self.finished:
            return
        if self._chunks and not self._tail:  # resumed at the end of a chunk, which proves to be the last
            self._take_back()
        self._write_over_tail(self._frames([memoryview(self._tail)], Kind.LAST))
        os.ftruncate(self._fd, chunk_at(self._chunks) + len(self._tail) + OVERHEAD)
        os.fsync(self._fd)
        self._stored = len(self._tail)
        self.finished = True

    def _write_over_tail(self, frames: memoryview) -> None:
        """Write at the end of the whole chunks, where the newest tail must not lie meanwhile."""
        if self._stored:
            if self._place == _A:
                self._store(_B)
            os.fdatasync(self._fd)
        _write(self._fd, frames, chunk_at(self._chunks))
        os.fdatasync(self._fd)

    def _take_back(self) -> None:
        """Make the last whole chunk the tail again. Raises DamagedError, OSError."""
        plain = self._opened(self._chunks - 1, FRAME, Kind.INNER)
        if plain is None:
            raise DamagedError(f"chunk {self._chunks - 1} of the sealed file is not the one that was written")
        self._advance(-1)
        self._tail, self._stored = bytearray(plain), CHUNK

    def _store(self, place: int) -> None:
        frame = self._frames([memoryview(self._tail)], Kind.TAIL)
        _write(self._fd, memoryview(_LENGTH.pack(len(self._tail)) + frame), chunk_at(self._chunks) + place * _RECORD)
        self._place, self._stored = place, len(self._tail)

    def _advance(self, chunks: int) -> None:
        self._chunks += chunks
        self._stored, self._place = 0, _A

    def _frames(self, chunks: list[memoryview], kind: Kind) -> memoryview:
        frames = memoryview(bytearray(sum(len(chunk) + OVERHEAD for chunk in chunks)))
        at = 0
        for number, chunk in enumerate(chunks, self._chunks):
            self._cipher.seal(number, chunk, kind, frames[at : at + len(chunk) + OVERHEAD])
            at += len(chunk) + OVERHEAD
        return frames

    def _find_end(self, size: int) -> None:
        """Find the last whole chunk, and behind it the last chunk of a finished file or else the newest tail."""
        self._chunks = max(0, size - HEADER_BYTES) // FRAME
        while self._chunks and self._opened(self._chunks - 1, FRAME, Kind.INNER) is None:
            self._chunks -= 1
        base = chunk_at(self._chunks)
        if 0 <= size - base - OVERHEAD <= CHUNK:
            last = self._opened(self._chunks, size - base, Kind.LAST)
            if last is not None:
                self._tail, self._stored, self.finished = bytearray(last), len(last), True
                return
        for place in (_A, _B):
            at = base + place * _RECORD
            raw = os.pread(self._fd, _LENGTH.size, at)
            length = _LENGTH.unpack(raw)[0] if len(raw) == _LENGTH.size else 0
            if not self._stored < length <= CHUNK:
                continue
            frame = os.pread(self._fd, length + OVERHEAD, at + _LENGTH.size)
            found = self._cipher.opens(self._chunks, frame, Kind.TAIL)
            if found is not None:
                self._tail, self._stored, self._place = bytearray(found), length, place

    def _opened(self, number: int, length: int, kind: Kind) -> bytes | None:
        return self._cipher.opens(number, os.pread(self._fd, length, chunk_at(number)), kind)


def _write(fd: int, data: memoryview, at: int) -> None:
    while data:
        written = os.pwrite(fd, data, at)
        data, at = data[written:], at + written
