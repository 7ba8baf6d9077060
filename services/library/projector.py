"""The one writer of jobs.db: follows the log and projects it, for ever.

Lives here: the loop, its start (is this file of this log?), its patience with a failing disk, and the clean rebuild.
Does not live here: what a batch changes (`projection`). SQLite runs in one worker thread, never on the event loop.
"""

import asyncio
import contextlib
import functools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog

from services.library.jobstore.schema import JOBS_PROJECTION, MANIFESTS_PROJECTION
from services.library.jobstore.store import Cursor, JobStore, open_store, set_aside
from services.library.projection import Projection, digest, fold
from shared import tracing
from shared.eventlog.port import EventLog, LogUnavailableError, Recorded
from shared.events.subjects import job_filter, job_of
from shared.job.aggregate import Job

RETRY_S = 1.0
"""A batch that could not be written (a full disk) is tried again this often; reads keep answering meanwhile."""

READ_AT_ONCE = 256

log = structlog.get_logger()
T = TypeVar("T")
P = ParamSpec("P")

Listener = Callable[[Sequence[Recorded], Sequence[Job]], None]


async def read_job(log_: EventLog, job_id: str, up_to: int) -> Job | None:
    """Fold one job from the log, events up to and including sequence `up_to`. Raises LogUnavailableError."""
    records: list[Recorded] = []
    after = 0
    while batch := await log_.read(job_filter(job_id), after=after, limit=READ_AT_ONCE):
        records += [recorded for recorded in batch if recorded.seq <= up_to]
        after = batch[-1].seq
        if after >= up_to:
            break
    return fold(records)


async def is_of_log(log_: EventLog, cursor: Cursor) -> bool:
    """Return whether the cursor's event is in this log, where the cursor says. Raises LogUnavailableError."""
    if cursor.seq == 0:
        return True
    found = await log_.read(after=cursor.seq - 1, limit=1)
    return bool(found) and found[0].seq == cursor.seq and digest(found[0]) == cursor.digest


async def rebuild(log_: EventLog, path: Path) -> int:
    """Project the whole log into a new file and return the last sequence; writes no job.json.

    Raises LogUnavailableError, sqlite3.Error, FileExistsError.
    """
    if await asyncio.to_thread(path.exists):
        raise FileExistsError(path)
    store = await asyncio.to_thread(JobStore, path)
    try:
        projection = Projection(store)
        while batch := await log_.read(after=projection.cursor.seq, limit=READ_AT_ONCE):
            await asyncio.to_thread(projection.apply, batch)
        return projection.cursor.seq
    finally:
        await asyncio.to_thread(store.close)


@contextlib.contextmanager
def project_spans(batch: Sequence[Recorded], after: int) -> Iterator[None]:
    """Trace the writing of a batch: one span for each job's event above `after` that belongs to a trace."""
    with contextlib.ExitStack() as spans:
        for recorded in batch if tracing.enabled() else ():
            event, job_id = recorded.event, job_of(recorded.subject)
            if event is not None and event.traceparent is not None and job_id and recorded.seq > after:
                about: tracing.Attributes = {"job_id": job_id, "event": event.type, "seq": recorded.seq}
                spans.enter_context(tracing.span("project", event.traceparent, about))
        yield


class Projector:
    """Keeps jobs.db equal to the log. `listener` hears every batch after its commit, on the event loop."""

    def __init__(self, log_: EventLog, path: Path, listener: Listener) -> None:
        self._log = log_
        self._path = path
        self._listener = listener
        self._thread = ThreadPoolExecutor(1, "jobs-db-writer")
        self._store: JobStore | None = None
        self._projection: Projection | None = None
        self._untraced = 0
        """A new jobs.db projects what is in the log by now without spans: it happened long ago."""

    @property
    def position(self) -> int:
        """The sequence of the last committed event; 0 before `open`."""
        return self._projection.cursor.seq if self._projection else 0

    async def open(self) -> None:
        """Open jobs.db; start anew if it is not of this log. Raises LogUnavailableError, sqlite3.Error, OSError."""
        store = await self._run(open_store, self._path)
        if not await is_of_log(self._log, await self._run(store.cursor, JOBS_PROJECTION)):
            await self._run(store.close)
            await self._run(set_aside, self._path, "its last event is not in this log")
            store = await self._run(open_store, self._path)
        self._store = store
        self._projection = await self._run(Projection, store)
        if self._projection.cursor.seq == 0 and tracing.enabled():
            last = await self._log.last()
            self._untraced = last.seq if last else 0

    async def run(self) -> None:
        """Project for ever. Events whose job.json may be behind are handed to the listener again at the start."""
        assert self._store is not None, "open first"
        written = await self._run(self._store.cursor, MANIFESTS_PROJECTION)
        async for batch in self._log.follow(after=min(written.seq, self.position)):
            self._listener(batch, await self._apply(batch))

    async def _apply(self, batch: Sequence[Recorded]) -> list[Job]:
        projection = self._projection
        assert projection is not None, "open first"
        while True:
            try:
                for job_id in await self._run(projection.unfolded, batch):
                    job = await read_job(self._log, job_id, projection.cursor.seq)
                    if job is not None:
                        projection.adopt(job)
                with project_spans(batch, max(projection.cursor.seq, self._untraced)):
                    return await self._run(projection.apply, batch)
            except (sqlite3.OperationalError, LogUnavailableError) as error:
                log.error("projection_waits", after=projection.cursor.seq, error=str(error))
                await asyncio.sleep(RETRY_S)

    async def manifests_written(self, seq: int) -> None:
        """Record that job.json of every job is as new as this event; where it fails, a restart writes more of them."""
        assert self._store is not None, "open first"
        try:
            await self._run(self._store.move_cursor, MANIFESTS_PROJECTION, Cursor(seq))
        except sqlite3.OperationalError as error:
            log.warning("manifest_cursor_not_written", error=str(error))

    async def close(self) -> None:
        """Close jobs.db after what is being written."""
        if self._store is not None:
            await self._run(self._store.close)
        self._thread.shutdown()

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
