"""Reading a finished sealed file at any offset.

Lives here: plain ranges of an open descriptor. Does not live here: the format, and files that still grow (`writer`).
"""

import os

from shared.sealing.format import (
    CHUNK,
    FRAME,
    HEADER_BYTES,
    MAGIC,
    OVERHEAD,
    DamagedError,
    Header,
    Kind,
    chunk_at,
    plain_size,
)
from shared.sealing.keyring import Keyring


def is_sealed(fd: int) -> bool:
    """Return whether an open file begins like a sealed one. Raises OSError."""
    return os.pread(fd, len(MAGIC), 0) == MAGIC


class SealedReader:
    """The plain bytes of an open sealed file, whose descriptor stays the caller's.

    Opening it opens the last chunk: its length and the end of the file are right from the start. Any number of threads
    may read at once.
    """

    def __init__(self, fd: int, keys: Keyring, binding: str | None = None) -> None:
        """Check header and end; `binding` is what the file must be, None if the caller cannot know.

        Raises DamagedError, UnknownKeyError, OSError.
        """
        self._fd = fd
        header = Header.decode(os.pread(fd, HEADER_BYTES, 0))
        if binding is not None and header.binding != binding:
            raise DamagedError("the sealed file is another one than the one that belongs here")
        self.binding = header.binding
        self.size = plain_size(os.fstat(fd).st_size)
        self._last = max(0, -(-self.size // CHUNK) - 1)
        self._cipher = keys.cipher(header)
        self._open_chunks(self._last, self._last)

    def pread(self, offset: int, length: int) -> bytes:
        """Return plain bytes, fewer at the end of the file. Raises DamagedError, OSError."""
        end = min(self.size, offset + length)
        if offset >= end:
            return b""
        first, last = offset // CHUNK, (end - 1) // CHUNK
        chunks: list[bytes | memoryview] = [*self._open_chunks(first, last)]
        chunks[-1] = memoryview(chunks[-1])[: end - last * CHUNK]
        chunks[0] = memoryview(chunks[0])[offset - first * CHUNK :]
        return b"".join(chunks)

    def _open_chunks(self, first: int, last: int) -> list[bytes]:
        end = min(chunk_at(last + 1), HEADER_BYTES + self.size + OVERHEAD * (self._last + 1))
        frames = memoryview(os.pread(self._fd, end - chunk_at(first), chunk_at(first)))
        if len(frames) != end - chunk_at(first):
            raise DamagedError("the sealed file became shorter while it was read")
        return [
            self._cipher.open(
                number,
                frames[place * FRAME : (place + 1) * FRAME],
                Kind.LAST if number == self._last else Kind.INNER,
            )
            for place, number in enumerate(range(first, last + 1))
        ]
