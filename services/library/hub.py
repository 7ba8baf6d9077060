"""Handing committed events and live progress to many listening clients.

Lives here: one encoding per event for all clients, a bounded backlog per client, and what happens to a slow one
(its backlog goes, and it reads the log again from where it was: no gap, no duplicate, no growing memory).
Does not live here: HTTP (`services.library.routes.events`) and where a client's history comes from (the log).
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import orjson

from services.library.live import LiveProgress
from services.library.view import DOING, job_progress
from shared.eventlog.port import Recorded
from shared.events.runtime import SchedulerEvent
from shared.events.types import JobCanceled, JobCompleted, JobFailed, JobRequeued
from shared.job.aggregate import JobState, StageStatus
from shared.telemetry import Progress

BACKLOG = 256
"""Events that may wait for one client; a client further behind is sent to the log."""


@dataclass(frozen=True)
class Frame:
    """One stored event as it goes over the wire."""

    seq: int
    job_id: str
    wire: bytes


def frame(recorded: Recorded) -> Frame | None:
    """Return the SSE frame of an event: its id is the sequence, its data the CloudEvent.

    None for one that does not decode, and for what schedulers tell only each other.
    """
    if recorded.event is None or isinstance(recorded.event, SchedulerEvent):
        return None
    wire = b"id: %d\ndata: %b\n\n" % (recorded.seq, recorded.event.encode())
    return Frame(recorded.seq, recorded.event.subject, wire)


def progress_frame(progress: Progress) -> bytes:
    """Return the SSE frame of live progress, with the job's own `progress`, 0..1.

    It has no id: it is not in the log and never replayed.
    """
    job = job_progress({progress.stage: StageStatus.CLAIMED}, JobState.RUNNING, {progress.stage: progress.fraction})
    message = progress.message or DOING[progress.stage]
    data = progress.model_dump(mode="json") | {"progress": job, "message": message}
    return b"event: progress\ndata: %b\n\n" % orjson.dumps(data)


@dataclass(eq=False)
class Subscription:
    """One client's backlog. `job_id` None means every job."""

    job_id: str | None
    frames: deque[Frame] = field(default_factory=deque)
    progress: dict[str, bytes] = field(default_factory=dict)
    behind: bool = False
    closed: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def wants(self, job_id: str) -> bool:
        return self.job_id is None or self.job_id == job_id

    def push(self, item: Frame) -> None:
        if len(self.frames) >= BACKLOG:
            self.frames.clear()
            self.behind = True
        if not self.behind:
            self.frames.append(item)
        self.wake.set()

    def take(self) -> tuple[list[Frame], list[bytes]]:
        """Return and forget what waits: stored events in order, and the newest progress of each job."""
        taken = list(self.frames), list(self.progress.values())
        self.frames.clear()
        self.progress.clear()
        self.wake.clear()
        return taken


class Hub:
    """All listening clients. Lives on the event loop."""

    def __init__(self, live: LiveProgress) -> None:
        self._live = live
        self._subscriptions: set[Subscription] = set()
        self.position = 0
        """The last sequence that was handed on; history up to here is the log's, what follows is the hub's."""

    def subscribe(self, job_id: str | None) -> Subscription:
        subscription = Subscription(job_id)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)

    def __len__(self) -> int:
        return len(self._subscriptions)

    def publish(self, batch: Sequence[Recorded]) -> None:
        """Hand on a committed batch; what was handed on before is passed over."""
        for recorded in batch:
            if recorded.seq <= self.position:
                continue
            self.position = recorded.seq
            if isinstance(recorded.event, JobCompleted | JobFailed | JobCanceled | JobRequeued):
                self._live.forget(recorded.event.subject)
            item = frame(recorded)
            if item is not None:
                for subscription in self._interested(item.job_id):
                    subscription.push(item)

    def publish_progress(self, progress: Progress) -> None:
        """Hand on live progress; only the newest of a job waits for a slow client."""
        self._live.update(progress)
        wire = progress_frame(progress)
        for subscription in self._interested(progress.job_id):
            subscription.progress[progress.job_id] = wire
            subscription.wake.set()

    def close(self) -> None:
        """End every stream: the service stops."""
        for subscription in self._subscriptions:
            subscription.closed = True
            subscription.wake.set()

    def _interested(self, job_id: str) -> Iterable[Subscription]:
        return (subscription for subscription in self._subscriptions if subscription.wants(job_id))
