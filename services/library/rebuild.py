"""Projecting a whole log into a new file, beside whatever runs.

Lives here: reading the log in large pieces, folding what is not in memory, and the finished file's name.
Does not live here: what a batch changes (`projection`) and who takes the file over (`projector`, `adoption`).
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.library.adoption import RebuildRunningError, alone, check_whole, discard, rebuilding_path, rebuilt_path
from services.library.jobstore.store import Cursor, JobStore
from services.library.projection import Projection, digest
from shared.eventlog.job_history import load_job
from shared.eventlog.port import EventLog, Recorded

READ_AT_ONCE = 2048
"""Events of one read and one transaction: a job's row is made once for all of its events among them."""

FOLD_AT_ONCE = 16
"""Jobs that are read from the log side by side."""

InThread = Callable[..., Awaitable[Any]]
"""Runs a function with its arguments in the one thread that a store belongs to."""


TAKEN_OVER_WITHIN_S = 5.0
"""How long a rebuild waits for the library to be done with an earlier one, in seconds."""

COLLECTION_THRESHOLDS = (100_000, 50, 100)
"""While a whole log is read, which makes many objects and hardly a cycle: the usual ones cost 40 % of the time."""


class WrongLogError(Exception):
    """The file was projected from another log."""


async def is_of_log(log_: EventLog, cursor: Cursor) -> bool:
    """Return whether the cursor's event is in this log, where the cursor says. Raises LogUnavailableError."""
    if cursor.seq == 0:
        return True
    found = await log_.read(after=cursor.seq - 1, limit=1)
    return bool(found) and found[0].seq == cursor.seq and digest(found[0]) == cursor.digest


async def fold_missing(log_: EventLog, projection: Projection, batch: Sequence[Recorded], run: InThread) -> None:
    """Give the projection the jobs of a batch that it has forgotten. Raises LogUnavailableError, sqlite3.Error."""
    missing = await run(projection.unfolded, batch)
    for start in range(0, len(missing), FOLD_AT_ONCE):
        some = missing[start : start + FOLD_AT_ONCE]
        loaded = await asyncio.gather(*(load_job(log_, job_id, up_to=projection.cursor.seq) for job_id in some))
        for job, _ in loaded:
            if job is not None:
                projection.adopt(job)


async def catch_up(
    log_: EventLog, projection: Projection, up_to: int, run: InThread, apply: Callable[[Sequence[Recorded]], object]
) -> None:
    """Project the events up to and including sequence `up_to`. Raises LogUnavailableError, sqlite3.Error."""
    after = projection.cursor.seq
    reading = asyncio.ensure_future(log_.read(after=after, limit=READ_AT_ONCE))
    try:
        while after < up_to and (found := await reading):
            after = found[-1].seq
            reading = asyncio.ensure_future(log_.read(after=after, limit=READ_AT_ONCE))  # while this piece is written
            batch = [recorded for recorded in found if recorded.seq <= up_to]
            await fold_missing(log_, projection, batch, run)
            await run(apply, batch)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@contextmanager
def _rare_collections() -> Iterator[None]:
    usual = gc.get_threshold()
    gc.set_threshold(*COLLECTION_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


async def replay(log_: EventLog, path: Path, up_to: int, run: InThread) -> Projection:
    """Project the log up to a sequence into a new file and close it; return the projection, to go on with elsewhere.

    Raises LogUnavailableError, sqlite3.Error, OSError.
    """
    store: JobStore = await run(JobStore, path)
    try:
        projection: Projection = await run(Projection, store)
        bulk = store.bulk()
        await run(bulk.__enter__)
        try:
            with _rare_collections():
                await catch_up(log_, projection, up_to, run, projection.replay)
            await run(projection.flush)
        finally:
            await run(bulk.__exit__, None, None, None)
    finally:
        await run(store.close)
    await run(check_whole, path)
    return projection


async def continue_to(log_: EventLog, path: Path, up_to: int, run: InThread) -> Projection:
    """Project what a finished file lacks up to a sequence and close it; return the projection, to go on with elsewhere.

    Raises WrongLogError, WrongSchemaError, LogUnavailableError, sqlite3.Error, OSError.
    """
    store: JobStore = await run(JobStore, path)
    try:
        projection: Projection = await run(Projection, store)
        if not await is_of_log(log_, projection.cursor):
            raise WrongLogError("its last event is not in this log")
        await catch_up(log_, projection, up_to, run, projection.apply)
    finally:
        await run(store.close)
    await run(check_whole, path)
    return projection


async def rebuild_into(log_: EventLog, path: Path) -> int:
    """Project the whole log into a new file and return the last sequence; the file is there when it is complete.

    Writes no job.json. Raises FileExistsError, LogUnavailableError, sqlite3.Error, OSError.
    """
    if await asyncio.to_thread(path.exists):
        raise FileExistsError(path)
    return await _rebuild(log_, rebuilding_path(path), path)


async def rebuild(log_: EventLog, jobs_db: Path) -> int:
    """Rebuild jobs.db beside a library that may be running, which then takes the new file over by itself.

    One that is not running does at its next start. Returns the last sequence.
    Raises RebuildRunningError, LogUnavailableError, sqlite3.Error, OSError.
    """
    deadline = asyncio.get_running_loop().time() + TAKEN_OVER_WITHIN_S
    while True:
        try:
            with alone(jobs_db.parent):
                return await _rebuild(log_, rebuilding_path(jobs_db), rebuilt_path(jobs_db))
        except RebuildRunningError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)


async def _rebuild(log_: EventLog, unfinished: Path, path: Path) -> int:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "jobs-db-rebuild") as thread:

        def run(function: Callable[..., Any], *args: object) -> Awaitable[Any]:
            return loop.run_in_executor(thread, function, *args)

        last = await log_.last()
        await run(discard, unfinished)
        projection = await replay(log_, unfinished, last.seq if last else 0, run)
        await run(discard, path)  # an older one that nobody has taken over
        await run(unfinished.replace, path)
    return projection.cursor.seq
