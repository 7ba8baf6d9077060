"""What pages read from jobs.db beyond what the API answers: one visit to a reader's thread for each page.

Lives here: the list with its chips and selects, and rows that lack members. Does not live here: SQL
(`services.library.jobstore`), HTML.
"""

import sqlite3
from dataclasses import dataclass, replace
from typing import Any

import orjson

from services.library.jobstore.filters import JobFilter, PageQuery
from services.library.jobstore.plans import plan_page
from services.library.jobstore.queries import read_presets, read_projects, read_tags
from services.library.listing import read_listing
from services.library.live import LiveProgress
from services.library.view import JobView
from shared.job.model import JobState

TAGS_OFFERED = 100
"""Tags that a select offers, the most used ones; any other can be in the address."""

Row = dict[str, Any]

_LACKING: Row = dict.fromkeys(JobView.model_fields) | {
    "base_dir": "", "outputs": [], "tags": [], "archived": False, "visibility": "private", "imported": False,
    "state": JobState.QUEUED.value, "progress": 0.0, "message": "", "mode": "medium", "requested_mode": "medium",
    "degraded": [], "settings": {}, "pause_requested": False, "src_lang": "", "tgt_lang": "", "duration_s": 0.0,
    "width": 0, "height": 0, "run": 1, "version": 0, "issues": [], "stages": [], "outputs_summary": [],
}  # fmt: skip


@dataclass(frozen=True)
class Choices:
    """What a form offers: rows of projects and presets by name, and tags with their number of jobs."""

    projects: list[Row]
    presets: list[Row]
    tags: list[tuple[str, int]]


@dataclass(frozen=True)
class JobsRead:
    """One page of the list. `counts` are of the filter without its state; None where counting would mean searching."""

    jobs: list[Row]
    total: int
    next_cursor: str | None
    counts: dict[JobState, int] | None
    choices: Choices


def complete(row: Row) -> Row:
    """Return a row with every member that pages show: one of a foreign writer may lack any but its id."""
    known = {name: value for name, value in row.items() if value is not None}
    return _LACKING | {"title": row.get("id")} | known


def read_jobs(connection: sqlite3.Connection, live: LiveProgress, query: PageQuery) -> JobsRead:
    """Return one page of the list and all that stands around it. Raises sqlite3.Error."""
    listing = read_listing(connection, live, query)
    return JobsRead(
        jobs=[complete(row) for item in listing.items if (row := orjson.loads(item)).get("id")],
        total=listing.total,
        next_cursor=listing.next_cursor,
        counts=None if query.filter.text else _count_states(connection, query.filter),
        choices=read_choices(connection, query.filter.reader),
    )


def read_choices(connection: sqlite3.Connection, reader: str | None) -> Choices:
    """Return the reader's projects and presets (None: all), and the tags of what they see. Raises sqlite3.Error."""
    return Choices(
        projects=[orjson.loads(row) for row in read_projects(connection, reader)],
        presets=[orjson.loads(row) for row in read_presets(connection, reader)],
        tags=read_tags(connection, TAGS_OFFERED, JobFilter(reader=reader)),
    )


def _count_states(connection: sqlite3.Connection, wanted: JobFilter) -> dict[JobState, int]:
    """Return how many jobs of a filter are in each state that has any, from the counting tables."""
    totals = {
        state: plan_page(connection, PageQuery(1, filter=replace(wanted, state=state.value))).total
        for state in JobState
    }
    return {state: total for state, total in totals.items() if total}
