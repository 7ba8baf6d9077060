"""Sealing and opening the files of an installation.

Lives here: which files are sealed, and a plain view of one for a while. Does not live here: how a file becomes visible
(`shared.artifacts`, which this is given to), uploads as they arrive (ingest), where keys come from (`keys`).
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.sealing.classes import SealedClass, class_of
from shared.sealing.format import DamagedError
from shared.sealing.keyring import Keyring
from shared.sealing.reader import SealedReader, is_sealed
from shared.sealing.unnamed import COPY_BYTES, copy_plain, path_of, unnamed
from shared.sealing.writer import SealedWriter

BINDING_DIGITS = 32
"""Of a digest, in a binding: 128 bits."""


def artifact_binding(sealed_class: SealedClass | None, sha256: str) -> str:
    """Return what an artifact is bound to: its class and its content, not its path, so that two jobs can share it."""
    return f"{sealed_class}:{sha256[:BINDING_DIGITS]}"


@dataclass(frozen=True)
class Vault:
    """The keys, and the classes that are sealed from now on: none where encryption is off and old files are read."""

    keys: Keyring
    classes: frozenset[SealedClass]
    output_root: Path
    plain_dir: Path | None = None
    """Where files without a name are made; None: beside what they are for."""

    @property
    def seals_uploads(self) -> bool:
        return "uploads" in self.classes

    def wants(self, target: Path) -> bool:
        """Return whether a file that is published at `target` is to be sealed."""
        return self._class_of(target) in self.classes

    @contextlib.contextmanager
    def plain_file(self, directory: Path) -> Iterator[Path]:
        """Yield a path to an empty file that nobody else can find, gone after the block. Raises OSError."""
        with unnamed(self.plain_dir or directory) as fd:
            yield path_of(fd)

    def seal(self, plain: Path, sealed: Path, target: Path) -> None:
        """Write the new file `sealed`, which will be published at `target`, from plain bytes. Raises OSError."""
        with plain.open("rb", buffering=0) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        binding = artifact_binding(self._class_of(target), digest)
        fd = os.open(sealed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            writer = SealedWriter(fd, self.keys, binding)
            with plain.open("rb", buffering=0) as file:
                while block := file.read(COPY_BYTES):
                    writer.append(block)
            writer.finish()
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def opened(self, path: Path, binding: str | None = None) -> Iterator[SealedReader | None]:
        """Yield a reader of a sealed file, None for a plain one that may be plain (`binding` is None).

        Raises SealError for one that cannot be opened or is not what it must be, OSError.
        """
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if is_sealed(fd):
                yield SealedReader(fd, self.keys, binding)
            elif binding is not None:
                raise DamagedError("the file is plain, but was sealed when it was recorded")
            else:
                yield None
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def readable(self, path: Path, binding: str | None, directory: Path) -> Iterator[Path]:
        """Yield a path to the plain bytes: `path` itself, or a file without a name in `directory`.

        Raises SealError, OSError (a full disk).
        """
        with contextlib.ExitStack() as held:
            with self.opened(path, binding) as sealed:
                if sealed is None:
                    found = path
                else:
                    fd = copy_plain(sealed, self.plain_dir or directory)
                    held.callback(os.close, fd)
                    found = path_of(fd)
            yield found

    def binding_of(self, path: Path, sha256: str) -> str:
        """Return what a sealed file is bound to that was recorded at `path` with this digest of its plain bytes."""
        return artifact_binding(self._class_of(path), sha256)

    def _class_of(self, target: Path) -> SealedClass | None:
        try:
            return class_of(target.relative_to(self.output_root).as_posix())
        except ValueError:  # below no output root: none of ours
            return None
