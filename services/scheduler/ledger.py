"""What each owner used: jobs and media minutes of the UTC day, and bytes stored.

Lives here: the fold of the quotas' counters. Does not live here: the quotas themselves (`policy`). Days are those of
the events' own times, so that a recount of the log gives the same numbers.
"""

from dataclasses import dataclass, field
from datetime import date, datetime

from shared.events.library import JobDeleted
from shared.job.kept import stored_bytes
from shared.job.model import Job


@dataclass
class Use:
    """One owner; the counters of a day start again with the first event of the next one."""

    day: date
    media_s: float = 0.0
    """Length of the videos whose processing started on `day`; a re-run counts again."""
    started: int = 0
    submitted: int = 0
    stored_bytes: int = 0

    def on(self, now: datetime) -> "Use":
        """Return the use as it counts at a time."""
        return self if self.day >= now.date() else Use(now.date(), stored_bytes=self.stored_bytes)


@dataclass
class Ledger:
    """The use of every owner that ever submitted."""

    owners: dict[str, Use] = field(default_factory=dict)

    def submitted(self, job: Job, now: datetime) -> None:
        """Count a new job, its source, and what it brought of a dub that is made already."""
        use = self._today(job.submitted.owner, now)
        use.submitted += 1
        use.stored_bytes += stored_bytes(job)

    def started(self, job: Job, now: datetime) -> None:
        """Count a job that got a slot."""
        use = self._today(job.submitted.owner, now)
        use.started += 1
        use.media_s += job.submitted.source.duration_s

    def stored(self, before: Job, after: Job, now: datetime) -> None:
        """Count what a job takes now in place of what it took: a stage left files, or the end let some go."""
        self._today(after.submitted.owner, now).stored_bytes += stored_bytes(after) - stored_bytes(before)

    def deleted(self, event: JobDeleted) -> None:
        """Give a deleted job's space back to its owner."""
        use = self._today(event.data.owner, event.time)
        use.stored_bytes = max(0, use.stored_bytes - event.data.stored_bytes)

    def use(self, owner: str, now: datetime) -> Use:
        """Return what an owner has used by now."""
        known = self.owners.get(owner)
        return known.on(now) if known else Use(now.date())

    def _today(self, owner: str, now: datetime) -> Use:
        use = self.use(owner, now)
        self.owners[owner] = use
        return use
