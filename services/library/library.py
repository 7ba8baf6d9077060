"""What a request needs of the running service, and the reads that the API and the pages share.

Lives here: the one filter, the cursor of the list, and the overlay of live progress. Does not live here: HTTP.
"""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import Request

from services.library.hub import Hub
from services.library.jobstore.reader import Page, PageQuery, Reader, read_job, read_page
from services.library.live import LiveProgress
from shared.eventlog.port import EventLog
from shared.job.aggregate import JobState
from shared.layout import Layout
from shared.problems import Problem

LIMIT_DEFAULT = 25
LIMIT_MAX = 200

_CURSOR = re.compile(r"^v1:(\d{1,18})$", re.ASCII)


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


def library_of(request: Request) -> Library:
    """The dependency that every route takes."""
    library: Library = request.app.state.library
    return library


@dataclass(frozen=True)
class Listing:
    """One page of jobs as JSON texts, with how to go on."""

    items: list[bytes]
    limit: int
    offset: int
    total: int
    next_offset: int | None
    next_cursor: str | None


def encode_cursor(before: int) -> str:
    """Return an opaque cursor for "below this index sequence"."""
    return base64.urlsafe_b64encode(f"v1:{before}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    """Return the index sequence in a cursor. Raises Problem 400 for any other text."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:  # binascii's and Unicode's errors are among them
        text = ""
    match = _CURSOR.match(text)
    if match is None:
        raise Problem(400, "invalid_cursor", "The cursor is not one that this list gave; start without it.")
    return int(match[1])


async def list_jobs(
    library: Library, *, limit: int, offset: int = 0, cursor: str | None = None, state: JobState | None = None
) -> Listing:
    """Return one page of jobs, newest first. `cursor` continues a page and wins over `offset`. Raises Problem."""
    before = decode_cursor(cursor) if cursor else None
    query = PageQuery(limit, 0 if cursor else offset, before, state.value if state else None)
    page: Page = await library.reader.run(lambda connection: read_page(connection, query))
    items = [library.live.over_bytes(job_id, row) for job_id, row in page.rows]
    more = page.next_before is not None
    return Listing(
        items=items,
        limit=limit,
        offset=query.offset,
        total=page.total,
        next_offset=offset + len(items) if more and not cursor else None,
        next_cursor=encode_cursor(page.next_before) if page.next_before is not None else None,
    )


async def get_job(library: Library, job_id: str) -> dict[str, Any]:
    """Return one job with its live progress. Raises Problem 404."""
    row = await library.reader.run(lambda connection: read_job(connection, job_id))
    if row is None:
        raise Problem(404, "job_not_found", "There is no job with this id.")
    return library.live.over(orjson.loads(row))
