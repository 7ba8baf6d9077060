"""Folding the log into jobs.db, batch by batch. Synchronous: it owns the writer's thread.

Lives here: which rows a batch changes, in one transaction with the cursor (E5), and what is quarantined (E7).
Does not live here: where batches come from (`services.library.projector`) and what a row contains (`view`).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import structlog

from services.library.jobstore.schema import JOBS_PROJECTION
from services.library.jobstore.store import Cursor, JobStore
from services.library.view import view_job
from shared.eventlog.port import Recorded
from shared.events.subjects import job_of
from shared.job.aggregate import Job, evolve

FOLDED_JOBS = 4096
"""Folded jobs kept in memory; any other is folded again from the log when it gets an event."""

log = structlog.get_logger()


def digest(recorded: Recorded) -> str:
    """Return what tells this stored event from any other."""
    return hashlib.sha256(recorded.raw).hexdigest()[:32]


def fold(records: Iterable[Recorded]) -> Job | None:
    """Return the job that these events make; what does not decode or apply is passed over, as when it came first."""
    job: Job | None = None
    for recorded in records:
        job, _ = step(job, recorded)
    return job


def step(job: Job | None, recorded: Recorded) -> tuple[Job | None, str]:
    """Return the job after one event, and the reason if it has to be quarantined ("" if not)."""
    if recorded.event is None:
        return job, recorded.error or "does not decode"
    try:
        return evolve(job, recorded.seq, recorded.event), ""
    except Exception as error:  # noqa: BLE001 -- E7: whatever one event breaks must not block the others
        return job, type(error).__name__


def _about(batch: Sequence[Recorded]) -> list[str]:
    """Return the jobs that these events are about, once each, in their order."""
    return list(dict.fromkeys(job_id for recorded in batch if (job_id := job_of(recorded.subject))))


class Projection:
    """The rows of jobs.db and the aggregates behind the newest of them."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._folded: OrderedDict[str, Job] = OrderedDict()
        self.cursor = store.cursor(JOBS_PROJECTION)

    def unfolded(self, batch: Sequence[Recorded]) -> list[str]:
        """Return the jobs of this batch that have a row but no aggregate here: `adopt` them first."""
        return [job_id for job_id in _about(batch) if job_id not in self._folded and job_id in self._store.jobs]

    def adopt(self, job: Job) -> None:
        """Take a job that was folded from the log up to the cursor."""
        self._folded[job.id] = job

    def apply(self, batch: Sequence[Recorded]) -> list[Job]:
        """Write what a batch changes, with the cursor, in one transaction; return the jobs that it is about.

        Events at or below the cursor were delivered before and change nothing. On any error nothing is changed,
        here or in the file, and the batch may be applied again. Raises sqlite3.Error.
        """
        cursor = self.cursor
        changed: dict[str, Job] = {}
        refused: list[tuple[Recorded, str]] = []
        for recorded in batch:
            if recorded.seq <= cursor.seq:
                continue
            cursor = Cursor(recorded.seq, digest(recorded))
            job_id = job_of(recorded.subject)
            if not job_id and recorded.event is not None:
                continue  # the scheduler's own, or the operators': no row shows it
            before = changed.get(job_id) or self._folded.get(job_id)
            after, error = step(before, recorded)
            if error:
                refused.append((recorded, error))
            elif after is not None and after is not before:
                changed[job_id] = after
        if cursor != self.cursor:
            self._commit(cursor, changed, refused)
        return [self._folded[job_id] for job_id in _about(batch) if job_id in self._folded]

    def _commit(self, cursor: Cursor, changed: dict[str, Job], refused: list[tuple[Recorded, str]]) -> None:
        with self._store.transaction():
            for job_id, job in changed.items():
                self._store.jobs[job_id] = view_job(job).model_dump(mode="json")
            for recorded, error in refused:
                self._store.quarantine(recorded.seq, recorded.subject, error)
            self._store.move_cursor(JOBS_PROJECTION, cursor)
        self.cursor = cursor
        self._keep(changed)
        for recorded, error in refused:
            log.error("event_quarantined", seq=recorded.seq, subject=recorded.subject, error=error)

    def _keep(self, changed: dict[str, Job]) -> None:
        for job_id, job in changed.items():
            self._folded[job_id] = job
            self._folded.move_to_end(job_id)
        while len(self._folded) > FOLDED_JOBS:
            self._folded.popitem(last=False)
