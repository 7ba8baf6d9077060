"""Handing committed events, rows and live progress to many listening clients.

Lives here: one encoding per event for all clients, the newest events in memory (`Hub.after`), the newest rows, and
who is woken. A client keeps no queue: it is a place in the log, and one that fell behind these events reads the log
again from its place: no gap, no duplicate, and memory that does not grow with the number of slow clients.
Does not live here: HTTP (`services.library.routes.events`), reading the log and what a client may see of it
(`services.library.follower`).
"""

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from services.library.audiences import aggregate_of
from services.library.committed import Committed
from services.library.live import LiveProgress
from services.library.view import DOING, job_progress
from shared.eventlog.port import Recorded
from shared.events.library import JobDeleted, PresetEvent, ProjectEvent
from shared.events.subjects import job_of
from shared.events.types import JobCanceled, JobCompleted, JobEvent, JobFailed, JobRequeued, StageEvent
from shared.job.model import JobState, StageStatus
from shared.telemetry import Progress

TAIL_FRAMES = 1024
TAIL_BYTES = 8 << 20
"""The newest events that are in memory (up to twice as many, so that trimming is rare); what is older is the log's."""

PIECE_BYTES = 32 << 10
"""About as much is taken, and sent, at once: what waits in the buffer of a socket that nobody reads stays small."""

ROWS = 1024
"""The newest rows that are in memory; any other is read from jobs.db."""

PROGRESS_INTERVAL_S = 0.5
"""Clients are told of progress this often, of all running jobs at once; workers tell us five times a second."""

LOG_READERS = 8
"""Clients that read the log at a time: thousands that come back at once must not all wait on the broker."""

HEARTBEAT_S = 15.0
"""Silent clients are woken this often: proxies close silent connections, often after 30 or 60 s."""

TYPE_PREFIX = "dubline."


@dataclass(frozen=True, slots=True)
class Frame:
    """One stored event as it goes over the wire. `job_id` is empty for an event of a project or preset."""

    seq: int
    job_id: str
    about: str
    """The job, project or preset, by id: who may read the event is asked of it (`audiences`)."""
    kind: str
    """Its type without the product's name: `job.completed.v1`."""
    wire: bytes


def frame(recorded: Recorded) -> Frame | None:
    """Return the SSE frame of an event: its id is the sequence, its data the CloudEvent.

    None for one that does not decode, and for what is not of jobs, projects and presets: where webhooks go, what people
    do to their accounts, uploads and settings, and what schedulers tell each other, is no business of pages.
    """
    event = recorded.event
    if not isinstance(event, JobEvent | StageEvent | ProjectEvent | PresetEvent):
        return None
    wire = b"id: %d\ndata: %b\n\n" % (recorded.seq, one_line(recorded.raw))
    job_id = job_of(recorded.subject)
    about = job_id or aggregate_of(recorded.subject)
    return Frame(recorded.seq, job_id, about, event.type.removeprefix(TYPE_PREFIX), wire)


def one_line(text: bytes) -> bytes:
    """Return JSON text in one line, whoever wrote it: a line's end would end the frame's data."""
    return text.translate(None, b"\r\n")


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
    """Where one client is woken. `job_id` None means every job; `progress` is the newest of each that waits for it."""

    job_id: str | None
    progress: dict[str, bytes] = field(default_factory=dict)
    closed: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    beat: bool = False
    """It is woken although nothing has happened."""

    async def wakes(self) -> bool:
        """Wait for the next wake; False if nothing has happened for some time."""
        await self.wake.wait()
        beat, self.beat = self.beat, False
        return not beat

    def take_progress(self) -> dict[str, bytes]:
        """Return and forget the waiting progress, as SSE frames by job."""
        taken, self.progress = self.progress, {}
        return taken

    def close(self) -> None:
        """Let the client's loop end."""
        self.closed = True
        self.wake.set()


