"""Pages of the list of jobs: which one is asked for, and its JSON.

Lives here: the cursor, and splicing stored rows. Does not live here: the filter and its SQL (`jobstore`), parameters of
HTTP (`routes.parameters`).
"""

import re
import sqlite3
from dataclasses import dataclass

from services.library.jobstore.filters import EVERY_JOB, JobFilter, Page, PageQuery
from services.library.jobstore.queries import read_page
from services.library.live import LiveProgress
from shared.problems import Problem

LIMIT_DEFAULT = 25
LIMIT_MAX = 200
OFFSET_MAX = 10**9

CURSOR_PATTERN = "^1[0-7][0-9a-f]{15}$"
"""The form of a cursor, and a place of 63 bits in it: every text of this pattern is one."""
_CURSOR = re.compile(CURSOR_PATTERN, re.ASCII)


def page_query(*, limit: int, offset: int = 0, cursor: str | None = None, wanted: JobFilter = EVERY_JOB) -> PageQuery:
    """Return which page is asked for. Raises Problem 422."""
    if cursor:
        return PageQuery(limit, 0, decode_cursor(cursor), wanted)
    return PageQuery(limit, offset, None, wanted)


@dataclass(frozen=True)
class Listing:
    """One page of jobs as JSON texts, with how to go on."""

    items: list[bytes]
    limit: int
    offset: int
    total: int
    next_offset: int | None
    next_cursor: str | None

    def encode(self) -> bytes:
        """Return the page as JSON: stored texts are spliced, not decoded."""
        next_offset = b"null" if self.next_offset is None else b"%d" % self.next_offset
        next_cursor = b"null" if self.next_cursor is None else b'"%b"' % self.next_cursor.encode()
        return b'{"items":[%b],"limit":%d,"offset":%d,"total":%d,"next_offset":%b,"next_cursor":%b}' % (
            b",".join(self.items),
            self.limit,
            self.offset,
            self.total,
            next_offset,
            next_cursor,
        )


def encode_cursor(before: int) -> str:
    """Return an opaque cursor for "below this place"."""
    return f"1{before:016x}"


def decode_cursor(cursor: str) -> int:
    """Return the place in a cursor. Raises Problem 422 for any other text."""
    if _CURSOR.fullmatch(cursor) is None:
        raise Problem(422, "invalid_cursor", "The cursor is not one that this list gave; start without it.")
    return int(cursor[1:], 16)


def read_listing(connection: sqlite3.Connection, live: LiveProgress, query: PageQuery) -> Listing:
    """Return one page, newest first, with live progress; `next_offset` only where offsets are counted."""
    page: Page = read_page(connection, query)
    items = [live.over_bytes(job_id, row) for job_id, row in page.rows] if live else [row for _, row in page.rows]
    after = page.next_before
    return Listing(
        items=items,
        limit=query.limit,
        offset=query.offset,
        total=page.total,
        next_offset=query.offset + len(items) if after is not None and query.before is None else None,
        next_cursor=None if after is None else encode_cursor(after),
    )
