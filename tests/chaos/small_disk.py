"""A disk that can be full: a small tmpfs, and a ballast file that takes what is free.

Lives here: mounting, filling, freeing. Where mounting is not allowed, `trouble` says so and the fault is left out.
"""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SIZE_MB = 512
BLOCK = bytes(1 << 20)


@dataclass
class SmallDisk:
    """The disk below `directory`; `trouble` is empty where it can be filled."""

    directory: Path
    trouble: str = ""

    @property
    def _ballast(self) -> Path:
        return self.directory / "ballast"

    def fill(self) -> None:
        """Take every free byte."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (len(BLOCK), 4096):
                with contextlib.suppress(_FullError):
                    while True:
                        _write(file.fileno(), BLOCK[:size])

    def free(self) -> None:
        """Give them back."""
        self._ballast.unlink(missing_ok=True)


class _FullError(Exception):
    pass


def _write(fd: int, block: bytes) -> None:
    try:
        if os.write(fd, block) < len(block):
            raise _FullError
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _FullError from None


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[SmallDisk]:
    """Yield a disk mounted on `directory` (made if need be); it is unmounted at the end, with what is on it."""
    directory.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=0700", "tmpfs", str(directory)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as error:
        yield SmallDisk(directory, f"mount does not run here ({error.strerror})")
        return
    if mounted.returncode:
        yield SmallDisk(directory, f"no tmpfs may be mounted here ({mounted.stderr.strip()})")
        return
    try:
        yield SmallDisk(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
