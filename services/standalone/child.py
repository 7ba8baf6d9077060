"""One supervised process: its start, its log file, its end.

Lives here: the mechanics on Linux and other Unix systems. Does not live here: when to restart (`supervisor`).
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.standalone.leash import leashed

LOG_BYTES = 5_000_000
LOG_BACKUPS = 3
READ_BLOCK = 1 << 16
DRAIN_S = 1.0
"""How long the last output of an ended process is waited for; a grandchild may hold its pipe open."""


class RotatingLog:
    """An append-only file that becomes `.1`, `.2`, … when it is full."""

    def __init__(self, path: Path, max_bytes: int = LOG_BYTES, backups: int = LOG_BACKUPS) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Append. A full disk loses lines, never a service: its pipe must be read on."""
        with contextlib.suppress(OSError):
            if self._file.tell() and self._file.tell() + len(data) > self._max_bytes:
                self._rotate()
            self._file.write(data)

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._backups, 0, -1):
            older = self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        self._file = self._path.open("ab", buffering=0)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Child:
    """A running process in a session of its own, its output going to a log file."""

    def __init__(self, process: asyncio.subprocess.Process, copying: "asyncio.Task[None]") -> None:
        self._process = process
        self._copying = copying

    @classmethod
    async def start(cls, argv: Sequence[str], environment: Mapping[str, str], log: RotatingLog) -> "Child":
        """Start it. Raises OSError."""
        # A pipe of our own: asyncio's would keep wait() from returning while a grandchild holds the other end.
        read_end, write_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *leashed(argv),
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                start_new_session=True,  # a Ctrl-C in the terminal is for the supervisor alone
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        return cls(process, asyncio.create_task(_copy(read_end, log)))

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """Return its exit status once it ended, and everything that it started ended with it."""
        status = await self._process.wait()
        self._signal_group(signal.SIGKILL)
        await asyncio.wait({self._copying}, timeout=DRAIN_S)
        self._copying.cancel()
        await asyncio.wait({self._copying})
        return status

    async def stop(self, grace_s: float) -> None:
        """Ask it to end, wait `grace_s` seconds, then end it."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), grace_s)
            except TimeoutError:
                self._signal_group(signal.SIGKILL)
        await self.wait()

    def kill(self) -> None:
        """End it at once."""
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals) -> None:
        # Its own session makes it the leader of a group with its own pid.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


async def _copy(read_end: int, log: RotatingLog) -> None:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
    )
    try:
        while block := await reader.read(READ_BLOCK):
            await asyncio.to_thread(log.write, block)
    finally:
        transport.close()
