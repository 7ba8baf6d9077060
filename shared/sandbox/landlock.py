"""The Landlock half of the sandbox: which files a program may open, and that it connects to nothing.

Lives here: the rules, made in this process and handed to the child as a descriptor; the child takes them upon itself
(`shared.confine`). Does not live here: system calls (`shared.sandbox.seccomp`). Numbers are those of linux/landlock.h.
"""

import ctypes
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from shared.sandbox.errors import SandboxUnavailableError
from shared.sandbox.program import Needs

CREATE_RULESET = 444
ADD_RULE = 445
"""System calls; the same numbers on every architecture."""
VERSION_FLAG = 1
RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIRECTORY, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
ACCESSES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""Every access to files that a version of the interface knows; those between add none."""
TCP_SINCE, ALL_TCP = 4, 0b11
"""Binding and connecting."""
SCOPES_SINCE, ALL_SCOPES = 6, 0b11
"""Abstract unix sockets and signals, to processes outside."""

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Return the version of the kernel's interface; 0 if there is none, or a container's own filter hides it."""
    return max(0, _syscall(CREATE_RULESET, None, 0, VERSION_FLAG))


@contextmanager
def rules(needs: Needs, files: Mapping[int, bool]) -> Iterator[int]:
    """Yield a descriptor of rules: what the program needs may be read, and so may `files`, or written where True.

    The keys are open descriptors: /proc/self/fd/N opens a file anew, and its rules are those of the file that it is;
    pipes need none. Everything else that the kernel can refuse is refused. Raises SandboxUnavailableError.
    """
    known = version()
    if known == 0:
        raise SandboxUnavailableError("this kernel has no Landlock, or a container's filter hides it")
    handled = next(mask for since, mask in sorted(ACCESSES.items(), reverse=True) if since <= known)
    tcp, scopes = ALL_TCP * (known >= TCP_SINCE), ALL_SCOPES * (known >= SCOPES_SINCE)
    ruleset = _checked(CREATE_RULESET, struct.pack("=QQQ", handled, tcp, scopes), 24, 0)
    try:
        for path in needs.programs:
            _allow_path(ruleset, path, READ_FILE | EXECUTE)
        for path in needs.files:
            _allow_path(ruleset, path, READ_FILE)
        for path in needs.directories:
            _allow_path(ruleset, path, READ_FILE | READ_DIRECTORY)
        for descriptor, writable in files.items():
            written = (WRITE_FILE | TRUNCATE) & handled if writable else 0
            _allow(ruleset, descriptor, READ_FILE | written)
        yield ruleset
    finally:
        os.close(ruleset)


def _allow_path(ruleset: int, path: Path, accesses: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise SandboxUnavailableError(f"{path}, which the program needs, cannot be opened: {error.strerror}") from error
    try:
        _allow(ruleset, place, accesses)
    finally:
        os.close(place)


def _allow(ruleset: int, place: int, accesses: int) -> None:
    _checked(ADD_RULE, ruleset, RULE_PATH_BENEATH, struct.pack("=Qi", accesses, place), 0)


def _checked(number: int, *arguments: int | bytes | None) -> int:
    answer = _syscall(number, *arguments)
    if answer < 0:
        raise SandboxUnavailableError(f"Landlock refuses its rules: {os.strerror(ctypes.get_errno())}")
    return answer


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    words = [each if isinstance(each, bytes) or each is None else ctypes.c_long(each) for each in arguments]
    return int(_libc.syscall(ctypes.c_long(number), *words))
