"""Which queued job goes next: priority with ageing, then fair share between owners, then age.

Lives here: the order, as an index that costs O(log n) to keep and does not get slower with the queue's length. Does not
live here: caps and quotas (`policy` says which heads may go), and what is queued (`board`). Pure.

Three steps decide. **Priority**: the level with the lowest number, where a level that has work but was not served gains
one point a minute, so that nothing starves. **Owner**: inside a level the owner with the fewest running jobs, then the
least work started (start-time fair queueing, Goyal et al. 1996: each owner has a virtual time that grows by the media
seconds it started; who comes back after a pause begins at the current one and cannot save up). **Age**: an owner's own
jobs go first in, first out. So 500 jobs of one owner never make another's first job wait for them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from sortedcontainers import SortedList, SortedSet

from shared.events.names import Mode

AGEING_S = 60.0
"""A level that waits gains one point of priority in this time: 110 overtakes 100 after ten minutes unserved."""


@dataclass(frozen=True)
class Entry:
    """One queued job; `work` is what it will cost its owner, in media seconds."""

    job_id: str
    owner: str
    priority: int
    mode: Mode
    queued_at: datetime
    work: float
    not_before: datetime | None = None


Aged = tuple[datetime, str]
"""When a job was queued, and its id."""
Head = tuple[int, float, datetime, str, str]
"""Running jobs and virtual time of the owner, then the age and id of its oldest job, and the owner."""


@dataclass
class _Lane:
    """The queued jobs of one priority and mode."""

    fifo: dict[str, SortedList[Aged]] = field(default_factory=dict)
    heads: SortedList[Head] = field(default_factory=SortedList)
    head_of: dict[str, Head] = field(default_factory=dict)


@dataclass
class _Level:
    lanes: dict[Mode, _Lane] = field(default_factory=dict)
    ages: SortedList[Aged] = field(default_factory=SortedList)


Refusal = Callable[[str, str], datetime | None]
"""Asked with an owner and a job: until when it may not start, None if it may."""


class FairQueue:
    """Every queued job; one that is held back until a time counts for its owner, but cannot be picked."""

    def __init__(self) -> None:
        self._levels: dict[int, _Level] = {}
        self._entries: dict[str, Entry] = {}
        self._running: dict[str, int] = {}
        self._of_owner: dict[str, int] = {}
        self.held: SortedSet[Aged] = SortedSet()
        """Jobs that are held back: (until, job id)."""
        self.virtual: dict[str, float] = {}
        """Virtual time of each owner that has jobs queued or running."""
        self.clock = 0.0
        """Virtual time of the system: that of the owner that was served last."""
        self.served_at: dict[int, datetime] = {}
        self._parked: SortedSet[Aged] = SortedSet()
        """Owners with a head that was refused: (until, owner). It only spares `pick` asking again and again."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._entries

    def add(self, entry: Entry) -> None:
        """Queue a job, or change the priority or mode of one that is queued."""
        self.remove(entry.job_id)
        self._entries[entry.job_id] = entry
        self._of_owner[entry.owner] = self._of_owner.get(entry.owner, 0) + 1
        self.virtual.setdefault(entry.owner, self.clock)
        if entry.not_before is not None:
            self.held.add((entry.not_before, entry.job_id))
        else:
            self._enter(entry)

    def tick(self, now: datetime) -> None:
        """Let the jobs in whose time has come: the only thing that time does to a queue."""
        while self._parked and self._parked[0][0] <= now:
            self._place_all(self._parked.pop(0)[1])
        while self.held and self.held[0][0] <= now:
            _, job_id = self.held.pop(0)
            self._enter(self._entries[job_id])

    def _enter(self, entry: Entry) -> None:
        level = self._levels.setdefault(entry.priority, _Level())
        level.ages.add((entry.queued_at, entry.job_id))
        lane = level.lanes.setdefault(entry.mode, _Lane())
        lane.fifo.setdefault(entry.owner, SortedList()).add((entry.queued_at, entry.job_id))
        self._place(lane, entry.owner)

    def remove(self, job_id: str) -> None:
        """Take a job out; nothing happens if it is not queued."""
        entry = self._entries.pop(job_id, None)
        if entry is None:
            return
        self._of_owner[entry.owner] -= 1
        held = (entry.not_before, job_id) if entry.not_before else None
        if held is not None and held in self.held:
            self.held.remove(held)
        else:
            self._leave(entry)
        self._forget_idle(entry.owner)

    def _leave(self, entry: Entry) -> None:
        level = self._levels[entry.priority]
        level.ages.remove((entry.queued_at, entry.job_id))
        lane = level.lanes[entry.mode]
        lane.fifo[entry.owner].remove((entry.queued_at, entry.job_id))
        self._place(lane, entry.owner)
        if not level.ages:
            del self._levels[entry.priority]

    def started(self, owner: str, priority: int, work: float, now: datetime) -> None:
        """Count a job that got a slot, whatever chose it."""
        self.clock = max(self.clock, self.virtual.get(owner, self.clock))
        self.virtual[owner] = self.clock + work
        self.served_at[priority] = now
        self._place_all(owner)

    def set_running(self, owner: str, count: int) -> None:
        """Tell how many slots an owner holds."""
        self._running[owner] = count
        self.virtual.setdefault(owner, self.clock)
        self._place_all(owner)
        self._forget_idle(owner)

    def running(self, owner: str) -> int:
        """Return how many slots an owner holds."""
        return self._running.get(owner, 0)

    def oldest(self) -> datetime | None:
        """Return since when the job waits that waits longest, held ones aside."""
        return min((level.ages[0][0] for level in self._levels.values()), default=None)

    def unpark(self) -> None:
        """Ask about every owner again: the rules have changed."""
        parked = [owner for _, owner in self._parked]
        self._parked.clear()
        for owner in parked:
            self._place_all(owner)

    def pick(self, now: datetime, mode_may: Callable[[Mode], bool], refused_until: Refusal) -> str | None:
        """Return the job to start next, or None.

        `refused_until(owner, job id)` is asked of the heads only: None lets the job start. A head that it refuses is
        not asked about again before that time, unless something of its owner changes: so a queue full of owners over
        their quota costs nothing.
        """
        for level in sorted(self._levels, key=lambda priority: self._effective(priority, now)):
            lanes = self._levels[level].lanes
            heads = [self._first(lane, refused_until) for mode, lane in lanes.items() if mode_may(mode)]
            found = min((head for head in heads if head is not None), default=None)
            if found is not None:
                return found[3]
        return None

    def order(self, now: datetime, limit: int, also: Entry | None = None) -> list[str]:
        """Return the first `limit` jobs in the order in which they would go if nothing else changed, held ones last.

        `also` is a job that is not queued: where would it stand?
        """
        rest = FairQueue()
        rest.virtual, rest.clock, rest.served_at = dict(self.virtual), self.clock, dict(self.served_at)
        rest._running = dict(self._running)
        for entry in self._nearest(limit):
            rest.add(replace(entry, not_before=None))
        if also is not None:
            rest.add(also)
        found: list[str] = []
        while len(found) < limit and (job_id := rest.pick(now, lambda _: True, lambda _o, _j: None)) is not None:
            entry = rest._entries[job_id]
            rest.remove(job_id)
            rest.started(entry.owner, entry.priority, entry.work, now)
            rest.set_running(entry.owner, rest.running(entry.owner) + 1)
            found.append(job_id)
        return found + [job_id for _, job_id in self.held.islice(0, limit - len(found))]

    def _nearest(self, limit: int) -> Iterable[Entry]:
        """Return at least those entries that can be among the first `limit`: so many of each owner and lane."""
        for level in self._levels.values():
            for lane in level.lanes.values():
                for fifo in lane.fifo.values():
                    yield from (self._entries[job_id] for _, job_id in fifo.islice(0, limit))

    def _effective(self, priority: int, now: datetime) -> tuple[float, int]:
        oldest = self._levels[priority].ages[0][0]
        since = max(oldest, self.served_at.get(priority, oldest))
        return priority - max(0.0, (now - since).total_seconds()) / AGEING_S, priority

    def _first(self, lane: _Lane, refused_until: Refusal) -> Head | None:
        while lane.heads:
            head: Head = lane.heads[0]
            owner = head[4]
            until = refused_until(owner, head[3])
            if until is None:
                return head
            lane.heads.remove(lane.head_of.pop(owner))
            self._parked.add((until, owner))
        return None

    def _place_all(self, owner: str) -> None:
        for level in self._levels.values():
            for lane in level.lanes.values():
                if owner in lane.fifo:
                    self._place(lane, owner)

    def _place(self, lane: _Lane, owner: str) -> None:
        """Put the owner's oldest job of a lane where it belongs among the other owners' ones."""
        if (known := lane.head_of.pop(owner, None)) is not None:
            lane.heads.remove(known)
        fifo = lane.fifo[owner]
        if not fifo:
            del lane.fifo[owner]
            return
        queued_at, job_id = fifo[0]
        head = (self._running.get(owner, 0), self.virtual[owner], queued_at, job_id, owner)
        lane.head_of[owner] = head
        lane.heads.add(head)

    def _forget_idle(self, owner: str) -> None:
        if self._of_owner.get(owner) == 0:
            del self._of_owner[owner]
        if owner not in self._of_owner and not self._running.get(owner):
            self._running.pop(owner, None)
            self.virtual.pop(owner, None)
