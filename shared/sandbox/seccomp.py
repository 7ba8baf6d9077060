"""Which system calls a media program may not make, as a seccomp filter.

Lives here: the lists and their translation for the kernel. Does not live here: installing it (`shared.confine` does,
or bubblewrap).

A refused call fails with EPERM, so that a library which only tries something (a socket for a log, a scheduling hint)
goes on; a call of a foreign architecture ends the process. Everything newer than Linux 5.0 looks like an older kernel
(ENOSYS): C libraries fall back by themselves, and io_uring, clone3, openat2, pidfd_* and the new mount calls are gone
together with whatever comes next. File paths and addresses are beyond a filter: they are Landlock's or the name
spaces' part.
"""

import errno
import platform
import struct
from collections.abc import Sequence

from shared.sandbox.errors import SandboxUnavailableError

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""linux/audit.h. Both are little-endian, which the places of the arguments below rely on."""
FIRST_COMMON = 424
"""Since Linux 5.1 a new call has the same number everywhere, from here on. Calls of x32 (bit 30) are above it too."""

REFUSED: dict[str, tuple[int | None, int | None]] = {
    # No talk with anybody: neither network, nor local sockets, nor System V and POSIX message passing.
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "mq_unlink": (241, 181),
    # No other process is made, looked into, signalled or slowed down; threads are made by clone, below.
    "fork": (57, None), "vfork": (58, None), "execveat": (322, 281), "memfd_create": (319, 279), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272), "kill": (62, 129),
    "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "migrate_pages": (256, 238), "move_pages": (279, 239),
    # What Landlock does not watch over on every kernel: owners, permissions, attributes, times, lengths by name.
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None), "lchown": (94, None),
    "fchown": (93, 55), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88), "truncate": (76, 45), "mknod": (133, None),
    "mknodat": (259, 33), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "inotify_init": (253, None), "inotify_init1": (294, 26), "fanotify_init": (300, 262), "fanotify_mark": (301, 263),
    # No new name space, and nothing of the machine's own business.
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "io_setup": (206, 0),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "sethostname": (170, 161), "setdomainname": (171, 162), "acct": (163, 89), "quotactl": (179, 60),
    "syslog": (103, 116), "personality": (135, 92), "lookup_dcookie": (212, 18), "vhangup": (153, 58),
    "ioperm": (173, None), "iopl": (172, None), "modify_ldt": (154, None),
}  # fmt: skip
"""Number on x86_64 and on aarch64 (asm/unistd_64.h, asm-generic/unistd.h); None where the call does not exist."""
CLONE = (56, 220)
CLONE_THREAD = 0x00010000
PRLIMIT64 = (302, 261)
"""Allowed on oneself, which is how limits are read; not on others, whose limits it could lower."""

WRITING: dict[str, tuple[int | None, int | None, int]] = {"open": (2, None, 1), "openat": (257, 56, 2)}
"""Numbers, and the place of the flags among the arguments."""
WRITING_FLAGS = 0o1 | 0o2 | 0o100 | 0o1000
"""O_WRONLY, O_RDWR, O_CREAT, O_TRUNC."""
CREAT = (85, None)

_NUMBER, _ARCH, _ARGUMENTS, _ARGUMENT_BYTES = 0, 4, 16, 8
"""Offsets in `struct seccomp_data`; of an argument only the low half is looked at, as the kernel does for these."""
_LOAD, _EQUAL, _NOT_LESS, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
"""Classic BPF: load a word; jump if it is equal, greater or equal, or shares a bit; return."""
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def program(machine: str | None = None, *, may_write: bool) -> bytes:
    """Return the filter for a machine (as `platform.machine` names it; None: this one), as an array of sock_filter.

    Without `may_write` nothing can be opened for writing: behind bubblewrap alone a program could otherwise open what
    it was given for reading once more, and write it. Raises SandboxUnavailableError for a machine whose numbers are
    not known here.
    """
    machine = machine or platform.machine()
    if machine not in AUDIT_ARCH:
        raise SandboxUnavailableError(f"the numbers of system calls are not known for {machine}")
    column = list(AUDIT_ARCH).index(machine)
    refuse, absent = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
    code = [
        _instruction(_LOAD, _ARCH),
        *_unless(_EQUAL, AUDIT_ARCH[machine], [_instruction(_RETURN, _KILL)]),
        _instruction(_LOAD, _NUMBER),
        *_when(_NOT_LESS, FIRST_COMMON, [_instruction(_RETURN, absent)]),
    ]
    for numbers in REFUSED.values():
        if (number := numbers[column]) is not None:
            code += _when(_EQUAL, number, [_instruction(_RETURN, refuse)])
    code += _when(
        _EQUAL,
        CLONE[column],
        [
            _instruction(_LOAD, _ARGUMENTS),
            *_when(_ANY_BIT, CLONE_THREAD, [_instruction(_RETURN, _ALLOW)]),
            _instruction(_RETURN, refuse),
        ],
    )
    code += _when(
        _EQUAL,
        PRLIMIT64[column],
        [
            _instruction(_LOAD, _ARGUMENTS),
            *_when(_EQUAL, 0, [_instruction(_RETURN, _ALLOW)]),
            _instruction(_RETURN, refuse),
        ],
    )
    if not may_write:
        code += _refused_openings(column, refuse)
    return b"".join([*code, _instruction(_RETURN, _ALLOW)])


def _refused_openings(column: int, refuse: int) -> list[bytes]:
    code: list[bytes] = []
    if (number := CREAT[column]) is not None:
        code += _when(_EQUAL, number, [_instruction(_RETURN, refuse)])
    for x86_64, aarch64, place in WRITING.values():
        if (number := (x86_64, aarch64)[column]) is not None:
            flags = _ARGUMENTS + place * _ARGUMENT_BYTES
            checked = [_instruction(_LOAD, flags), *_when(_ANY_BIT, WRITING_FLAGS, [_instruction(_RETURN, refuse)])]
            code += _when(_EQUAL, number, [*checked, _instruction(_RETURN, _ALLOW)])
    return code


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One `struct sock_filter`."""
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _when(test: int, value: int, then: Sequence[bytes]) -> list[bytes]:
    return [_instruction(test, value, 0, len(then)), *then]


def _unless(test: int, value: int, otherwise: Sequence[bytes]) -> list[bytes]:
    return [_instruction(test, value, len(otherwise), 0), *otherwise]
