"""Where an upload's bytes go: a file that grows at its end and never has a hole.

Lives here: what a file must be able to do, the plain kind, and which kind an installation uses. Does not live here: the
encrypted kind (`sealed`), and how much of a file counts (`journal`). Everything here blocks.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

READ_BLOCK = 1 << 20
FILE_MODE = 0o640


class Writer(Protocol):
    """An open file. Positions count plain bytes; every method raises OSError."""

    @property
    def offset(self) -> int:
        """How many bytes a killed process would leave; may lag behind what was appended until `flush`."""
        ...

    def append(self, data: bytes | memoryview) -> None: ...

    def flush(self) -> None:
        """Hold back nothing."""
        ...

    def sync(self) -> None:
        """Make the bytes up to `offset` durable."""
        ...

    def finish(self) -> None:
        """Say that there is no more to come, and make all of it durable."""
        ...

    def close(self) -> None:
        """Close the file as it is. Harmless when it is closed."""
        ...


class Medium(Protocol):
    """A kind of file. `upload_id` is what an encrypted one is bound to."""

    def write(self, path: Path, upload_id: str, offset: int) -> Writer:
        """Open a file to go on at `offset`, which it has reached; what is behind goes. Raises OSError."""
        ...

    def read(self, path: Path, upload_id: str) -> Iterator[bytes]:
        """Yield a file's bytes from its beginning, in blocks. Raises OSError."""
        ...

    def plain(self, path: Path, upload_id: str) -> AbstractContextManager[Path]:
        """Have a path to a finished file's plain bytes in the block, for this process and what inherits its files.

        Raises OSError.
        """
        ...

    def size(self, path: Path, upload_id: str) -> int:
        """Return how many plain bytes a file has, 0 if there is none. Raises OSError."""
        ...


class PlainWriter:
    """A file of exactly the bytes that were appended."""

    def __init__(self, path: Path, offset: int) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        os.ftruncate(self._fd, offset)
        os.lseek(self._fd, offset, os.SEEK_SET)
        self._offset = offset

    @property
    def offset(self) -> int:
        return self._offset

    def append(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            written = os.write(self._fd, rest)
            self._offset += written
            rest = rest[written:]

    def flush(self) -> None:
        pass  # the kernel has it all

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def finish(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class PlainFiles:
    """Files as they are."""

    def write(self, path: Path, upload_id: str, offset: int) -> PlainWriter:  # noqa: ARG002 -- bound to nothing
        return PlainWriter(path, offset)

    def read(self, path: Path, upload_id: str) -> Iterator[bytes]:  # noqa: ARG002 -- the signature of both media
        with path.open("rb") as file:
            while block := file.read(READ_BLOCK):
                yield block

    def plain(self, path: Path, upload_id: str) -> AbstractContextManager[Path]:  # noqa: ARG002 -- the signature of both media
        return nullcontext(path)

    def size(self, path: Path, upload_id: str) -> int:  # noqa: ARG002 -- the signature of both media
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0


@dataclass(frozen=True)
class Media:
    """The kinds of this installation: new uploads are encrypted where `seals`, old ones stay what they are.

    `encrypted` is None where no key is configured.
    """

    plain: Medium = field(default_factory=PlainFiles)
    encrypted: Medium | None = None
    seals: bool = False

    @property
    def new(self) -> Medium:
        """The kind of a new upload."""
        return self.of(sealed=self.seals)

    def of(self, *, sealed: bool) -> Medium:
        """Return the kind of an upload. Raises OSError for an encrypted one without a key."""
        if not sealed:
            return self.plain
        if self.encrypted is None:
            raise OSError(errno.ENOKEY, os.strerror(errno.ENOKEY))
        return self.encrypted


PLAIN = Media()
"""No encryption at rest."""
