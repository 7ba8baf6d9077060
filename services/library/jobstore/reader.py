"""The readers' side of jobs.db: read-only connections in a few threads, off the event loop.

Lives here: the list, one job, one file, counts. Rows come as stored bytes, not as models: lists splice them.
Page 1 and any keyset page of a million jobs cost about as much as their rows (asserted by query plan in tests).
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

READ_THREADS = 3
CACHE_KIB = 16 * 1024
MMAP_BYTES = 4 << 30

_PAGE = """
SELECT page.seq, page.id, jobs.value
FROM (SELECT seq, id FROM job_index WHERE {where} ORDER BY seq DESC LIMIT :limit OFFSET :offset) AS page
CROSS JOIN jobs ON jobs.key = page.id
"""
"""Ids first, from the index alone, and rows last; CROSS JOIN keeps the planner from turning that round."""

T = TypeVar("T")


@dataclass(frozen=True)
class PageQuery:
    """Which jobs, newest first: below `before` (an index sequence) if given, then `offset` skipped."""

    limit: int
    offset: int = 0
    before: int | None = None
    state: str | None = None


@dataclass(frozen=True)
class Page:
    """Stored rows by job id; `next_before` continues after the last one, None at the end; `total` is of the filter."""

    rows: list[tuple[str, bytes]]
    total: int
    next_before: int | None


@dataclass(frozen=True)
class RecordedFile:
    """An artifact that an event recorded; `path` is relative to the output root."""

    path: str
    job_id: str
    sha256: str
    size: int


def page_sql(query: PageQuery) -> tuple[str, dict[str, int | str]]:
    """Return the statement of a page and its parameters (one row more than asked for tells if there are more)."""
    conditions = ["1"]
    parameters: dict[str, int | str] = {"limit": query.limit + 1, "offset": query.offset}
    if query.state is not None:
        conditions.append("state = :state")
        parameters["state"] = query.state
    if query.before is not None:
        conditions.append("seq < :before")
        parameters["before"] = query.before
    return _PAGE.format(where=" AND ".join(conditions)), parameters


def read_page(connection: sqlite3.Connection, query: PageQuery) -> Page:
    """Read one page and the exact total from one snapshot."""
    connection.execute("BEGIN")
    try:
        rows = sorted(connection.execute(*page_sql(query)), reverse=True)
        (total,) = connection.execute(
            "SELECT coalesce(sum(n), 0) FROM job_counts WHERE :state IS NULL OR state = :state", {"state": query.state}
        ).fetchone()
    finally:
        connection.execute("COMMIT")
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    return Page([(job_id, value.encode()) for _, job_id, value in rows], total, rows[-1][0] if more else None)


def read_job(connection: sqlite3.Connection, job_id: str) -> bytes | None:
    """Return the stored row of a job."""
    row = connection.execute("SELECT value FROM jobs WHERE key = ?", (job_id,)).fetchone()
    return row[0].encode() if row else None


def read_file(connection: sqlite3.Connection, path: str) -> RecordedFile | None:
    """Return what is recorded of a path."""
    row = connection.execute("SELECT path, job_id, sha256, size FROM job_files WHERE path = ?", (path,)).fetchone()
    return RecordedFile(*row) if row else None


def read_counts(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the number of jobs in each state that has any."""
    return dict(connection.execute("SELECT state, sum(n) FROM job_counts GROUP BY state ORDER BY state"))


def read_quarantined(connection: sqlite3.Connection) -> int:
    """Return the number of events in quarantine (E7)."""
    (count,) = connection.execute("SELECT count(*) FROM quarantine").fetchone()
    return int(count)


class Reader:
    """A few threads with a read-only connection each."""

    def __init__(self, path: Path) -> None:
        """`path` must exist. Raises nothing: connections are opened at first use."""
        self._path = path
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._threads = ThreadPoolExecutor(READ_THREADS, "jobs-db-reader")

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            found = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            found.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            found.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")
            self._local.connection = found
            self._opened.append(found)
        return found

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in a reader's thread. Raises sqlite3.Error."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: query(self._connection()))

    def close(self) -> None:
        self._threads.shutdown()
        for connection in self._opened:
            connection.close()
