"""Who schedules, and which slots are granted but not yet in use: the fold of the schedulers' own subject.

Lives here: the fence. Every slot under a cap is granted by an event that expects the last sequence of this subject, so
no two schedulers can grant the same last slot, however long one of them slept. Does not live here: deciding (`policy`).
A grant ends where the log shows its use, or shows that it cannot be used any more: the start and the claim that it
was for expect the last sequence of their job, and what ended the grant moved that on.
"""

from dataclasses import dataclass, field

from shared.events.names import Stage
from shared.events.runtime import SchedulerTookOver, SlotGranted
from shared.events.types import Event, StageClaimed
from shared.job.model import Job, JobState

Slot = tuple[str, Stage | None]
"""A job, and the capped stage; None for the job's own slot."""


@dataclass
class Grants:
    """`head` is the last sequence of the subject, `epoch` that of the last take-over, `open` the unused grants."""

    head: int = 0
    epoch: int = 0
    holder: str | None = None
    open: set[Slot] = field(default_factory=set)

    def apply(self, seq: int, event: SchedulerTookOver | SlotGranted, job: Job | None) -> None:
        """Fold an event of the subject; `job` is the one that a grant is for, as the log has it by now."""
        self.head = seq
        if isinstance(event, SchedulerTookOver):
            self.epoch, self.holder = seq, event.data.holder
        elif job is not None and event.data.run == job.run and _usable(job, event.data.stage):
            self.open.add((job.id, event.data.stage))

    def settle(self, job: Job, event: Event) -> None:
        """End the grants that this event of a job uses up or makes void; `job` is the one after it."""
        if job.state is not JobState.QUEUED:
            self.open.discard((job.id, None))
        if isinstance(event, StageClaimed):
            self.open.discard((job.id, event.data.stage))
        if job.state is not JobState.RUNNING:
            self.open -= {slot for slot in self.open if slot[0] == job.id and slot[1] is not None}

    def granted(self, job_id: str, stage: Stage | None) -> bool:
        """Return whether this slot is granted and not yet in use."""
        return (job_id, stage) in self.open


def _usable(job: Job, stage: Stage | None) -> bool:
    """A grant that lost the race against a pause, a cancellation or a claim holds nothing."""
    if stage is None:
        return job.state is JobState.QUEUED
    return job.state is JobState.RUNNING and stage not in job.claimed_stages and stage not in job.done_stages
