"""Artifacts on disk: written beside the target, fsynced, renamed, and described by SHA-256.

Lives here: the one way a file becomes visible (invariant E4: artifact -> fsync -> rename -> event), and where a process
can have a say in it: a last check before each rename, a journal of what is not published yet, and encryption at rest.
Does not live here: where files go (`shared.layout`), what JSON files contain (`shared.manifests`), and how files are
encrypted (`shared.sealing`).
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from shared.sealing.format import SealError
from shared.sealing.vault import Vault

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
    sealed: str | None = None
    """What the file is bound to if it is encrypted at rest; `size` and `sha256` are of the plain bytes."""


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
    vault: Vault | None = None


_rules = _Rules()


def set_rules(before_rename: Callable[[], None] | None, journal: Path | None, vault: Vault | None = None) -> None:
    """Set how this process publishes from now on.

    `before_rename` is called when a file is complete and durable, right before it becomes visible; what it raises keeps
    the file from it. `journal` is a directory with a note of each temporary file, so that `sweep` finds what a killed
    process left. What the `vault` wants is encrypted, and all that it can open is read through it.
    """
    _rules.before_rename, _rules.journal, _rules.vault = before_rename, journal, vault


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


def _to_seal(target: Path) -> Vault | None:
    return _rules.vault if _rules.vault is not None and _rules.vault.wants(target) else None


@contextmanager
def temporary_path(target: Path) -> Iterator[Path]:
    """Yield a path to write to, whose file is gone after the block: beside `target`, with its suffix.

    What would be encrypted at `target` is in a file without a name until then, and its path has no suffix.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if (vault := _to_seal(target)) is not None:
        with vault.plain_file(target.parent) as unnamed:
            yield unnamed
        return
    with _beside(target) as temporary:
        yield temporary


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
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
    """Yield a temporary path; publish its file at `target` on success, remove it on failure."""
    with temporary_path(target) as temporary:
        yield temporary
        if (vault := _to_seal(target)) is None:
            publish(temporary, target)
            return
        with _beside(target) as sealed:
            vault.seal(temporary, sealed, target)
            publish(sealed, target)


def publish_again(published: Path, target: Path) -> None:
    """Publish a file as it is at another place too: files are never written in place, so both may be one.

    Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _beside(target) as temporary:
        try:
            os.link(published, temporary)
        except OSError:  # another volume, or a file system without hard links
            shutil.copyfile(published, temporary)
        publish(temporary, target)


def write_bytes(target: Path, data: bytes) -> None:
    """Write a whole file atomically and durably. Raises OSError."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


@dataclass(frozen=True)
class _Content:
    size: int
    sha256: str
    sealed: str | None


def _content(path: Path, binding: str | None = None) -> _Content:
    if _rules.vault is not None:
        with _rules.vault.opened(path, binding) as sealed:
            if sealed is not None:
                digest = hashlib.sha256()
                for offset in range(0, sealed.size, READ_BLOCK):
                    digest.update(sealed.pread(offset, READ_BLOCK))
                return _Content(sealed.size, digest.hexdigest(), sealed.binding)
    return _Content(path.stat().st_size, sha256_file(path), None)


def describe(name: str, path: Path, output_root: Path) -> Artifact:
    """Return the artifact record of an existing file below `output_root`. Raises SealError, OSError."""
    found = _content(path)
    relative = path.relative_to(output_root).as_posix()
    return Artifact(name=name, path=relative, size=found.size, sha256=found.sha256, sealed=found.sealed)


def matches(artifact: Artifact, output_root: Path) -> bool:
    """Return whether the file exists with exactly the recorded size and SHA-256.

    One that is plain and would be encrypted today counts as none: it is not used again. Raises OSError.
    """
    path = output_root / artifact.path
    try:
        if artifact.sealed is None and _to_seal(path) is not None:
            return False
        if artifact.sealed is None and path.stat().st_size != artifact.size:
            return False
        found = _content(path, artifact.sealed)
    except (FileNotFoundError, SealError):
        return False
    return (found.size, found.sha256, found.sealed) == (artifact.size, artifact.sha256, artifact.sealed)


@contextmanager
def readable(path: Path, binding: str | None, directory: Path) -> Iterator[Path]:
    """Yield a path to a file's plain bytes: `path`, or a file without a name in `directory` if it is encrypted.

    `binding` is what it is bound to by its record, None for a file that is plain. Raises SealError, OSError.
    """
    if _rules.vault is None:
        yield path
        return
    with _rules.vault.readable(path, binding, directory) as found:
        yield found
