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
from services.library.hub import Hub
from services.library.jobstore.filters import JobFilter
from services.library.jobstore.queries import read_job, read_outputs
from services.library.jobstore.reader import Reader
from services.library.listing import EVERY_JOB, Listing, page_query, read_listing
from services.library.live import LiveProgress
from services.library.page_reads import PageReads
from services.library.view import job_row, outputs_row
from shared.eventlog.port import EventLog
from shared.job.model import Job
from shared.layout import Layout


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
    pages: PageReads = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pages", PageReads(self.reader, self.live))


def library_of(request: Request) -> Library:
    """Return the parts that the application was made with."""
    library: Library = request.app.state.library
    return library


async def list_jobs(
    library: Library, *, limit: int, offset: int = 0, cursor: str | None = None, wanted: JobFilter = EVERY_JOB
) -> Listing:
    """Return one page of jobs, newest first. `cursor` continues a page and wins over `offset`. Raises Problem."""
    query = page_query(limit=limit, offset=offset, cursor=cursor, wanted=wanted)
    return await library.reader.run(lambda connection: read_listing(connection, library.live, query))


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


async def get_job(library: Library, job_id: str) -> dict[str, Any]:
    """Return one job with its outputs and its live progress.

    One that jobs.db does not show yet is read from the log: who has submitted it may ask at once.
    Raises Problem 404, 410 for a deleted job.
    """
    row, outputs = await library.reader.run(lambda connection: read_whole(connection, job_id))
    if row is None:
        return shown_job(await past.unlisted(library.log, job_id, connected=library.connected()))
    made = orjson.loads(outputs).get("outputs") or [] if outputs else []
    return library.live.over(orjson.loads(row)) | {"outputs": made}
