"""Reading jobs.db: functions of a read-only connection, each from one snapshot.

Lives here: a page with its exact total, one job, its outputs, one file, projects, presets, counts, tags. Rows come
as stored bytes, not as models: lists splice them. Does not live here: which index serves a filter (`plans`), threads
(`reader`).
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services.library.jobstore.filters import EVERY_JOB, JobFilter, Page, PageQuery
from services.library.jobstore.plans import Plan, plan_page
from services.library.jobstore.schema import ALL_JOBS
from services.library.jobstore.shelves import shelves_of

_ROWS = """
SELECT page.place, job_index.id, jobs.value
FROM ({source}) AS page
CROSS JOIN job_index ON job_index.place = page.place
CROSS JOIN jobs ON jobs.key = job_index.id
"""
"""Places first, from an index alone, and rows last; CROSS JOIN keeps the planner from turning that round."""


_OWNER = """
SELECT job_index.id, job_index.owner
FROM json_each(?) AS above
CROSS JOIN job_index INDEXED BY job_index_by_base_dir
WHERE job_index.base_dir = above.value AND job_index.base_dir <> ''
ORDER BY above.key, job_index.place DESC LIMIT 1
"""
"""A job may lie in a directory of another's: the deepest one is the owner."""


_AUDIENCES = """
SELECT job_index.id, job_index.audience
FROM json_each(?) AS asked CROSS JOIN job_index INDEXED BY sqlite_autoindex_job_index_1 ON job_index.id = asked.value
"""


@dataclass(frozen=True)
class RecordedFile:
    """An artifact that an event recorded; `path` is relative to the output root."""

    path: str
    job_id: str
    sha256: str
    size: int


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def rows_sql(plan: Plan) -> str:
    """Return the statement that reads the rows of a plan."""
    return _ROWS.format(source=plan.source)


def read_page(connection: sqlite3.Connection, query: PageQuery) -> Page:
    """Read one page, newest first, and the exact total of its filter. Raises sqlite3.Error."""
    with _snapshot(connection):
        plan = plan_page(connection, query)
        if plan.source is None:
            return Page([], plan.total, None)
        rows = sorted(connection.execute(rows_sql(plan), plan.parameters), reverse=True)
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    return Page([(job_id, value.encode()) for _, job_id, value in rows], plan.total, rows[-1][0] if more else None)


def read_job(connection: sqlite3.Connection, job_id: str) -> bytes | None:
    """Return the stored row of a job."""
    return _value(connection, "jobs", job_id)


def read_outputs(connection: sqlite3.Connection, job_id: str) -> bytes | None:
    """Return the stored row of what a job made."""
    return _value(connection, "job_outputs", job_id)


def _value(connection: sqlite3.Connection, table: str, key: str) -> bytes | None:
    row = connection.execute(f"SELECT value FROM {table} WHERE key = ?", (key,)).fetchone()  # noqa: S608 -- our names
    return row[0].encode() if row else None


def read_file(connection: sqlite3.Connection, path: str) -> RecordedFile | None:
    """Return what is recorded of a path."""
    row = connection.execute("SELECT path, job_id, sha256, size FROM job_files WHERE path = ?", (path,)).fetchone()
    return RecordedFile(*row) if row else None


def read_owner(connection: sqlite3.Connection, path: str) -> tuple[str, str] | None:
    """Return the id and the owner of the job whose base dir has a path, however deep; None if it is no job's."""
    parts = path.split("/")
    above = ["/".join(parts[:depth]) for depth in range(len(parts), 0, -1)]
    found: tuple[str, str] | None = connection.execute(_OWNER, (json.dumps(above),)).fetchone()
    return found


def read_projects(connection: sqlite3.Connection, owner: str | None = None) -> list[bytes]:
    """Return the stored rows of an owner's projects, or of all (None), in the order of their names."""
    return _all(connection, "projects", owner)


def read_presets(connection: sqlite3.Connection, owner: str | None = None) -> list[bytes]:
    """Return the stored rows of an owner's presets, or of all (None), in the order of their names."""
    return _all(connection, "presets", owner)


def _all(connection: sqlite3.Connection, table: str, owner: str | None) -> list[bytes]:
    found = connection.execute(  # a row of one of SAME_ROWS has no profile
        f"SELECT json_insert(value, '$.profile', json('{{}}')) FROM {table}"  # noqa: S608 -- literals of this module
        " WHERE :owner IS NULL OR json_extract(value, '$.owner_id') = :owner"
        " ORDER BY json_extract(value, '$.name') COLLATE NOCASE, key",
        {"owner": owner},
    )
    return [value.encode() for (value,) in found]


def read_audiences(connection: sqlite3.Connection, job_ids: Iterable[str]) -> dict[str, str]:
    """Return who sees each of these jobs besides administrators: its owner, or everybody (`EVERYBODY`)."""
    asked = json.dumps(list(job_ids))
    return dict(connection.execute(_AUDIENCES, (asked,)))


def read_counts(connection: sqlite3.Connection, wanted: JobFilter = EVERY_JOB) -> dict[str, int]:
    """Return the number of jobs in each state that has any, without the archived ones.

    Of a filter, whose they are is asked for and nothing else; the same for `read_tags`.
    """
    shelves, names = _shelves(wanted)
    return dict(
        connection.execute(
            f"SELECT state, sum(n) FROM job_totals WHERE shelf IN ({shelves}) AND tag = ? AND archived = 0"  # noqa: S608 -- literals of this module
            " GROUP BY state",
            (*names, ALL_JOBS),
        )
    )


def read_tags(connection: sqlite3.Connection, limit: int, wanted: JobFilter = EVERY_JOB) -> list[tuple[str, int]]:
    """Return the most used tags of jobs that are not archived, each with its number of jobs."""
    shelves, names = _shelves(wanted)
    return connection.execute(
        f"SELECT tag, sum(n) AS total FROM job_totals WHERE shelf IN ({shelves}) AND tag > ? AND archived = 0"  # noqa: S608 -- literals of this module
        " GROUP BY tag ORDER BY total DESC, tag LIMIT ?",
        (*names, ALL_JOBS, limit),
    ).fetchall()


def _shelves(wanted: JobFilter) -> tuple[str, list[str]]:
    """Return a list of placeholders, and the names of the shelves that they are for."""
    names = [shelf.name for shelf in shelves_of(wanted)]
    return ", ".join("?" * len(names)), names


def read_quarantined(connection: sqlite3.Connection) -> int:
    """Return the number of events in quarantine (E7)."""
    (count,) = connection.execute("SELECT count(*) FROM quarantine").fetchone()
    return int(count)
