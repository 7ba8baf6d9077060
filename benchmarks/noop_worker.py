"""`python -m benchmarks.noop_worker`: the worker's real parent process, whose stages do nothing.

Lives here: a runner without work, which notes when each stage began and ended. BENCH_TRACE names the file: one JSON
array `[job, stage, begun, ended]` a line, on the monotonic clock, which all processes of a machine share.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import Mapping
from typing import BinaryIO

import uvloop

from benchmarks.history import DIGEST, ENGINE
from services.worker.capabilities import Inventory
from services.worker.messages import CANCELED, Failed, Finished, Warmed
from services.worker.runner import Tell
from services.worker.service import Worker
from services.worker.settings import WorkerSettings
from shared.capabilities import Capabilities
from shared.commands import StageCommand
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamCommandQueue, JetStreamEventLog
from shared.events.envelope import Value
from shared.events.types import Timings
from shared.telemetry import configure_logging

HOLD = "hold"
"""A job with this title never ends its first stage: it holds the cap that it runs under."""


class NoopRunner:
    """A `services.worker.runner.Runner` in this process."""

    def __init__(self, trace: BinaryIO) -> None:
        self.loaded_engines: list[str] = []
        self._trace = trace
        self._ended = asyncio.Event()

    async def start(self) -> None:
        self._ended.clear()

    async def run(self, command: StageCommand, tell: Tell) -> Finished | Failed:  # noqa: ARG002 -- has no progress
        begun = time.monotonic()
        if command.job.title == HOLD:
            self._ended.clear()
            await self._ended.wait()
            return Failed(code=CANCELED, message="held until the end", retryable=True)
        finished = Finished(key=DIGEST, outputs=[], engine=ENGINE, timings=Timings(), issues=[], facts={})
        line = json.dumps([command.job_id, command.stage, begun, time.monotonic()])
        self._trace.write(line.encode() + b"\n")
        return finished

    async def warm(self, settings: Mapping[str, Value]) -> Warmed:  # noqa: ARG002 -- has no engines
        return Warmed(loaded_engines=[])

    def renew(self, at: float) -> None:
        """Nothing here publishes."""

    def ask_to_end(self) -> None:
        self._ended.set()

    async def kill(self) -> None:
        self._ended.set()


async def serve() -> None:
    """Run until drained."""
    settings = WorkerSettings()
    configure_logging("worker", settings.log_level)
    client = await connect(settings, "worker")
    capabilities = Capabilities(worker=settings.worker_id, pools=[settings.worker_pool], engines=[], pairs=[])
    with open(os.environ["BENCH_TRACE"], "ab", buffering=0) as trace:  # noqa: ASYNC230, PTH123 -- one short write a stage
        worker = Worker(
            settings,
            client,
            JetStreamEventLog(client),
            JetStreamCommandQueue(client),
            runner=NoopRunner(trace),
            inventory=Inventory(capabilities),
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.drain)
        try:
            await worker.run()
        finally:
            await client.flush()
            await client.close()


if __name__ == "__main__":
    uvloop.run(serve())
