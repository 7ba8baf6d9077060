"""Folding the log into jobs.db, batch by batch. Synchronous: it owns the writer's thread.

Lives here: which rows a batch changes, in one transaction with the cursor (E5), and what is quarantined (E7).
Does not live here: where batches come from (`services.library.projector`) and what a row contains (`view`,
`settings_rows`).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from services.library.committed import Committed
from services.library.jobstore.codec import ForeignRowError
from services.library.jobstore.schema import JOBS_PROJECTION
from services.library.jobstore.store import Cursor, JobStore
from services.library.settings_rows import Row, SettingsRow, settings_row, used_upload
from services.library.view import encode, job_row, made_by, outputs_row
from shared.eventlog.job_history import step
from shared.eventlog.port import Recorded
from shared.events.subjects import job_of
from shared.events.types import JobImported, JobSubmitted
from shared.job.model import Job

FOLDED_JOBS = 4096
"""Folded jobs kept in memory; any other is folded again from the log when it gets an event."""

log = structlog.get_logger()


def digest(recorded: Recorded) -> str:
    """Return what tells this stored event from any other."""
    return hashlib.sha256(recorded.raw).hexdigest()[:32]


def about(batch: Sequence[Recorded]) -> list[str]:
    """Return the jobs that these events are about, once each, in their order."""
    return list(dict.fromkeys(job_id for recorded in batch if (job_id := job_of(recorded.subject))))


@dataclass
class _Changes:
    """What a batch does, before any of it is written."""

    cursor: Cursor
    jobs: dict[str, Job] = field(default_factory=dict)
    settings: dict[tuple[str, str], SettingsRow] = field(default_factory=dict)
    refused: list[tuple[Recorded, str]] = field(default_factory=list)


class Projection:
    """The rows of jobs.db and the aggregates behind the newest of them."""

    def __init__(self, store: JobStore) -> None:
        """Continue where the store is. Raises sqlite3.Error."""
        self._store = store
        self._folded: OrderedDict[str, Job] = OrderedDict()
        self._deleted: set[str] = set()
        """Jobs that are known to be deleted: they have no row, and no event brings them back."""
        self._unwritten: set[str] = set()
        self.cursor = store.cursor(JOBS_PROJECTION)
        self._knows_all_deleted = self.cursor.seq == 0

    def continue_in(self, store: JobStore) -> None:
        """Go on in the same file, opened again under another name. Raises nothing."""
        self._store = store

    def unfolded(self, batch: Sequence[Recorded]) -> list[str]:
        """Return the jobs of this batch of which the log up to the cursor has to be folded: `adopt` them first.

        They have a row but no aggregate here; or they begin in this batch and may be ones that were deleted before.
        Raises sqlite3.Error.
        """
        beginning: set[str] = set()
        if not self._knows_all_deleted:
            beginning = {
                job_of(recorded.subject)
                for recorded in batch
                if recorded.seq > self.cursor.seq and isinstance(recorded.event, JobSubmitted | JobImported)
            }
        unknown = [job_id for job_id in about(batch) if job_id not in self._folded and job_id not in self._deleted]
        return [job_id for job_id in unknown if job_id in beginning or job_id in self._store.jobs]

    def adopt(self, job: Job) -> None:
        """Take a job that was folded from the log up to the cursor."""
        self._keep({job.id: job})

    def apply(self, batch: Sequence[Recorded]) -> Committed:
        """Write what a batch changes, with the cursor, in one transaction.

        Events at or below the cursor were delivered before and change nothing. On any error nothing is changed,
        here or in the file, and the batch may be applied again. Raises sqlite3.Error.
        """
        changes = self._fold(batch)
        rows: dict[str, bytes] = {}
        if changes.cursor != self.cursor:
            rows = self._commit(changes, changes.jobs, [job for job in changes.jobs.values() if self._made_other(job)])
            self._keep(changes.jobs)
            self._shrink()
        found = (changes.jobs.get(job_id) or self._folded.get(job_id) for job_id in about(batch))
        return Committed(batch, [job for job in found if job is not None and not job.deleted], rows)

    def replay(self, batch: Sequence[Recorded]) -> None:
        """Take a batch without writing the row of a job that may have more events to come: `flush` does that.

        For a new file that nobody reads yet and that is thrown away if anything fails. Raises sqlite3.Error.
        """
        changes = self._fold(batch)
        self._unwritten |= changes.jobs.keys()
        self._keep(changes.jobs)
        due = {job_id: job for job_id, job in changes.jobs.items() if job.deleted} | self._shrink()
        self._write(changes, due)

    def flush(self) -> None:
        """Write what `replay` has not. Raises sqlite3.Error."""
        self._write(_Changes(self.cursor), self._folded)

    def _write(self, changes: _Changes, jobs: Mapping[str, Job]) -> None:
        due = {job_id: job for job_id, job in jobs.items() if job_id in self._unwritten}
        self._commit(changes, due, due.values())
        self._unwritten -= due.keys()

    def _fold(self, batch: Sequence[Recorded]) -> _Changes:
        changes = _Changes(self.cursor)
        last: Recorded | None = None
        for recorded in batch:
            if recorded.seq <= self.cursor.seq or (last is not None and recorded.seq <= last.seq):
                continue
            last = recorded
            job_id = job_of(recorded.subject)
            if job_id or recorded.event is None:
                self._fold_job(changes, job_id, recorded)
                row = None if recorded.event is None else used_upload(recorded.event)
            else:
                row = settings_row(recorded.event, lambda key: self._upload(changes, key))
            if row is not None:
                changes.settings[row.table, row.key] = row
        if last is not None:
            changes.cursor = Cursor(last.seq, digest(last))
        return changes

    def _upload(self, changes: _Changes, key: str) -> Row | None:
        """Return the row of an upload as these changes leave it so far."""
        row = changes.settings.get(("uploads", key))
        if row is not None:
            return row.value
        try:
            found = self._store.uploads.get(key)
        except ForeignRowError:
            return None
        return found if isinstance(found, dict) else None

    def _fold_job(self, changes: _Changes, job_id: str, recorded: Recorded) -> None:
        if recorded.event is not None and job_id in self._deleted:
            return
        before = changes.jobs.get(job_id) or self._folded.get(job_id)
        after, error = step(before, recorded)
        if error:
            changes.refused.append((recorded, error))
        elif after is not None and after is not before:
            changes.jobs[job_id] = after

    def _commit(self, changes: _Changes, jobs: Mapping[str, Job], made: Iterable[Job]) -> dict[str, bytes]:
        """Write the rows of these jobs, and of those among them that have other outputs now, with all else."""
        store = self._store
        rows = {job_id: encode(job_row(job)) for job_id, job in jobs.items() if not job.deleted}
        outputs = {job.id: None if job.deleted else outputs_row(job) for job in made}
        with store.transaction():
            for job_id in jobs:
                _put(store.jobs, job_id, rows.get(job_id))
            for job_id, value in outputs.items():
                _put(store.job_outputs, job_id, encode(value) if value else None)
            for row in changes.settings.values():
                _put(getattr(store, row.table), row.key, encode(row.value) if row.value else None)
            for recorded, error in changes.refused:
                store.quarantine(recorded.seq, recorded.subject, error)
            store.move_cursor(JOBS_PROJECTION, changes.cursor)
        self.cursor = changes.cursor
        for recorded, error in changes.refused:
            log.error("event_quarantined", seq=recorded.seq, subject=recorded.subject, error=error)
        return rows

    def _made_other(self, job: Job) -> bool:
        """Return whether the job's outputs are not those of its row in `job_outputs`."""
        return job.deleted or made_by(job) != made_by(self._folded.get(job.id))

    def _keep(self, jobs: Mapping[str, Job]) -> None:
        for job_id, job in jobs.items():
            if job.deleted:
                self._deleted.add(job_id)
                self._folded.pop(job_id, None)
            else:
                self._folded[job_id] = job
                self._folded.move_to_end(job_id)

    def _shrink(self) -> dict[str, Job]:
        """Forget the jobs that had no event for the longest time; return them."""
        return dict(self._folded.popitem(last=False) for _ in range(len(self._folded) - FOLDED_JOBS))


def _put(table: Any, key: str, text: bytes | None) -> None:
    """Write the JSON text of a row, or remove the row."""
    if text is not None:
        table.put_text(key, text.decode())
    elif key in table:
        del table[key]
