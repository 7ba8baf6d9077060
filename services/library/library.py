"""What a request needs of the running service, and the reads of jobs.db that the API and the pages share.

Lives here: one job with its outputs and live progress. Does not live here: pages of the list (`listing`), SQL
(`jobstore.queries`), what only the log knows (`past`), HTTP.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import Request

from services.library import past
from services.library.audiences import Audiences
from services.library.committed import Committed
from services.library.hub import Hub
from services.library.jobstore.queries import read_job, read_outputs
from services.library.jobstore.reader import Reader
from services.library.live import LiveProgress
from services.library.page_reads import PageReads
from services.library.readers import sees_row
from services.library.view import job_row, outputs_row
from shared.access.principal import Principal
from shared.eventlog.port import EventLog
from shared.job.model import Job
from shared.layout import Layout
from shared.sealing.vault import Vault


@dataclass(frozen=True)
class Library:
    """The parts of a running library service."""

    layout: Layout
    log: EventLog
    reader: Reader
    live: LiveProgress
    hub: Hub
    connected: Callable[[], bool]
    """Whether the broker is reachable now; reads answer without it."""
    vault: Vault | None = None
    """What opens files that are encrypted at rest."""
    pages: PageReads = field(init=False)
    audiences: Audiences = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pages", PageReads(self.reader, self.live))
        object.__setattr__(self, "audiences", Audiences(self.reader, self.log))

    def publish(self, committed: Committed) -> None:
        """Tell the streams of a committed batch, first of all who may be told. On the event loop."""
        self.audiences.hear(committed)
        self.hub.publish(committed)


def library_of(request: Request) -> Library:
    """Return the parts that the application was made with."""
    library: Library = request.app.state.library
    return library


def shown_job(job: Job) -> dict[str, Any]:
    """Return a folded job as one JSON object: what its row says, with what it made."""
    made = outputs_row(job)
    return job_row(job) | {"outputs": made["outputs"] if made else []}


def read_whole(connection: sqlite3.Connection, job_id: str) -> tuple[bytes | None, bytes | None]:
    """Return the row of a job and that of its outputs, of one moment."""
    connection.execute("BEGIN")
    try:
        return read_job(connection, job_id), read_outputs(connection, job_id)
    finally:
        connection.execute("COMMIT")


async def get_job(library: Library, job_id: str, who: Principal) -> dict[str, Any]:
    """Return one job with its outputs and its live progress, if `who` may read it.

    One that jobs.db does not show them (yet) is read from the log: who has submitted it may ask at once, and a job of
    another's is looked for no longer and no shorter than one that never was.
    Raises Problem 404, 410 for a deleted job.
    """
    row, outputs = await library.reader.run(lambda connection: read_whole(connection, job_id))
    found = None if row is None else orjson.loads(row)
    if found is None or not sees_row(who, found):
        return shown_job(await past.unlisted(library.log, job_id, who, connected=library.connected()))
    made = orjson.loads(outputs).get("outputs") or [] if outputs else []
    return library.live.over(found) | {"outputs": made}
