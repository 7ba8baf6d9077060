"""Plain bytes for programs that need a seekable file: in a file that has no name and ends with its last descriptor.

Lives here: making one, and its path for this process. Does not live here: what is copied into it (`vault`).
"""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from shared.sealing.reader import SealedReader

NO_UNNAMED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
"""What file systems say that cannot make a file without a name."""
COPY_BYTES = 1 << 20


def open_unnamed(directory: Path) -> int:
    """Return a descriptor of a new file in `directory` that has no name. Raises OSError.

    Where the file system cannot do so it has one until the next line.
    """
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in NO_UNNAMED:
            raise
    fd, name = tempfile.mkstemp(dir=directory, prefix=".", suffix=".tmp")
    Path(name).unlink()
    return fd


def path_of(fd: int) -> Path:
    """Return a path that opens the descriptor's file again, in this process and in one that inherits it."""
    return Path(f"/proc/self/fd/{fd}")


@contextlib.contextmanager
def unnamed(directory: Path) -> Iterator[int]:
    """Yield a descriptor of a file without a name; its bytes are gone after the block. Raises OSError."""
    fd = open_unnamed(directory)
    try:
        yield fd
    finally:
        os.close(fd)


def copy_plain(sealed: SealedReader, directory: Path) -> int:
    """Return a descriptor of a file without a name that has the plain bytes. The caller closes it.

    The space is taken first, so a full disk is told at once. Raises DamagedError, OSError.
    """
    fd = open_unnamed(directory)
    try:
        if sealed.size:
            os.posix_fallocate(fd, 0, sealed.size)
        for offset in range(0, sealed.size, COPY_BYTES):
            block = memoryview(sealed.pread(offset, COPY_BYTES))
            at = offset
            while block:
                written = os.pwrite(fd, block, at)
                block, at = block[written:], at + written
    except BaseException:
        os.close(fd)
        raise
    return fd
