"""Files below the output root: which paths are served, and opening them without following a link out.

Every directory is opened relative to the one before it, without following links, so no rename in between can lead
out. openat2 with RESOLVE_BENEATH would do the same in one call, but Python has it only through ctypes, where opening
and closing a file three levels down takes as long (20 microseconds against 21), and where a container's filter or an
old kernel refuses it the steps would be needed as well.

Does not live here: HTTP (`file_headers`, `ranges`, `sending`) and which file is whose (`file_owners`).
"""

import os
import re
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from shared.sealing.reader import SealedReader

OWN_DIRECTORIES = frozenset({"_state", "jobs"})
"""At the output root: databases and caches; pointers, which name paths of this machine."""

_WORK = re.compile(r"(?:^|/)work/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?:/|$)")
"""A job's work directory; a base directory may itself be called `work`, after a film of that name."""


class NotServedError(Exception):
    """There is no such file, or it is nobody's business. The same answer for both."""


@dataclass(frozen=True)
class OpenFile:
    """A file that is open for reading; whoever holds it closes `fd`. Of an encrypted one `size` is the plain one."""

    fd: int
    size: int
    modified: datetime
    sealed: SealedReader | None = None


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def served(path: str) -> bool:
    """Return whether a path relative to the output root may be served at all.

    Nothing of ours has a control character in its name, and none shall get into a header.
    """
    parts = path.split("/")
    if any(not part or part.startswith(".") for part in parts) or _CONTROL.search(path):
        return False
    return parts[0] not in OWN_DIRECTORIES and not _WORK.search(path)


def open_below(root: Path, path: str) -> OpenFile:
    """Open a regular file below `root`, following no symbolic link. Raises NotServedError."""
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
