"""Files and directories below a root, reached without following a symbolic link.

Lives here: opening each directory relative to the one before it, so that no link and no rename in between leads out;
reading, and writing atomically, relative to an open directory. Does not live here: which paths there are
(`shared.layout`), and what HTTP serves (`services.library.files`).
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG})
"""What says that there is no such thing below the root. Any other error says that we do not know."""
NOT_SUCH = NOT_THERE | {errno.EFBIG, errno.EINVAL}
"""What says the same of a small file: there is none that `read_at` would return."""


def parts_of(path: str) -> list[str]:
    """Return the names that a relative path is made of; none for "".

    Raises OSError (EXDEV, as openat2 does) for a path that is absolute, has `..` or empty parts, or is no text.
    """
    parts = path.split("/") if path else []
    if any(part in ("", ".", "..") or "\0" in part for part in parts) or not _encodes(path):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), ascii(path))
    return parts


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def directory_at(directory: int, name: str) -> Iterator[int]:
    """Open a directory in an open one; closed after the block. Raises OSError, ENOTDIR or ELOOP for a link."""
    fd = os.open(name, DIRECTORY, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def directory_below(root: Path, path: str = "") -> Iterator[int]:
    """Open a directory by its path relative to `root`, which may itself be a link; closed after the block.

    Raises OSError.
    """
    parts = parts_of(path)
    fd = os.open(root, DIRECTORY & ~os.O_NOFOLLOW)
    try:
        for part in parts:
            above, fd = fd, os.open(part, DIRECTORY, dir_fd=fd)
            os.close(above)
        yield fd
    finally:
        os.close(fd)


def stat_below(root: Path, path: str) -> os.stat_result | None:
    """Return what is known of a regular file below `root`, None if there is none. Raises OSError otherwise."""
    *above, name = parts_of(path) or [""]
    try:
        with directory_below(root, "/".join(above)) as directory:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if error.errno in NOT_THERE:
            return None
        raise
    return found if stat.S_ISREG(found.st_mode) else None


def names_at(directory: int) -> list[str]:
    """Return the names in an open directory, sorted. Raises OSError."""
    return sorted(os.listdir(directory))


def read_at(directory: int, name: str, limit: int) -> bytes:
    """Return a regular file of at most `limit` bytes. Raises OSError, EFBIG for a longer one, EINVAL for no file."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
        data = b""
        while len(data) <= limit and (block := os.read(fd, limit + 1 - len(data))):
            data += block
    finally:
        os.close(fd)
    if len(data) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
    return data


def write_at(directory: int, name: str, data: bytes) -> None:
    """Write a whole file atomically and durably, wherever the open directory is by now. Raises OSError."""
    temporary = f".{secrets.token_hex(6)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(temporary, flags, 0o666, dir_fd=directory), "wb") as file:  # noqa: PTH123 -- a descriptor
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    os.fsync(directory)
