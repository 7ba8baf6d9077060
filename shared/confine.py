"""A small launcher that confines a program before it becomes it.

Lives here: what a child does to itself between fork and exec: die with its parent, resource limits, no core file, and,
where it is given them, no capability, Landlock rules and a filter of system calls. Does not live here: which limits
(`shared.ffmpeg`) and which rules (`shared.sandbox`). It is a file of its own, run as
`python -I -S confine.py PARENT AS CPU FSIZE NOFILE RULES FILTER -- PROGRAM ARGS...`, because running Python between
fork and exec (`preexec_fn`) is unsafe in a process whose engines have started threads. RULES and FILTER are
descriptors, or -1 for none. A wall that cannot be put up ends it: a line that starts with `confine: `, and exit code 1.

Every import costs each run of ffmpeg some milliseconds: `signal` alone takes five.
"""

import ctypes
import os
import resource
import sys

SIGKILL = 9
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS = 1, 22, 28, 38
"""prctl(2). PDEATHSIG is the signal that this process gets when its parent thread ends; it is kept across exec."""
SECCOMP_MODE_FILTER = 2
NO_ROOT_LOCKED = 0b11
"""capabilities(7), SECBIT_NOROOT and its lock: becoming a program gives root no capability back."""
CAPSET = {"x86_64": 126, "aarch64": 91}
CAPABILITY_VERSION_3 = 0x20080522
LANDLOCK_RESTRICT_SELF = 446
FILTER_INSTRUCTION_BYTES = 8
MAX_FILTER_BYTES = 4096 * FILTER_INSTRUCTION_BYTES
"""linux/bpf_common.h: a filter has at most 4096 instructions."""

libc = ctypes.CDLL(None, use_errno=True)


class FilterProgram(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def main(arguments: list[str]) -> None:
    """Put up the walls and exec. `arguments` are the numbers named above, `--`, and the program's argument list."""
    split = arguments.index("--")
    parent, address_space, cpu_s, file_bytes, open_files, rules, call_filter = map(int, arguments[:split])
    program = arguments[split + 1 :]
    libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before the request above took hold
        sys.exit("confine: the parent is gone")
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
    if rules >= 0:
        drop_capabilities()
        check("no new privileges", libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        check("Landlock", libc.syscall(ctypes.c_long(LANDLOCK_RESTRICT_SELF), ctypes.c_long(rules), ctypes.c_long(0)))
        os.close(rules)
    if call_filter >= 0:
        install(os.read(call_filter, MAX_FILTER_BYTES))
        os.close(call_filter)
    os.execv(program[0], program)  # noqa: S606 -- becoming the program is the point


def drop_capabilities() -> None:
    """Give up every capability, also those that root would get back by exec."""
    if os.geteuid() == 0:
        libc.prctl(PR_SET_SECUREBITS, NO_ROOT_LOCKED, 0, 0, 0)  # not ours to set where a container took them already
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    check("capabilities", libc.syscall(ctypes.c_long(CAPSET[os.uname().machine]), header, (ctypes.c_uint32 * 6)()))


def install(instructions: bytes) -> None:
    """Take a seccomp filter upon oneself, for good."""
    filter_program = FilterProgram(len(instructions) // FILTER_INSTRUCTION_BYTES, instructions)
    check("seccomp", libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter_program), 0, 0))


def check(wall: str, answer: int) -> None:
    """End here unless the system call succeeded: the program must not run with a wall missing."""
    if answer != 0:
        sys.exit(f"confine: {wall}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main(sys.argv[1:])
