"""A file and a port that nobody may touch, and the proof that nobody did."""

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

IN_OPEN = 0x20


class Canary:
    """The kernel tells of every opening of the file, in whatever name space; a connection waits in the backlog."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0)
        self.port: int = self._listener.getsockname()[1]
        libc = ctypes.CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert libc.inotify_add_watch(self._watch, os.fsencode(file), IN_OPEN) > 0, os.strerror(ctypes.get_errno())

    @property
    def was_opened(self) -> bool:
        try:
            events = os.read(self._watch, 4096)
        except BlockingIOError:
            return False
        return bool(struct.unpack_from("=iI", events)[1] & IN_OPEN)

    @property
    def was_connected(self) -> bool:
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    @property
    def touched(self) -> bool:
        return self.was_opened | self.was_connected

    def close(self) -> None:
        os.close(self._watch)
        self._listener.close()


@contextlib.contextmanager
def canary_at(file: Path) -> Iterator[Canary]:
    bird = Canary(file)
    try:
        yield bird
    finally:
        bird.close()
