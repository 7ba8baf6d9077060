"""Artifacts on disk: written beside the target, fsynced, renamed, and described by SHA-256.

Lives here: the one way a file becomes visible (invariant E4: artifact -> fsync -> rename -> event), and where a process
can have a say in it: a last check before each rename, and a journal of what is not published yet.
Does not live here: where files go (`shared.layout`) and what JSON files contain (`shared.manifests`).
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

READ_BLOCK = 1 << 20
NOTE = ".unpublished"
"""Suffix of a journal's notes."""


class Artifact(BaseModel):
    """A published file: `path` is relative to the output root, `size` in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    path: str
    size: int
    sha256: str


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def fsync_dir(path: Path) -> None:
    """Make a rename or unlink in this directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class _Rules:
    before_rename: Callable[[], None] | None = None
    journal: Path | None = None


_rules = _Rules()


def set_rules(before_rename: Callable[[], None] | None, journal: Path | None) -> None:
    """Set how this process publishes from now on.

    `before_rename` is called when a file is complete and durable, right before it becomes visible; what it raises keeps
    the file from it. `journal` is a directory with a note of each temporary file, so that `sweep` finds what a killed
    process left.
    """
    _rules.before_rename, _rules.journal = before_rename, journal


def publish(temporary: Path, target: Path) -> None:
    """Fsync `temporary` and rename it to `target` (same volume), durably. Raises OSError."""
    fd = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    if _rules.before_rename is not None:
        _rules.before_rename()
    temporary.replace(target)
    fsync_dir(target.parent)


@contextmanager
def temporary_path(target: Path) -> Iterator[Path]:
    """Yield a path beside `target` whose file is gone after the block.

    The suffix is kept, because ffmpeg chooses a container by it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(6)
    temporary = target.with_name(f".{token}.tmp{target.suffix}")
    note = None if _rules.journal is None else _rules.journal / f"{token}{NOTE}"
    if note is not None:  # relative, because another host may have the volume elsewhere
        note.write_bytes(os.fsencode(os.path.relpath(temporary, note.parent)))
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        if note is not None:
            note.unlink(missing_ok=True)


def sweep(journal: Path) -> None:
    """Remove the temporary files that a journal names, and those named after them; their process has ended."""
    with suppress(FileNotFoundError):
        for note in journal.glob(f"*{NOTE}"):
            temporary = journal / os.fsdecode(note.read_bytes())
            for file in temporary.parent.glob(f".{note.stem}.tmp*"):
                file.unlink(missing_ok=True)
            note.unlink(missing_ok=True)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; publish it on success, remove it on failure."""
    with temporary_path(target) as temporary:
        yield temporary
        publish(temporary, target)


def write_bytes(target: Path, data: bytes) -> None:
    """Write a whole file atomically and durably. Raises OSError."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def describe(name: str, path: Path, output_root: Path) -> Artifact:
    """Return the artifact record of an existing file below `output_root`."""
    return Artifact(
        name=name,
        path=path.relative_to(output_root).as_posix(),
        size=path.stat().st_size,
        sha256=sha256_file(path),
    )


def matches(artifact: Artifact, output_root: Path) -> bool:
    """Return whether the file exists with exactly the recorded size and SHA-256."""
    path = output_root / artifact.path
    try:
        return path.stat().st_size == artifact.size and sha256_file(path) == artifact.sha256
    except FileNotFoundError:
        return False
