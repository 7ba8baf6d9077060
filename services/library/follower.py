"""One client's place in the log, and what comes after it.

Lives here: where a client starts, whether its next events come from the hub or, when it is further behind than the
hub remembers, from the log, and which of them it may see. The place moves only over what was given out or is not for
this client to see: no gap and no duplicate by construction.
Does not live here: whose events are (`audiences`), how they are sent (`services.library.routes`).
"""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import orjson

from services.library.audiences import sees
from services.library.hub import Frame, frame, one_line
from services.library.jobstore.queries import read_job
from services.library.library import Library
from services.library.readers import reader_of, sees_row
from shared.access.principal import Principal
from shared.events.subjects import ALL_EVENTS, job_filter

READ_AT_ONCE = 64

HIDDEN = b""
"""In the place of a row that is not for this client to see."""


@dataclass(frozen=True)
class Heard:
    """What came; nothing of either: it has been silent (`hub.HEARTBEAT_S`), or what came was not for this client."""

    frames: list[Frame] = field(default_factory=list)
    progress: dict[str, bytes] = field(default_factory=dict)

    @property
    def jobs(self) -> list[str]:
        """The jobs that it is about, once each."""
        return list(dict.fromkeys([*(item.job_id for item in self.frames if item.job_id), *self.progress]))


class Follower:
    """Follows one job (or all: None) from after `place`, as `who` may see it. A context: it is subscribed inside."""

    def __init__(self, library: Library, who: Principal, job_id: str | None, place: int) -> None:
        self._log = library.log
        self._hub = library.hub
        self._audiences = library.audiences
        self._reader = reader_of(who)
        self._job_id = job_id
        self._checked = False
        self.place = place
        self.subscription = library.hub.subscribe(job_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._hub.unsubscribe(self.subscription)

    async def next(self) -> Heard | None:
        """Return what comes next, as soon as it is there.

        None at the end: the client goes or the service stops (the subscription is closed), or the one job that is
        followed is not theirs to see (any more). Raises LogUnavailableError, sqlite3.Error.
        """
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
                    return await self._heard(frames, subscription.take_progress())
            elif subscription.progress:
                return await self._heard([], subscription.take_progress())
            else:
                subscription.wake.clear()
                if not await subscription.wakes():
                    return Heard()
        return None

    async def _heard(self, frames: list[Frame], progress: dict[str, bytes]) -> Heard | None:
        """Return what of these the client may see now; None if it follows one job and may not see that."""
        if self._reader is None:
            return Heard(frames, progress)
        await self._know([*(item.about for item in frames), *progress])
        seen = Heard(
            [item for item in frames if self._sees(item.about)],
            {job_id: wire for job_id, wire in progress.items() if self._sees(job_id)},
        )
        return seen if self._job_id is None or self._sees(self._job_id) else None

    def _sees(self, thing: str) -> bool:
        return sees(self._reader, self._audiences.get(thing))

    async def _know(self, things: list[str]) -> None:
        """Have the audience of all of these in memory. What is live is there already: nothing is awaited."""
        while any(self._audiences.get(thing) is None for thing in things):
            await self._audiences.find(things)

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


async def seen_row(library: Library, who: Principal, job_id: str) -> bytes | None:
    """Return `newest_row` if it is theirs to see, else `HIDDEN`. Raises sqlite3.Error."""
    reader = reader_of(who)
    if reader is None:
        return await newest_row(library, job_id)
    row = library.hub.row(job_id)
    if row is not None and (audience := library.audiences.get(job_id)) is not None:
        return row if sees(reader, audience) else HIDDEN
    row = await newest_row(library, job_id)  # it may be newer than what anybody was told
    return row if row is None or sees_row(who, orjson.loads(row)) else HIDDEN


async def newest_row(library: Library, job_id: str) -> bytes | None:
    """Return a job's row with its live progress, JSON text; None if there is none (any more). Raises sqlite3.Error."""
    row = library.hub.row(job_id)
    if row is None:
        stored = await library.reader.run(lambda connection: read_job(connection, job_id))
        row = None if stored is None else one_line(library.live.over_bytes(job_id, stored))
    return row
