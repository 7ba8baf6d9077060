"""The client of our side: submits no-op jobs as ingest does, and sees their end in the log.

Lives here: appending submissions under ingest's user and following under the library's. Does not live here: the
processes (`benchmarks.stack`).
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from nats.aio.client import Client
from nats.aio.msg import Msg

from benchmarks.history import submitted
from benchmarks.orchestration.figures import Round, Span
from benchmarks.stack import Stack
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.eventlog.port import Expect
from shared.events.subjects import job_filter, job_of, lifecycle_subject, stage_subject
from shared.events.types import JobCompleted, JobFailed, JobSubmitted, decode
from shared.job.stages import GRAPH

TIMEOUT_S = 120.0
IN_FLIGHT = 16
OWNER = "bench"


class Dubline:
    """Our side of the comparison."""

    def __init__(self, ingest: Client, library: Client) -> None:
        self._log = JetStreamEventLog(ingest)
        self._reader = JetStreamEventLog(library)
        self._ends: dict[str, asyncio.Future[None]] = {}

    @classmethod
    @asynccontextmanager
    async def connected(cls, stack: Stack) -> "AsyncIterator[Dubline]":
        """Yield a client that hears of every job's end."""
        ingest = await connect(stack.settings("ingest"), "ingest")
        library = await connect(stack.settings("library"), "library")
        try:
            client = cls(ingest, library)
            await library.subscribe(lifecycle_subject("*"), cb=client._heard)
            yield client
        finally:
            await ingest.close()
            await library.close()

    async def submit(self, job: JobSubmitted) -> None:
        """Append one submission, as ingest does: durable when this returns."""
        await self._log.append(job, Expect(job_filter(job.subject), 0))

    async def submit_all(self, jobs: Iterable[JobSubmitted]) -> None:
        """Append many, a few at a time."""
        waiting = iter(jobs)

        async def some() -> None:
            for job in waiting:
                await self.submit(job)

        await asyncio.gather(*(some() for _ in range(IN_FLIGHT)))

    async def run(self, jobs: int, *, at_once: bool) -> Round:
        """Run no-op jobs, all at once or one after the other. Raises TimeoutError, RuntimeError if one fails."""
        started = time.perf_counter()
        latencies = []
        async with asyncio.timeout(TIMEOUT_S):
            if at_once:
                await asyncio.gather(*[await self._begin() for _ in range(jobs)])
            else:
                for _ in range(jobs):
                    sent = time.perf_counter()
                    await (await self._begin())
                    latencies.append(time.perf_counter() - sent)
        return Round(jobs, time.perf_counter() - started, latencies)

    async def _begin(self) -> "asyncio.Future[None]":
        job = submitted(OWNER)
        end = self._ends[job.subject] = asyncio.get_running_loop().create_future()
        await self.submit(job)
        return end

    async def _heard(self, message: Msg) -> None:
        job_id = job_of(message.subject)
        if job_id not in self._ends or (b"job.completed" not in message.data and b"job.failed" not in message.data):
            return
        event = decode(message.data)
        # The broker may hand a message out before it is on the disk: only what can be read back has happened.
        stored = await self._reader.last(lifecycle_subject(job_id))
        while stored is None or stored.event != event:
            stored = await self._reader.last(lifecycle_subject(job_id))
        end = self._ends.pop(job_id)
        if isinstance(event, JobCompleted):
            end.set_result(None)
        elif isinstance(event, JobFailed):
            end.set_exception(RuntimeError(f"a no-op job failed: {event.data.code}: {event.data.message}"))

    async def claimed(self, job_id: str) -> bool:
        """Return whether a worker has the job's first stage."""
        return await self._reader.last(stage_subject(job_id, next(iter(GRAPH)))) is not None

    async def messages(self) -> int:
        """Return how many events are in the log."""
        last = await self._reader.last()
        return last.seq if last else 0


def spans(trace: Path, after: int = 0) -> tuple[list[Span], int]:
    """Return the stages that workers noted beyond byte `after`, and the file's length now."""
    if not trace.exists():
        return [], 0
    with trace.open("rb") as file:
        file.seek(after)
        noted = [tuple(json.loads(line)) for line in file]
        return [(str(job), str(stage), float(a), float(b)) for job, stage, a, b in noted], file.tell()
