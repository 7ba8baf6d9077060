"""Artifacts on disk: written beside the target, fsynced, renamed, and described by SHA-256.

Lives here: the one way a file becomes visible (invariant E4: artifact -> fsync -> rename -> event).
Does not live here: where files go (`shared.layout`) and what JSON files contain (`shared.manifests`).
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

READ_BLOCK = 1 << 20


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


def publish(temporary: Path, target: Path) -> None:
    """Fsync `temporary` and rename it to `target` (same volume), durably. Raises OSError."""
    fd = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    temporary.replace(target)
    fsync_dir(target.parent)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; publish it on success, remove it on failure.

    The suffix is kept, because ffmpeg chooses a container by it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{secrets.token_hex(6)}.tmp{target.suffix}")
    try:
        yield temporary
        publish(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


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
