"""Source files on disk while they arrive: written, hashed, counted, and gone again unless they are accepted.

Lives here: the file being received, the disk floor, the guarded read of the input folder, and the directory of a
project. Everything here blocks and runs in worker threads. Does not live here: forms (`form`) and what a
file contains (`media`).
"""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import Protocol

from services.ingest.uploads.medium import PLAIN, Media, Medium
from shared.artifacts import publish
from shared.layout import Layout
from shared.problems import Problem

READ_BLOCK = 1 << 20
FLOOR_EVERY_BYTES = 64 << 20
"""Free space is looked at again after so many bytes."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_EXTENSIONS = {"mov": "mp4", "matroska": "mkv", "avi": "avi", "mpegts": "ts", "ogg": "ogv"}


def extension_of(container: str) -> str:
    """Return the file extension for ffmpeg's name of a container."""
    name = container.partition(",")[0]
    return _EXTENSIONS.get(name, name)


def disk_full() -> Problem:
    """Return the refusal of a write that the disk has no room for."""
    return Problem(507, "disk_full", "There is not enough free space on the server's disk. Free some and try again.")


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Turn "no space left", "quota exceeded" and "file too large" into Problem 507."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise disk_full() from error
        raise


class Source(Protocol):
    """A file that a job may be made of, before there is one: what was just received, or a finished upload."""

    @property
    def upload_id(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...

    @property
    def sealed(self) -> str | None:
        """The upload whose key it is encrypted with; `size` and `sha256` are of the plain bytes."""
        ...

    @property
    def returns(self) -> bool:
        """Whether it stays an upload where no job is made of it; else it goes."""
        ...

    def plain(self) -> AbstractContextManager[Path]:
        """Have a path to the plain bytes in the block, for this process and what inherits its files."""
        ...

    def target(self, container: str) -> Path:
        """Return the lasting name for a file of this container."""
        ...

    def promote(self, container: str) -> None:
        """Give the checked file its lasting name. Raises OSError."""
        ...


class SourceFile:
    """What both kinds of source are: a file below the uploads that gets another name if a job is made of it."""

    def __init__(self, layout: Layout, upload_id: str, path: Path, medium: Medium) -> None:
        self.upload_id = upload_id
        self.path = path
        self._layout = layout
        self._medium = medium

    def plain(self) -> AbstractContextManager[Path]:
        """Have a path to the plain bytes in the block. Raises SealError, OSError."""
        return self._medium.plain(self.path, self.upload_id)

    def target(self, container: str) -> Path:
        """Return the lasting name for a file of this container."""
        return self._layout.upload_file(self.upload_id, extension_of(container))

    def promote(self, container: str) -> None:
        """Give the checked file its lasting name. Raises OSError."""
        publish(self.path, self.target(container))


class Part(SourceFile):
    """A source file being received as `up_<16 hex>.part`; `write` and the rest raise Problem 413, 507 and OSError."""

    returns = False

    def __init__(self, layout: Layout, max_bytes: int, min_free_bytes: int, media: Media = PLAIN) -> None:
        upload_id = f"up_{secrets.token_hex(8)}"
        super().__init__(layout, upload_id, layout.upload_part(upload_id), media.new)
        self.size = 0
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._floor_at = 0
        self._digest = hashlib.sha256()
        with disk_errors():
            layout.uploads.mkdir(parents=True, exist_ok=True)
            self._check_floor()
            self._file = self._medium.write(self.path, self.upload_id, 0)
        self.sealed = self.upload_id if media.seals else None

    @property
    def sha256(self) -> str:
        """The digest of what was written so far."""
        return self._digest.hexdigest()

    def write(self, data: memoryview) -> None:
        """Append, hash and count."""
        if self.size + len(data) > self._max_bytes:
            raise too_large(self._max_bytes)
        with disk_errors():
            if self.size >= self._floor_at:
                self._check_floor()
            self._file.append(data)
        self._digest.update(data)
        self.size += len(data)

    def finish(self) -> None:
        """Make the bytes durable; nothing can be written afterwards."""
        with disk_errors():
            self._file.finish()
            self._file.close()

    def discard(self) -> None:
        """Leave nothing behind. Harmless after `promote`."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _check_floor(self) -> None:
        if shutil.disk_usage(self.path.parent).free < self._min_free_bytes:
            raise disk_full()
        self._floor_at = self.size + FLOOR_EVERY_BYTES


def too_large(max_bytes: int) -> Problem:
    """Return the refusal of a file above the limit."""
    detail = f"The video is larger than {max_bytes >> 20} MB, the limit of this server (MAX_UPLOAD_MB)."
    return Problem(413, "upload_too_large", detail)


def copy_input(layout: Layout, video_path: str, part: Part) -> None:
    """Copy a file of the input folder into `part`, so that a later change of it cannot change the job.

    Raises Problem 404 for what is not a regular file in there, 413, 507.
    """
    with open_input(layout, video_path) as file:
        while block := file.read(READ_BLOCK):
            part.write(memoryview(block))


@contextlib.contextmanager
def open_input(layout: Layout, video_path: str) -> Iterator[FileIO]:
    """Open by descriptors, component by component and through no symbolic link: nothing can be swapped meanwhile.

    Raises Problem 404 for what is not a regular file in there.
    """
    parts = PurePosixPath(video_path).parts
    own = layout.uploads.relative_to(layout.input).parts
    if not parts or ".." in parts or "\0" in video_path or parts[0] == "/" or parts[: len(own)] == own:
        raise _not_found()
    try:
        fd = os.open(layout.input, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in parts[:-1]:
            parent, fd = fd, -1
            try:
                fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            finally:
                os.close(parent)
        try:
            # Non-blocking, or opening a named pipe would wait for its writer.
            file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise _not_found() from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _not_found()
    with FileIO(file) as opened:
        yield opened


def _not_found() -> Problem:
    detail = "There is no such video in the input folder. Name a regular file by its path relative to that folder."
    return Problem(404, "video_not_found", detail)


def make_project_directory(layout: Layout, subdir: str) -> None:
    """Make a project's directory before its first job does: from then on no job gets it for its own.

    Raises Problem 409 where it would lie in a job's directory, or where a file or a link is in the way, OSError.
    """
    layout.output.mkdir(parents=True, exist_ok=True)
    parts = PurePosixPath(subdir).parts
    for depth in range(1, len(parts) + 1):
        directory = layout.output.joinpath(*parts[:depth])
        try:
            directory.mkdir(exist_ok=True)
        except FileExistsError as error:
            raise _not_for_projects() from error
        if directory.is_symlink() or layout.owner_of("/".join(parts[:depth])) is not None:
            raise _not_for_projects()


def _not_for_projects() -> Problem:
    detail = "In the output folder, a job or a file has this name already. Choose another directory."
    return Problem(409, "output_subdir_taken", detail)
