"""Who may read what an event is about: known of the newest jobs, projects and presets, found out for any other.

Lives here: the audience of a thing by its id. Every client of a stream is asked for at every event, so the answer is
one look into a dictionary; jobs.db is asked for what is not in it, and the log for what has no row (a deleted job, a
project). Does not live here: what is sent (`follower`), single reads, which look at the row itself
(`readers`), and lists, which the index answers (`jobstore.shelves`).

It is always the audience of now: while a job is private its whole past is, and once it is shared all of it may be read.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from services.library.committed import Committed
from services.library.jobstore.queries import read_audiences
from services.library.jobstore.reader import Reader
from shared.access.principal import EVERYBODY
from shared.eventlog.job_history import load_job
from shared.eventlog.port import EventLog
from shared.events.library import JobVisibilityChanged, PresetSaved, ProjectSaved, Visibility
from shared.events.subjects import preset_subject, project_subject
from shared.identity import is_job_id

KEPT = 20_000
"""Things whose audience is in memory, about 5 MB."""

NOBODY = ""
"""The audience of what has no owner: administrators alone."""


def audience_of(owner: str, visibility: Visibility) -> str:
    """Return who sees a job besides administrators: its owner, or everybody."""
    return EVERYBODY if visibility == "shared" else kept_by(owner)


def kept_by(owner: str) -> str:
    """Return the audience of what its owner keeps private; a name that means everybody is no owner's."""
    return NOBODY if owner == EVERYBODY else owner


def aggregate_of(subject: str) -> str:
    """Return the project or preset that an event subject belongs to, by id."""
    return subject.rpartition(".")[2]


def sees(reader: str | None, audience: str | None) -> bool:
    """Return whether a reader sees what has this audience; an administrator (None) sees all, others nothing unknown."""
    return reader is None or audience == EVERYBODY or (audience == reader and audience != NOBODY)


class Audiences:
    """The audience of each job, project and preset by id. Lives on the event loop."""

    def __init__(self, reader: Reader, log: EventLog) -> None:
        self._reader = reader
        self._log = log
        self._known: OrderedDict[str, str] = OrderedDict()
        self._forgotten = 0
        self._asking = asyncio.Lock()

    def hear(self, committed: Committed) -> None:
        """Take what a committed batch says. Call it before anybody is told of the batch."""
        present = {job.id: audience_of(job.submitted.owner, job.visibility) for job in committed.jobs}
        for recorded in committed.batch:
            event = recorded.event
            if isinstance(event, ProjectSaved | PresetSaved):
                self._keep(aggregate_of(recorded.subject), kept_by(event.data.owner))
            elif isinstance(event, JobVisibilityChanged) and event.subject not in present:
                self._known.pop(event.subject, None)  # it was deleted in the same batch: the log knows
                self._forgotten += 1
        for job_id, audience in present.items():
            self._keep(job_id, audience)

    def get(self, thing: str) -> str | None:
        """Return the audience of a job, project or preset; None if it has to be found out first."""
        return self._known.get(thing)

    async def find(self, things: Iterable[str]) -> None:
        """Find out those that are not known, so that `get` has them. Raises sqlite3.Error, LogUnavailableError."""
        wanted = list(dict.fromkeys(thing for thing in things if thing not in self._known))
        if not wanted:
            return
        async with self._asking:  # thousands of clients that come back at once ask the same
            while unknown := [thing for thing in wanted if thing not in self._known]:
                forgotten = self._forgotten
                found = await self._found_out(unknown)
                if forgotten == self._forgotten:  # else what was found may be from before
                    for thing in unknown:
                        if thing not in self._known:  # what was heard meanwhile is newer
                            self._keep(thing, found[thing])

    async def _found_out(self, things: list[str]) -> dict[str, str]:
        jobs = [thing for thing in things if is_job_id(thing)]
        found = await self._reader.run(lambda connection: read_audiences(connection, jobs)) if jobs else {}
        for thing in things:
            if thing not in found:
                found[thing] = await _from_log(self._log, thing)
        return found

    def _keep(self, thing: str, audience: str) -> None:
        self._known[thing] = audience
        self._known.move_to_end(thing)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)


async def _from_log(log: EventLog, thing: str) -> str:
    """Return the audience of what has no row, by its events. Raises LogUnavailableError."""
    if is_job_id(thing):
        job, _ = await load_job(log, thing)
        return NOBODY if job is None else audience_of(job.submitted.owner, job.visibility)
    for subject in (project_subject(thing), preset_subject(thing)):
        for recorded in await log.read(subject, limit=1):
            if isinstance(recorded.event, ProjectSaved | PresetSaved):
                return kept_by(recorded.event.data.owner)
    return NOBODY
