"""One client's place in the log, and what comes after it.

Lives here: where a client starts, and whether its next events come from the hub or, when it is further behind than
the hub remembers, from the log. The place moves only over what was given out: no gap and no duplicate by construction.
Does not live here: how events are sent (`services.library.routes`).
"""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from services.library.hub import Frame, frame, one_line
from services.library.jobstore.queries import read_job
from services.library.library import Library
from shared.events.subjects import ALL_EVENTS, job_filter

READ_AT_ONCE = 64


@dataclass(frozen=True)
class Heard:
    """What came; nothing of either means that it has been silent (`hub.HEARTBEAT_S`)."""

    frames: list[Frame] = field(default_factory=list)
    progress: dict[str, bytes] = field(default_factory=dict)

    @property
    def jobs(self) -> list[str]:
        """The jobs that it is about, once each."""
        return list(dict.fromkeys([*(item.job_id for item in self.frames if item.job_id), *self.progress]))


class Follower:
    """Follows one job (or all: None) from after `place`. A context: it is subscribed inside."""

    def __init__(self, library: Library, job_id: str | None, place: int) -> None:
        self._log = library.log
        self._hub = library.hub
        self._job_id = job_id
        self._checked = False
        self.place = place
        self.subscription = library.hub.subscribe(job_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._hub.unsubscribe(self.subscription)

    async def next(self) -> Heard | None:
        """Return what comes next, as soon as it is there; None when the service stops. Raises LogUnavailableError."""
        if not self._checked:
            self._hub.keep_beating()
            await self._check_place()
        hub, subscription = self._hub, self.subscription
        while not subscription.closed:
            if self.place < hub.position:
                if hub.covers(self.place):
                    frames, self.place = hub.after(self.place, self._job_id)
                else:
                    frames = await self._from_log()
                if frames or subscription.progress:
                    return Heard(frames, subscription.take_progress())
            elif subscription.progress:
                return Heard([], subscription.take_progress())
            else:
                subscription.wake.clear()
                if not await subscription.wakes():
                    return Heard()
        return None

    async def _check_place(self) -> None:
        """Let a client of a log that is gone start at the end of this one.

        One that is ahead of jobs.db alone, which is being rebuilt, keeps its place.
        """
        self._checked = True
        if self.place > self._hub.position:
            last = await self._log.last()
            if last is None or last.seq < self.place:
                self.place = self._hub.position

    async def _from_log(self) -> list[Frame]:
        """Return events up to what the hub has handed on at most: jobs.db shows at least that."""
        until = self._hub.position
        subject = ALL_EVENTS if self._job_id is None else job_filter(self._job_id)
        async with self._hub.log_readers:
            batch = await self._log.read(subject, after=self.place, limit=READ_AT_ONCE)
        self.place = min(batch[-1].seq, until) if batch else until
        return [item for recorded in batch if recorded.seq <= until and (item := frame(recorded)) is not None]


async def newest_row(library: Library, job_id: str) -> bytes | None:
    """Return a job's row with its live progress, JSON text; None if there is none (any more). Raises sqlite3.Error."""
    row = library.hub.row(job_id)
    if row is None:
        stored = await library.reader.run(lambda connection: read_job(connection, job_id))
        row = None if stored is None else one_line(library.live.over_bytes(job_id, stored))
    return row
