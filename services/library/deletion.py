"""The files of deleted jobs go, and of ended ones what was not to be kept: when, and what if it does not work at once.

Lives here: hearing of deletions and ends, the notes that outlive the process, the wait for a worker that still has the
job, and the retries. Does not live here: the removal itself with its guards (`removal`, `clearing`).

A job that cannot be removed at once gets a note (an empty file named by its id) before the log's position is given as
done. So one that cannot be removed for a month holds up nothing, and a restart need not read the log again for it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from services.library.clearing import clear
from services.library.committed import Committed
from services.library.removal import remove
from shared.artifacts import write_bytes
from shared.eventlog.job_history import load_job
from shared.eventlog.port import EventLog, LogUnavailableError
from shared.events.library import JobDeleted
from shared.identity import is_job_id
from shared.job.kept import anything_goes
from shared.job.model import Job
from shared.layout import Layout

RETRY_S = 60.0
CLAIM_POLL_S = 1.0
CLAIM_WAIT_S = 60.0
"""So long a worker may own a stage of an ended job before its files go: it was told to stop, and silence for the ack
wait ends its claim."""

log = structlog.get_logger()


@dataclass
class _Waiting:
    """A job whose files are to go; times are the event loop's. `seq` is 0 once a note of it is on disk."""

    due: float
    patience_ends: float
    seq: int
    complained: bool = False


class Deleter:
    """Removes the files of deleted jobs, and of ended ones what goes, one job after the other.

    `finished(seq)` is called when no event up to `seq` has to be heard again; `after` is the last one of which an
    earlier process said so. A job's source goes with it: each submission has one of its own.
    """

    def __init__(
        self,
        layout: Layout,
        log_: EventLog,
        finished: Callable[[int], Awaitable[None]],
        after: int = 0,
    ) -> None:
        self._layout = layout
        self._log = log_
        self._finished = finished
        self._waiting: dict[str, _Waiting] = {}
        self._seq = self._told = after
        self._heard = asyncio.Event()

    def offer(self, committed: Committed) -> None:
        """Take the deletions and ends of a committed batch; one that was heard before changes nothing."""
        for recorded in committed.batch:
            if isinstance(recorded.event, JobDeleted) and is_job_id(recorded.event.subject):
                self._add(recorded.event.subject, recorded.seq)
        for job in committed.jobs:
            if anything_goes(job):
                self._add(job.id, job.version)
        self._seq = max(self._seq, committed.seq)
        self._heard.set()

    async def run(self) -> None:
        """Remove for ever, beginning with what an earlier process left."""
        for job_id in await asyncio.to_thread(self._left_over):
            self._add(job_id, 0)
        while True:
            self._heard.clear()
            for job_id, waiting in list(self._waiting.items()):
                if waiting.due <= self._now():
                    await self._try(job_id, waiting)
            await self._tell()
            due = min((waiting.due for waiting in self._waiting.values()), default=None)
            try:
                async with asyncio.timeout_at(due):
                    await self._heard.wait()
            except TimeoutError:
                continue

    def _add(self, job_id: str, seq: int) -> None:
        self._waiting.setdefault(job_id, _Waiting(self._now(), self._now() + CLAIM_WAIT_S, seq))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _left_over(self) -> list[str]:
        """Return the jobs that have a note, or that lie in the trash."""
        found = [
            path.name
            for directory in (self._layout.deletions, self._layout.trash)
            if directory.is_dir()
            for path in directory.iterdir()
        ]
        return sorted(name for name in set(found) if is_job_id(name))

    async def _tell(self) -> None:
        noted = min([self._seq, *(waiting.seq - 1 for waiting in self._waiting.values() if waiting.seq)])
        if noted > self._told:
            await self._finished(noted)
            self._told = noted

    async def _try(self, job_id: str, waiting: _Waiting) -> None:
        del self._waiting[job_id]  # what is heard of it from here on comes after this try
        note = self._layout.deletions / job_id
        done = False
        try:
            done = await self._is_done(job_id, waiting)
        except (OSError, LogUnavailableError) as error:
            self._postpone(job_id, waiting, error)
        try:
            if done:
                await asyncio.to_thread(note.unlink, missing_ok=True)
                return
            if waiting.seq:
                await asyncio.to_thread(write_bytes, note, b"")
                waiting.seq = 0
        except OSError as error:  # a full disk, for one
            self._postpone(job_id, waiting, error)
        self._waiting[job_id] = waiting

    async def _is_done(self, job_id: str, waiting: _Waiting) -> bool:
        """Remove a job's files, or wait for its worker. Raises OSError, LogUnavailableError."""
        job, _ = await load_job(self._log, job_id)
        if job is not None and job.claimed_stages and self._now() < waiting.patience_ends:
            waiting.due = self._now() + CLAIM_POLL_S
            return False
        await self._remove(job_id, job)
        return True

    async def _remove(self, job_id: str, job: Job | None) -> None:
        if job is not None and job.deleted:
            told = job.submitted
            done = await asyncio.to_thread(remove, self._layout, job_id, told.base_dir, told.source.path)
        elif job is not None and anything_goes(job):
            done = await asyncio.to_thread(clear, self._layout, job)
        elif job is not None and not job.submitted.keeping.everything:
            return  # it runs again, and will end again
        else:  # the event did not apply, or this is the state of another log
            log.warning("deletion_ignored", job_id=job_id)
            return
        for reason in done.left:
            log.warning("job_files_left", job_id=job_id, reason=reason)
        if done.removed:
            log.info("job_files_removed", job_id=job_id, deleted=job.deleted)

    def _postpone(self, job_id: str, waiting: _Waiting, error: Exception) -> None:
        """Try again later; a failure is logged once, however often it comes again."""
        waiting.due = self._now() + RETRY_S
        if not waiting.complained:
            reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            log.warning("job_files_not_removed_yet", job_id=job_id, error=reason)
        waiting.complained = True
