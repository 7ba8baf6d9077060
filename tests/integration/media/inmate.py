# ruff: noqa: PTH101, PTH108, PTH120, PTH123, PTH208, SIM115, T201
"""A program in place of ffmpeg that tries to do what a decoder taken over by a film would try.

Run as `python -I -S -c <this text> CANARY PORT PARENT SOCKET INPUT_FD OUTPUT_FD`. Prints one JSON object: for each
attempt `done`, or the name of the error. The calls are bare, so that it is plain which one is refused.
"""

import ctypes
import errno
import json
import os
import sys

CANARY, PORT, PARENT, SOCKET, INPUT, OUTPUT = sys.argv[1:7]
SYS = {
    "x86_64": {"capget": 125, "process_vm_readv": 310, "add_key": 248, "userfaultfd": 323, "bpf": 321,
               "perf_event_open": 298, "open_by_handle_at": 304, "memfd_create": 319, "execveat": 322},
    "aarch64": {"capget": 90, "process_vm_readv": 270, "add_key": 217, "userfaultfd": 282, "bpf": 280,
                "perf_event_open": 241, "open_by_handle_at": 265, "memfd_create": 279, "execveat": 281},
}[os.uname().machine] | {"io_uring_setup": 425, "openat2": 437, "pidfd_open": 434}  # fmt: skip
libc = ctypes.CDLL(None, use_errno=True)


def checked(answer):
    if answer < 0:
        raise OSError(ctypes.get_errno(), "")
    return answer


def call(name, *arguments):
    words = [a if isinstance(a, (bytes, ctypes.Array)) or a is None else ctypes.c_long(a) for a in arguments]
    return checked(libc.syscall(ctypes.c_long(SYS[name]), *words))


def reading(path):
    return lambda: open(path, "rb").read(1)


def connect(family, kind, address):
    import socket

    def attempt():
        with socket.socket(getattr(socket, family), getattr(socket, kind)) as made:
            made.settimeout(2)
            made.connect(address)
            made.send(b"x")

    return attempt


def fork():
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def spawn():
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def thread():
    import _thread

    done = _thread.allocate_lock()
    done.acquire()
    _thread.start_new_thread(done.release, ())
    done.acquire()


def look_into_parent():
    here, there = (ctypes.c_long * 2)(id(libc), 8), (ctypes.c_long * 2)(id(libc), 8)
    call("process_vm_readv", int(PARENT), here, 1, there, 1, 0)


def limit_parent():
    import resource

    resource.prlimit(int(PARENT), resource.RLIMIT_CORE)


def slow_parent_down():
    # To where it is: whether one may is judged all the same, and a test that is free to do it stays as fast as it was.
    os.setpriority(os.PRIO_PROCESS, int(PARENT), os.getpriority(os.PRIO_PROCESS, 0))


def write_output():
    with open("/proc/self/fd/" + OUTPUT, "r+b") as file:
        file.truncate(0)
        file.write(b"made")


def capabilities():
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    call("capget", header, sets)
    if not any(sets):
        raise OSError(errno.EPERM, "none")


ATTEMPTS = {
    # What a media program must be able to do.
    "read its input": reading("/proc/self/fd/" + INPUT),
    "write its output": write_output,
    "make a thread": thread,
    "draw random numbers": reading("/dev/urandom"),
    # And what it must not.
    "read the canary": reading(CANARY),
    "read a file of the system": reading("/etc/passwd"),
    "read its parent's environment": reading("/proc/" + PARENT + "/environ"),
    "list the canary's directory": lambda: os.listdir(os.path.dirname(CANARY)),
    "write beside the canary": lambda: open(CANARY + ".new", "wb"),
    "write to /tmp": lambda: open("/tmp/inmate", "wb"),
    "write to the root": lambda: open("/inmate", "wb"),
    "change the canary's mode": lambda: os.chmod(CANARY, 0o600),
    "change the canary's times": lambda: os.utime(CANARY, (1, 1)),
    "cut the canary": lambda: os.truncate(CANARY, 0),
    "remove the canary": lambda: os.unlink(CANARY),
    "write its input": lambda: open("/proc/self/fd/" + INPUT, "r+b"),
    "read a shell": reading("/bin/sh"),
    "connect by TCP": connect("AF_INET", "SOCK_STREAM", ("127.0.0.1", int(PORT))),
    "send by UDP": connect("AF_INET", "SOCK_DGRAM", ("127.0.0.1", int(PORT))),
    "connect to a local socket": connect("AF_UNIX", "SOCK_STREAM", SOCKET),
    "connect to an abstract socket": connect("AF_UNIX", "SOCK_STREAM", "\0" + SOCKET),
    "fork": fork,
    "spawn": spawn,
    # PTRACE_SEIZE: unlike PTRACE_ATTACH it does not stop whom it traces.
    "trace its parent": lambda: checked(libc.ptrace(0x4206, int(PARENT), None, None)),
    "read its parent's memory": look_into_parent,
    "signal its parent": lambda: os.kill(int(PARENT), 0),
    "limit its parent": limit_parent,
    "slow its parent down": slow_parent_down,
    "make a name space": lambda: checked(libc.unshare(0x10000000)),
    "mount": lambda: checked(libc.mount(b"none", b"/proc", b"tmpfs", 0, None)),
    "keep a key": lambda: call("add_key", b"user", b"inmate", b"x", 1, -3),
    "handle page faults": lambda: call("userfaultfd", 0),
    "load a BPF program": lambda: call("bpf", 0, b"\0" * 72, 72),
    "count events": lambda: call("perf_event_open", b"\0" * 128, 0, -1, -1, 0),
    "open by handle": lambda: call("open_by_handle_at", 3, b"\0" * 64, 0),
    "make an anonymous file": lambda: call("memfd_create", b"inmate", 0),
    "run a descriptor": lambda: call("execveat", 9999, b"", None, None, 0x1000),
    "use io_uring": lambda: call("io_uring_setup", 1, b"\0" * 120),
    "hold a capability": capabilities,
}


def outcome(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "done"


told = {name: outcome(attempt) for name, attempt in ATTEMPTS.items()}
told["environment"] = ",".join(sorted(os.environ))
print(json.dumps(told))
