"""The parent's handle on its child: started, warm, killable with its whole process group.

Lives here: the pipes and the process. Does not live here: claims and events (`services.worker.service`).
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable

from services.worker.messages import FROM_CHILD, Failed, Finished, Progressed
from shared.commands import StageCommand

LINE_LIMIT = 4 * 1024 * 1024
CHILD_MODULE = "services.worker.child"
CHILD_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Idle threads of an engine sleep instead of spinning: after a stage the processors belong to what comes next."""


class ChildProcess:
    """One child, started when first needed and again after it was killed or died."""

    def __init__(self) -> None:
        self.loaded_engines: list[str] = []
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the child if it does not run, so that its imports are done when the first command comes."""
        if self._process is not None and self._process.returncode is None:
            return
        self.loaded_engines = []
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            CHILD_MODULE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=LINE_LIMIT,
            env={**os.environ, **CHILD_ENVIRONMENT},
        )

    async def run(self, command: StageCommand, on_progress: Callable[[Progressed], None]) -> Finished | Failed:
        """Run a command; a child that dies is a retryable failure. Cancelling this kills the child."""
        await self.start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(command.model_dump_json().encode() + b"\n")
            await process.stdin.drain()
            while line := await process.stdout.readline():
                message = FROM_CHILD.validate_json(line)
                if isinstance(message, Progressed):
                    on_progress(message)
                    continue
                if isinstance(message, Finished):
                    self.loaded_engines = message.loaded_engines
                return message
        except (BrokenPipeError, ConnectionResetError):
            pass
        except asyncio.CancelledError:
            await self.kill()
            raise
        code = await process.wait()
        reason = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Failed(code="child_died", message=f"the stage's process died ({reason})", retryable=True)

    async def kill(self) -> None:
        """SIGKILL the child and everything that it started."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
