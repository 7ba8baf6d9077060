"""The parent's handle on its child: started, warm, killable with its whole process group.

Lives here: the pipes and the process. Does not live here: claims and events (`services.worker.service`).
Programs that the child starts in sessions of their own (ffmpeg) die with it: the kernel tells them (`shared.confine`).
"""

import asyncio
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from services.worker import oom
from services.worker.leftovers import Rooms
from services.worker.messages import (
    FROM_CHILD,
    Failed,
    Finished,
    FromChild,
    Message,
    Progressed,
    Renewed,
    Run,
    Warm,
    Warmed,
)
from services.worker.runner import Tell
from shared.commands import StageCommand
from shared.events.envelope import Value
from shared.layout import Layout

LINE_LIMIT = 4 * 1024 * 1024
CHILD_COMMAND = (sys.executable, "-m", "services.worker.child")
CHILD_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Idle threads of an engine sleep instead of spinning: after a stage the processors belong to what comes next."""


class ChildProcess:
    """One child, started when first needed and again after it was killed or died. A `services.worker.runner.Runner`."""

    def __init__(
        self, layout: Layout, argv: Sequence[str] = CHILD_COMMAND, environment: Mapping[str, str] | None = None
    ) -> None:
        self.loaded_engines: list[str] = []
        self._layout = layout
        self._argv = tuple(argv)
        own = {"DUBLINE_DATA_DIR": str(layout.data)}
        self._environment = {**os.environ, **CHILD_ENVIRONMENT, **own, **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._rooms: Rooms | None = None
        self._killed = False
        self._ours_at = 0.0

    async def start(self) -> None:
        """Start the child if it does not run, so that its imports are done when the first command comes."""
        with contextlib.suppress(OSError):  # the first command tells
            await self._start()

    async def _start(self) -> None:
        """Start the child if it does not run. Raises OSError."""
        if self._process is not None and self._process.returncode is None:
            return
        await self._bury()
        self._killed = False
        self._rooms = await asyncio.to_thread(Rooms, self._layout)
        self._process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=LINE_LIMIT,
            env={**self._environment, **self._rooms.environment},
        )

    async def run(self, command: StageCommand, tell: Tell) -> Finished | Failed:
        """Run a command; a child that dies is a retryable failure. Cancelling this kills the child."""
        answer = await self._ask(Run(command=command, at=self._ours_at), tell)
        return answer if isinstance(answer, Finished | Failed) else _misunderstood()

    async def warm(self, settings: Mapping[str, Value]) -> Warmed:
        """Load the engines that these settings choose."""
        answer = await self._ask(Warm(settings=dict(settings)), lambda _: None)
        if isinstance(answer, Warmed):
            return answer
        failed = answer if isinstance(answer, Failed) else _misunderstood()
        return Warmed(loaded_engines=self.loaded_engines, failures={"engines": failed.message})

    def renew(self, at: float) -> None:
        """Pass on that the stage is still this worker's, or that the next one is."""
        self._ours_at = at
        if self._process is not None and self._process.returncode is None:
            self._write(Renewed(at=at))

    def ask_to_end(self) -> None:
        """SIGTERM to the child and everything that it started."""
        self._signal(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL the child and everything that it started."""
        if self._process is None:
            return
        self._killed = self._process.returncode is None
        self._signal(signal.SIGKILL)
        await self._process.wait()
        await self._leave_rooms()

    async def _ask(self, message: Message, tell: Tell) -> FromChild:
        """Send a message and return its answer, or the failure that the child's death is."""
        try:
            await self._start()
        except OSError as error:
            return _not_started(error)
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        kills = oom.kernel_kills()
        try:
            self._write(message)
            await process.stdin.drain()
            while line := await process.stdout.readline():
                answer = FROM_CHILD.validate_json(line)
                if isinstance(answer, Progressed):
                    tell(answer)
                    continue
                self.loaded_engines = answer.loaded_engines
                return answer
        except (BrokenPipeError, ConnectionResetError):
            pass
        except ValueError:  # not a message, or a line beyond the limit
            await self.kill()
            return _misunderstood()
        except asyncio.CancelledError:
            await self.kill()
            raise
        code = await process.wait()
        await self._bury()
        return self._death(code, kills)

    def _death(self, code: int, kills_before: int | None) -> Failed:
        """Say what a child died of (`oom` has the reasoning)."""
        if code == -signal.SIGKILL and not self._killed:
            kills = oom.kernel_kills()
            if kills is None or kills_before is None or kills > kills_before:
                message = "the kernel ended the stage's process: out of memory"
                return Failed(code="out_of_memory", message=message, retryable=True)
        reason = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Failed(code="child_died", message=f"the stage's process died ({reason})", retryable=True)

    def _write(self, message: Message) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(message.model_dump_json().encode() + b"\n")

    async def _bury(self) -> None:
        """End what a dead child had started, once: its number may be another's soon."""
        self._signal(signal.SIGKILL)
        self._process = None
        self.loaded_engines = []
        await self._leave_rooms()

    async def _leave_rooms(self) -> None:
        """Remove what the child left, now that it has ended."""
        rooms, self._rooms = self._rooms, None
        if rooms is not None:
            await asyncio.to_thread(rooms.leave)

    def _signal(self, number: signal.Signals) -> None:
        # Its own session makes it the leader of a group with its own pid.
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


def _not_started(error: OSError) -> Failed:
    code = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "child_died"
    message = f"the stage's process could not be started: {error.strerror}"
    return Failed(code=code, message=message, retryable=True)


def _misunderstood() -> Failed:
    return Failed(code="child_died", message="the stage's process gave no proper answer", retryable=True)
