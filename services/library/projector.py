"""The one writer of jobs.db: follows the log and projects it, for ever.

Lives here: the loop, its start (is this file of this log?), its patience with a failing disk, and when another file
takes the place of jobs.db. Does not live here: what a batch changes (`projection`), reading a whole log (`rebuild`),
the renames (`adoption`). SQLite runs in one worker thread, never on the event loop.
"""

import asyncio
import contextlib
import functools
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog

from services.library.adoption import (
    Identity,
    RebuildRunningError,
    Replacing,
    alone,
    check_whole,
    discard,
    identity,
    inspect,
    install,
    is_damage,
    rebuilt_path,
    recovering_path,
)
from services.library.committed import Committed
from services.library.jobstore.reader import open_readonly
from services.library.jobstore.schema import MANIFESTS_PROJECTION
from services.library.jobstore.store import Cursor, JobStore, WrongSchemaError, open_store, set_aside
from services.library.projection import Projection
from services.library.rebuild import WrongLogError, continue_to, fold_missing, is_of_log, replay
from shared import tracing
from shared.eventlog.port import EventLog, LogUnavailableError, Recorded
from shared.events.subjects import job_of

RETRY_S = 1.0
"""A batch that could not be written (a full disk) is tried again this often; reads keep answering meanwhile."""

IDLE_S = 1.0
"""Without events, this often: is jobs.db still there, and does a rebuilt one wait?"""

log = structlog.get_logger()
T = TypeVar("T")
P = ParamSpec("P")

Listener = Callable[[Committed], None]


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


