"""A small launcher that ties a program to the process that started it.

Lives here: what a child does to itself between fork and exec, so that the kernel ends it when its parent ends, however
that happens. A file of its own, run as `python -I -S leash.py PARENT PROGRAM ARGS...`, because running Python between
fork and exec (`preexec_fn`) is unsafe in a process that has threads. On systems without prctl(2) it ties nothing.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that this process gets when its parent thread ends; kept across exec."""
PARENT_GONE = 125


def leashed(argv: Sequence[str]) -> list[str]:
    """Return the command that runs `argv` as a child which dies with the calling process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *argv]


def main(arguments: list[str]) -> None:
    """Tie this process to its parent and become the program."""
    parent, program = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the request above took hold
            sys.exit(PARENT_GONE)
    os.execv(program[0], program)  # noqa: S606 -- becoming the program is the point


if __name__ == "__main__":
    main(sys.argv[1:])
