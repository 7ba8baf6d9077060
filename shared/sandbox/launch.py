"""How a program is started in a sandbox: the argument list of its launcher, and the descriptors it must get.

Lives here: composing a start. Does not live here: starting and watching it (`shared.ffmpeg`), which variant is used
(`shared.sandbox.choice`).
"""

import fcntl
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import shared.confine
from shared.sandbox import bubblewrap, landlock, seccomp
from shared.sandbox.errors import SandboxUnavailableError
from shared.sandbox.program import needs

Variant = Literal["bwrap", "landlock", "limits"]
NO_WALL = -1
COMPLAINTS = ("confine: ", "bwrap: ")
"""How a launcher starts the line in which it says that a wall could not be put up; no line of ffmpeg's does."""


@dataclass(frozen=True)
class ResourceLimits:
    """What one process may use: bytes of address space, seconds of CPU time, bytes in one file, open files."""

    address_space: int
    cpu_s: int
    file_bytes: int
    open_files: int


@dataclass(frozen=True)
class Start:
    """What `subprocess` is given: the argument list, and the descriptors to pass."""

    argv: list[str]
    fds: tuple[int, ...]


@contextmanager
def launching(
    variant: Variant, program: Path, args: Sequence[str], fds: Sequence[int], limits: ResourceLimits
) -> Iterator[Start]:
    """Yield how to start `program` with `args` and these open descriptors; start it before the block ends.

    The process that is started becomes the program, or bubblewrap, whose child it is; either dies with this thread.
    Raises SandboxUnavailableError.
    """
    files = {fd: _is_writable(fd) for fd in fds if stat.S_ISREG(os.fstat(fd).st_mode)}
    may_write = any(files.values())
    with ExitStack() as stack:
        before: list[str] = []
        rules = call_filter = NO_WALL
        if variant == "bwrap":
            bwrap = bubblewrap.find()
            if bwrap is None:
                raise SandboxUnavailableError("bubblewrap is not installed")
            filter_fd = _filter(stack, may_write=may_write)
            before = bubblewrap.arguments(bwrap, needs(program), filter_fd)
            extra = [filter_fd]
        elif variant == "landlock":
            rules = stack.enter_context(landlock.rules(needs(program), files))
            call_filter = _filter(stack, may_write=may_write)
            extra = [rules, call_filter]
        else:
            extra = []
        numbers = (
            os.getpid(), limits.address_space, limits.cpu_s, limits.file_bytes, limits.open_files, rules, call_filter,
        )  # fmt: skip
        launcher = [sys.executable, "-I", "-S", shared.confine.__file__, *map(str, numbers), "--"]
        yield Start([*launcher, *before, str(program), *args], (*fds, *extra))


def complaint(stderr: Iterable[str]) -> str | None:
    """Return what a launcher said of a wall that it could not put up, if that is how these lines begin."""
    first = next(iter(stderr), "")
    return first if first.startswith(COMPLAINTS) else None


def _is_writable(fd: int) -> bool:
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY


def _filter(stack: ExitStack, *, may_write: bool) -> int:
    """Return the reading end of a pipe that holds the filter, which is much smaller than a pipe's buffer."""
    reading, writing = os.pipe()
    stack.callback(os.close, reading)
    with open(writing, "wb") as pipe:  # noqa: PTH123 -- a descriptor, not a path
        pipe.write(seccomp.program(may_write=may_write))
    return reading