def _is_lasting(error: Exception) -> bool:
    """Return whether SQLite will say the same the next time, unlike of a full disk: the file is bad."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)


async def _next(batches: AsyncIterator[list[Recorded]]) -> list[Recorded]:
    return await anext(batches)


class Projector:
    """Keeps jobs.db equal to the log. `listener` hears every batch after its commit, on the event loop.

    `open_local` needs no broker: what is in jobs.db can be read from then on. `attach` brings the log, `run` follows.
    """

    def __init__(self, path: Path, listener: Listener, replacing: Replacing = contextlib.nullcontext) -> None:
        self._path = path
        self._listener = listener
        self._replacing = replacing
        self._thread = ThreadPoolExecutor(1, "jobs-db-writer")
        self._log: EventLog | None = None
        self._store: JobStore | None = None
        self._identity: Identity | None = None
        self._projection: Projection | None = None
        self._damage = ""
        """What a look at the whole file found, until it is replaced."""
        self._replaced_at = -1
        """Where the projection was when it last started over: what fails there again is not the file's fault."""

    @property
    def position(self) -> int:
        """The sequence of the last committed event; 0 before `open_local`."""
        return self._projection.cursor.seq if self._projection else 0

    async def open_local(self) -> None:
        """Open jobs.db as it is, or a new one, without the log. Raises sqlite3.OperationalError, OSError."""
        await self._run(self._open_local)

    async def attach(self, log_: EventLog) -> None:
        """Take the log that is projected; a jobs.db of another log, or a new one, is made from it before this returns.

        May be called again after it failed. Raises LogUnavailableError, sqlite3.Error, OSError.
        """
        assert self._projection is not None, "open_local first"
        self._log = log_
        await self._take_over_rebuilt(log_)
        if await is_of_log(log_, self._projection.cursor):
            if self.position or await log_.last() is None:
                return
            reason = ""  # it is new: nothing to keep
        else:
            reason = "its last event is not in this log"
        last = await log_.last()
        await self._start_over(log_, reason, last.seq if last else 0)

    async def run(self) -> None:
        """Project for ever. Events whose job.json may be behind are handed to the listener again at the start."""
        assert self._log is not None, "attach first"
        written = await self._run(self._cursor, MANIFESTS_PROJECTION)
        batches = self._log.follow(after=min(written.seq, self.position))
        inspecting = asyncio.create_task(self._inspect())
        waiting: asyncio.Task[list[Recorded]] | None = None
        try:
            while True:
                waiting = waiting or asyncio.create_task(_next(batches))
                await asyncio.wait({waiting}, timeout=IDLE_S)
                await self._look_after_file(self._log)
                if waiting.done():
                    batch, waiting = waiting.result(), None
                    self._listener(await self._apply(self._log, batch))
        finally:
            ending = [task for task in (inspecting, waiting) if task is not None]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    async def _apply(self, log_: EventLog, batch: Sequence[Recorded]) -> Committed:
        while True:
            projection = self._projection
            assert projection is not None, "open_local first"
            try:
                await fold_missing(log_, projection, batch, self._run)
                with project_spans(batch, projection.cursor.seq):
                    return await self._run(projection.apply, batch)
            except (sqlite3.DatabaseError, LogUnavailableError) as error:
                log.error("projection_waits", after=projection.cursor.seq, error=str(error))
                if _is_lasting(error) and self._replaced_at != projection.cursor.seq:
                    self._damage = str(error)
                else:
                    await asyncio.sleep(RETRY_S)
            await self._look_after_file(log_)

    async def _look_after_file(self, log_: EventLog) -> None:
        """Make jobs.db anew if it is bad or gone, and take over a rebuilt one; until that is done, readers have it."""
        while True:
            try:
                gone, rebuilt = await self._run(self._look)
                if self._damage or gone:
                    await self._start_over(log_, self._damage or "it was removed or replaced", self.position)
                elif rebuilt:
                    await self._take_over_rebuilt(log_)
            except (sqlite3.DatabaseError, LogUnavailableError, OSError) as error:
                log.error("jobs_db_waits", error=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _start_over(self, log_: EventLog, reason: str, up_to: int) -> None:
        """Project the log up to `up_to` into a new file, and put it in the place of jobs.db."""
        log.warning("jobs_db_starts_over", reason=reason, up_to=up_to)
        new = recovering_path(self._path)
        await self._run(discard, new)
        projection = await replay(log_, new, up_to, self._run)
        await self._run(self._replace, new, projection, reason)
        self._replaced_at = projection.cursor.seq

    async def _take_over_rebuilt(self, log_: EventLog) -> None:
        """Take over a rebuilt file if one waits: bring it to where jobs.db is, so that nobody reads an older state."""
        rebuilt = rebuilt_path(self._path)
        with contextlib.suppress(RebuildRunningError), alone(self._path.parent):  # busy: it is looked for again
            if await self._run(identity, rebuilt) is None:
                return
            try:
                projection = await continue_to(log_, rebuilt, self.position, self._run)
            except (WrongSchemaError, WrongLogError, sqlite3.DatabaseError) as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                await self._run(set_aside, rebuilt, str(error))
                return
            await self._run(self._replace, rebuilt, projection, "a rebuilt one takes its place")
            log.info("jobs_db_taken_over", position=projection.cursor.seq)

    def _look(self) -> tuple[bool, bool]:
        """In the writer's thread: return whether jobs.db is gone, and whether a rebuilt one waits."""
        return identity(self._path) != self._identity, identity(rebuilt_path(self._path)) is not None

    def _open_local(self) -> None:
        """In the writer's thread."""
        rebuilt = rebuilt_path(self._path)
        if identity(self._path) is None and identity(rebuilt) is not None:  # killed in the middle of taking it over
            with contextlib.suppress(WrongSchemaError, sqlite3.DatabaseError):
                JobStore(rebuilt).close()
                check_whole(rebuilt)
                install(rebuilt, self._path, "")
        with self._replacing():
            self._reopen()

    def _reopen(self) -> None:
        """In the writer's thread. A file that is bad from the start is set aside: the log makes it again."""
        self._store = open_store(self._path)
        try:
            self._projection = Projection(self._store)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._store.close()
            set_aside(self._path, str(error))
            self._store = open_store(self._path)
            self._projection = Projection(self._store)
        self._identity = identity(self._path)
        self._damage = ""

    def _replace(self, new: Path, projection: Projection, reason: str) -> None:
        """In the writer's thread: close jobs.db, put `new` in its place, and go on with `projection`."""
        manifests = Cursor()
        if self._store is not None:
            with contextlib.suppress(sqlite3.DatabaseError):
                manifests = self._store.cursor(MANIFESTS_PROJECTION)
        with self._replacing():
            if self._store is not None:
                self._store.close()
                self._store = None
            install(new, self._path, reason)
            self._reopen()
        assert self._store is not None
        if self._projection is not None and self._projection.cursor == projection.cursor:
            projection.continue_in(self._store)
            self._projection = projection
        if manifests.seq:
            self._store.move_cursor(MANIFESTS_PROJECTION, min(manifests, Cursor(self.position), key=lambda c: c.seq))

    async def _inspect(self) -> None:
        """Look at the whole file once, beside everything else: a bad page may not be met for months."""
        connection = await self._run(open_readonly, self._path)
        looked_at = self._identity
        looking = asyncio.ensure_future(asyncio.to_thread(inspect, connection))
        try:
            found = await asyncio.shield(looking)
            if found and looked_at == self._identity:
                self._damage = found
        finally:
            connection.interrupt()
            await asyncio.wait({looking})
            connection.close()

    def _cursor(self, name: str) -> Cursor:
        assert self._store is not None, "open_local first"
        return self._store.cursor(name)

    async def manifests_written(self, seq: int) -> None:
        """Record that job.json of every job is as new as this event; where it fails, a restart writes more of them."""
        try:
            await self._run(self._move_manifests, Cursor(seq))
        except sqlite3.DatabaseError as error:
            log.warning("manifest_cursor_not_written", error=str(error))

    def _move_manifests(self, cursor: Cursor) -> None:
        if self._store is not None:  # none while jobs.db could not be replaced
            self._store.move_cursor(MANIFESTS_PROJECTION, cursor)

    async def close(self) -> None:
        """Close jobs.db after what is being written."""
        if self._store is not None:
            await self._run(self._store.close)
        self._thread.shutdown()

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
