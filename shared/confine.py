"""A small launcher that confines a program before it becomes it.

Lives here: what a child does to itself between fork and exec: die with its parent, resource limits, no core file.
Does not live here: which limits (`shared.ffmpeg`). It is a file of its own, run as
`python -I -S confine.py PARENT AS CPU FSIZE NOFILE -- PROGRAM ARGS...`, because running Python between fork and exec
(`preexec_fn`) is unsafe in a process whose engines have started threads.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that this process gets when its parent thread ends; kept across exec."""
PARENT_GONE = 125


def main(arguments: list[str]) -> None:
    """Apply the limits and exec. `arguments` are the numbers named above, `--`, and the program's argument list."""
    split = arguments.index("--")
    parent, address_space, cpu_s, file_bytes, open_files = map(int, arguments[:split])
    program = arguments[split + 1 :]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before the request above took hold
        sys.exit(PARENT_GONE)
    wanted = {
        resource.RLIMIT_AS: address_space,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in wanted.items():
        hard = resource.getrlimit(limit)[1]
        lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (lowered, lowered))
    os.execv(program[0], program)  # noqa: S606 -- becoming the program is the point


if __name__ == "__main__":
    main(sys.argv[1:])
