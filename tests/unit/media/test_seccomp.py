"""The filter of system calls, run by an interpreter of our own: what it answers on either kind of machine."""

import errno
import os
import re
import struct
from pathlib import Path

import pytest

from shared.sandbox import seccomp
from shared.sandbox.errors import SandboxUnavailableError

ALLOW, KILL = 0x7FFF0000, 0x80000000
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
MACHINES = list(seccomp.AUDIT_ARCH)
READ = {"x86_64": 0, "aarch64": 63}
EXECVE = {"x86_64": 59, "aarch64": 221}
CLONE_VM, CLONE_NEWUSER, SIGCHLD = 0x100, 0x10000000, 17


def refused(number: int) -> int:
    return 0x00050000 | number


def answer(machine: str, call: int, *arguments: int, architecture: int | None = None, may_write: bool = True) -> int:
    """Run the filter on one call, as the kernel would."""
    audit = seccomp.AUDIT_ARCH[machine] if architecture is None else architecture
    data = struct.pack("<IIQQQQ", call, audit, 0, *(*arguments, 0, 0, 0)[:3])
    program = seccomp.program(machine, may_write=may_write)
    accumulator = at = 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("<HBBI", program, at * 8)
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
                continue
            case 0x06:
                return int(value)
            case 0x15:
                holds = accumulator == value
            case 0x35:
                holds = accumulator >= value
            case 0x45:
                holds = bool(accumulator & value)
            case _:
                raise AssertionError(f"no such instruction: {code:#x}")
        at += if_true if holds else if_false


@pytest.mark.parametrize("machine", MACHINES)
class TestAnswers:
    def test_what_a_decoder_needs_is_allowed(self, machine: str) -> None:
        assert answer(machine, READ[machine]) == ALLOW
        assert answer(machine, EXECVE[machine]) == ALLOW, "the launcher has yet to become the program"

    def test_every_call_of_the_list_is_refused_without_ending_the_program(self, machine: str) -> None:
        for name, numbers in seccomp.REFUSED.items():
            number = numbers[MACHINES.index(machine)]
            if number is not None:
                assert answer(machine, number) == refused(errno.EPERM), name

    def test_threads_are_made_and_processes_are_not(self, machine: str) -> None:
        clone = seccomp.CLONE[MACHINES.index(machine)]
        assert answer(machine, clone, CLONE_VM | seccomp.CLONE_THREAD) == ALLOW
        for flags in (SIGCHLD, CLONE_VM | SIGCHLD, CLONE_NEWUSER | SIGCHLD):
            assert answer(machine, clone, flags) == refused(errno.EPERM)

    def test_limits_are_read_of_oneself_only(self, machine: str) -> None:
        prlimit = seccomp.PRLIMIT64[MACHINES.index(machine)]
        assert answer(machine, prlimit, 0) == ALLOW
        assert answer(machine, prlimit, 4321) == refused(errno.EPERM)

    def test_a_reader_opens_nothing_for_writing(self, machine: str) -> None:
        openat = seccomp.WRITING["openat"][MACHINES.index(machine)]
        assert openat is not None
        assert answer(machine, openat, 0, 0, os.O_RDONLY | os.O_CLOEXEC, may_write=False) == ALLOW
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_CREAT, os.O_RDONLY | os.O_TRUNC, os.O_TMPFILE | 1):
            assert answer(machine, openat, 0, 0, flags, may_write=False) == refused(errno.EPERM)
            assert answer(machine, openat, 0, 0, flags) == ALLOW

    @pytest.mark.parametrize("call", [425, 435, 437, 438, 446, 451, 600])
    def test_what_is_newer_than_linux_5_0_does_not_exist(self, machine: str, call: int) -> None:
        """io_uring, clone3, openat2, pidfd_getfd, landlock_restrict_self, and what is yet to come."""
        assert answer(machine, call) == refused(errno.ENOSYS)

    def test_calls_of_another_architecture_end_the_program(self, machine: str) -> None:
        assert answer(machine, READ[machine], architecture=0x40000003) == KILL

    def test_x32_calls_do_not_exist(self, machine: str) -> None:
        assert answer(machine, 0x40000000 | 41) == refused(errno.ENOSYS)

    def test_the_numbers_are_those_of_the_kernel_s_headers(self, machine: str) -> None:
        header = HEADERS[machine]
        if not header.exists():
            pytest.skip(f"no {header}: install linux-libc-dev")
        defined = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(), re.MULTILINE)
        true = {name: int(number) for name, number in defined}
        column = MACHINES.index(machine)
        ours = seccomp.REFUSED | {"clone": seccomp.CLONE, "prlimit64": seccomp.PRLIMIT64}
        for name, numbers in ours.items():
            assert numbers[column] == true.get(name), name


def test_an_unknown_machine_has_no_filter_rather_than_a_wrong_one() -> None:
    with pytest.raises(SandboxUnavailableError, match="riscv64"):
        seccomp.program("riscv64", may_write=True)