class Hub:
    """All listening clients, and what is new. Lives on the event loop."""

    def __init__(self, live: LiveProgress) -> None:
        self._live = live
        self._listening: dict[str | None, set[Subscription]] = {}
        self._position = self._oldest = 0
        self._frames: list[Frame] = []
        self._bytes = 0
        self._taken: tuple[int, str | None, int, tuple[list[Frame], int]] = (-1, None, 0, ([], 0))
        """What `after` has last returned, and to what question."""
        self._rows: OrderedDict[str, bytes] = OrderedDict()
        self._shown: dict[str, bytes] = {}
        self._progress: dict[str, bytes] = {}
        self._flush: asyncio.TimerHandle | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._closed = False
        self.log_readers = asyncio.Semaphore(LOG_READERS)

    @property
    def position(self) -> int:
        """The last sequence that was handed on; history up to here is the log's, what follows is the hub's."""
        return self._position

    @position.setter
    def position(self, seq: int) -> None:
        """Start after this event: the projector had projected it before this process."""
        self._position = self._oldest = seq
        self._frames.clear()
        self._bytes = 0
        self._taken = (-1, None, 0, ([], 0))

    def subscribe(self, job_id: str | None) -> Subscription:
        subscription = Subscription(job_id, closed=self._closed)
        self._listening.setdefault(job_id, set()).add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        of_job = self._listening.get(subscription.job_id, set())
        of_job.discard(subscription)
        if not of_job:
            self._listening.pop(subscription.job_id, None)

    def __len__(self) -> int:
        return sum(map(len, self._listening.values()))

    def covers(self, after: int) -> bool:
        """Return whether every event above `after` that was handed on is still in memory."""
        return after >= self._oldest

    def after(self, seq: int, job_id: str | None = None) -> tuple[list[Frame], int]:
        """Return about `PIECE_BYTES` of the events above `seq`, and the sequence up to which these are all."""
        if self._taken[:3] == (seq, job_id, self._position):  # thousands of clients are at the same place
            return self._taken[3]
        taken = self._after(seq, job_id)
        self._taken = (seq, job_id, self._position, taken)
        return taken

    def _after(self, seq: int, job_id: str | None) -> tuple[list[Frame], int]:
        taken: list[Frame] = []
        size = 0
        for number in range(bisect_right(self._frames, seq, key=lambda item: item.seq), len(self._frames)):
            item = self._frames[number]
            if job_id is None or item.job_id == job_id:
                taken.append(item)
                size += len(item.wire)
            if size >= PIECE_BYTES:
                return taken, item.seq
        return taken, max(seq, self._position)

    def row(self, job_id: str) -> bytes | None:
        """Return a job's newest row with its live progress, encoded once for all; None if jobs.db has to be asked."""
        stored = self._rows.get(job_id)
        if stored is None:
            return None
        if job_id not in self._shown:
            self._shown[job_id] = one_line(self._live.over_bytes(job_id, stored))
        return self._shown[job_id]

    def publish(self, committed: Committed) -> None:
        """Hand on a committed batch; what was handed on before is passed over."""
        fresh = [recorded for recorded in committed.batch if recorded.seq > self._position]
        for recorded in fresh:
            self._changed(job_of(recorded.subject))
            if isinstance(recorded.event, JobCompleted | JobFailed | JobCanceled | JobRequeued | JobDeleted):
                self._live.forget(recorded.event.subject)
        for job_id, row in committed.rows.items() if fresh else ():
            self._keep_row(job_id, row)
        for recorded in fresh:
            self._position = recorded.seq
            item = frame(recorded)
            if item is not None:
                self._frames.append(item)
                self._bytes += len(item.wire)
                for subscription in self._interested(item.job_id):
                    subscription.progress.pop(item.job_id, None)
                    subscription.wake.set()
        self._trim()

    def publish_progress(self, progress: Progress) -> None:
        """Hand on live progress: at once, or with all that comes until the next time; the newest of each job."""
        self._live.update(progress)
        self._shown.pop(progress.job_id, None)
        self._progress[progress.job_id] = progress_frame(progress)
        if self._flush is None:
            self._flush_progress()

    def close(self) -> None:
        """End every stream: the service stops."""
        self._closed = True
        for timer in (self._flush, self._beat):
            if timer is not None:
                timer.cancel()
        for subscriptions in self._listening.values():
            for subscription in subscriptions:
                subscription.close()

    def keep_beating(self) -> None:
        """Wake those that are silent from time to time: one timer for all costs less than one for each wait."""
        if self._beat is None and not self._closed:
            self._beat = asyncio.get_running_loop().call_later(HEARTBEAT_S, self._wake_silent)

    def _wake_silent(self) -> None:
        self._beat = None
        for subscriptions in self._listening.values():
            for subscription in subscriptions:
                if not subscription.wake.is_set():
                    subscription.beat = True
                    subscription.wake.set()
        if self._listening:
            self.keep_beating()

    def _flush_progress(self) -> None:
        self._flush = None
        waiting, self._progress = self._progress, {}
        for job_id, wire in waiting.items():
            for subscription in self._interested(job_id):
                subscription.progress[job_id] = wire
                subscription.wake.set()
        if waiting:
            self._flush = asyncio.get_running_loop().call_later(PROGRESS_INTERVAL_S, self._flush_progress)

    def _changed(self, job_id: str) -> None:
        """Forget what an event has made old: the row, and progress that was told before it."""
        self._rows.pop(job_id, None)
        self._shown.pop(job_id, None)
        self._progress.pop(job_id, None)

    def _keep_row(self, job_id: str, row: bytes) -> None:
        self._changed(job_id)
        self._rows[job_id] = row
        if len(self._rows) > ROWS:
            oldest, _ = self._rows.popitem(last=False)
            self._shown.pop(oldest, None)

    def _trim(self) -> None:
        if len(self._frames) <= 2 * TAIL_FRAMES and self._bytes <= 2 * TAIL_BYTES:
            return
        gone = 0
        while len(self._frames) - gone > TAIL_FRAMES or self._bytes > TAIL_BYTES:
            self._bytes -= len(self._frames[gone].wire)
            gone += 1
        self._oldest = self._frames[gone - 1].seq
        del self._frames[:gone]

    def _interested(self, job_id: str) -> Iterator[Subscription]:
        yield from self._listening.get(None, ())
        if job_id:
            yield from self._listening.get(job_id, ())
