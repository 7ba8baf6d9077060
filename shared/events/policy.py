"""Event types of the scheduler's policy: what it did to a job that waits, and what an operator did to its place.

Lives here: mode, delay and priority. Does not live here: why (`services.scheduler.policy`) and a job's life (`types`).
"""

from typing import Literal

from shared.events.envelope import Data, Envelope, Timestamp
from shared.events.names import Mode


class JobDegradedData(Data):
    """`queue_len` is the number of queued and running jobs that made the scheduler do it."""

    from_mode: Mode
    to_mode: Mode
    queue_len: int
    reason: str


class JobDegraded(Envelope):
    """Backpressure lowered the mode of a queued job."""

    type: Literal["dubline.job.degraded.v1"] = "dubline.job.degraded.v1"
    data: JobDegradedData


class JobRestoredData(Data):
    mode: Mode
    reason: str


class JobRestored(Envelope):
    """The pressure is gone before the job started: it has the mode that was asked for again."""

    type: Literal["dubline.job.restored.v1"] = "dubline.job.restored.v1"
    data: JobRestoredData


class JobDelayedData(Data):
    until: Timestamp
    queue_len: int
    reason: str


class JobDelayed(Envelope):
    """Backpressure holds a queued job that cannot be degraded (further) until a time."""

    type: Literal["dubline.job.delayed.v1"] = "dubline.job.delayed.v1"
    data: JobDelayedData


class JobReprioritizedData(Data):
    priority: int
    reason: str = ""


class JobReprioritized(Envelope):
    """An operator gave an unfinished job another priority, 0 (first) to 1000."""

    type: Literal["dubline.job.reprioritized.v1"] = "dubline.job.reprioritized.v1"
    data: JobReprioritizedData


PolicyEvent = JobDegraded | JobRestored | JobDelayed | JobReprioritized
