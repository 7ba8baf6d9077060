"""A reader's pages: which index serves them, with the planner's statistics and without. Answers are `test_queries`'."""

# ruff: noqa: F811 -- the fixtures of `test_queries` are asked for by name

import sqlite3
from typing import Any

import pytest

from services.library.jobstore import plans
from services.library.jobstore.filters import JobFilter, PageQuery
from services.library.jobstore.plans import plan_page
from services.library.jobstore.queries import rows_sql
from tests.unit.library.test_queries import (  # noqa: F401 -- fixtures
    COMBINATIONS,
    ROWS,
    check_total,
    connection,
    path,
    plan_of,
)

_ANN: dict[str, Any] = {"reader": "ann"}
_EXACT: dict[str, Any] = {"state": "DONE", "project": "Series A", "tag": "news"}
_WHOLE_TAG_KEY = "(tag=? AND audience=? AND owner=? AND archived=? AND project=? AND state=? AND mode=?)"
READERS_SHAPES = {
    "page 1": (PageQuery(50, filter=JobFilter(**_ANN)), {"job_index_audience_by_archived (audience=? AND archived=?)"}),
    "keyset": (
        PageQuery(50, before=1 << 60, filter=JobFilter(**_ANN)),
        {"job_index_audience_by_archived (audience=? AND archived=? AND rowid<?)"},
    ),
    "offset": (
        PageQuery(50, offset=200, filter=JobFilter(**_ANN)),
        {"job_index_audience_by_archived (audience=? AND archived=?)"},
    ),
    "mine": (
        PageQuery(50, filter=JobFilter(reader="ann", owner="ann")),
        {
            "job_index_audience_by_archived (audience=? AND archived=?)",
            "job_index_shared_by_archived (audience=? AND owner=? AND archived=?)",
        },
    ),
    "shared": (
        PageQuery(50, filter=JobFilter(reader="ann", shared=True)),
        {"job_index_audience_by_archived (audience=? AND archived=?)"},
    ),
    "mine, state keyset": (
        PageQuery(50, before=1 << 60, filter=JobFilter("DONE", reader="ann", owner="ann")),
        {
            "job_index_audience_by_state (audience=? AND archived=? AND state=? AND mode=? AND rowid<?)",
            "job_index_shared_by_state (audience=? AND owner=? AND archived=? AND state=? AND mode=? AND rowid<?)",
        },
    ),
    "state": (
        PageQuery(50, filter=JobFilter("DONE", reader="ann")),
        {"job_index_audience_by_state (audience=? AND archived=? AND state=? AND mode=?)"},
    ),
    "mine, state and project": (
        PageQuery(50, filter=JobFilter("DONE", project="Series A", reader="ann", owner="ann")),
        {
            "job_index_audience_by_project (audience=? AND archived=? AND project=? AND state=? AND mode=?)",
            "job_index_shared_by_project (audience=? AND owner=? AND archived=? AND project=? AND state=? AND mode=?)",
        },
    ),
    "state, project and tag": (
        PageQuery(50, filter=JobFilter(**_EXACT, **_ANN)),
        {"job_tags_audience_by_project (tag=? AND audience=? AND archived=? AND project=? AND state=? AND mode=?)"},
    ),
    "mine, tag": (
        PageQuery(50, filter=JobFilter(tag="news", reader="ann", owner="ann")),
        {
            "job_tags_audience_by_state (tag=? AND audience=? AND archived=? AND state=? AND mode=?)",
            "job_tags_shared_by_state (tag=? AND audience=? AND owner=? AND archived=? AND state=? AND mode=?)",
        },
    ),
    "mine, project and tag": (
        PageQuery(50, filter=JobFilter(project="Series A", tag="news", reader="ann", owner="ann")),
        {
            "job_tags_audience_by_project (tag=? AND audience=? AND archived=? AND project=? AND state=? AND mode=?)",
            f"job_tags_shared_by_project {_WHOLE_TAG_KEY}",
        },
    ),
}


@pytest.mark.parametrize("shape", READERS_SHAPES)
def test_a_readers_page_is_merged_from_ranges_of_one_index_each(connection: sqlite3.Connection, shape: str) -> None:
    """Of the own and of the shared jobs, each in its order: nobody else's are looked at, and nothing is sorted."""
    query, searches = READERS_SHAPES[shape]
    page = plan_page(connection, query)
    assert page.source
    steps = plan_of(connection, rows_sql(page), page.parameters)
    assert steps[-2:] == ROWS
    found = {step for step in steps[:-3] if "job" in step}
    assert all(step.startswith("SEARCH job_") and " USING COVERING INDEX " in step for step in found)
    assert {step.partition(" USING COVERING INDEX ")[2] for step in found} == searches
    assert "MERGE (UNION ALL)" in steps or len(searches) == 1
    assert not [step for step in steps if "TEMP B-TREE" in step or step.startswith("SCAN job")]


def test_no_list_of_a_reader_is_a_walk_over_all_jobs(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "FEW", 10)
    monkeypatch.setattr(plans, "MAX_STRETCHES", 1)
    for wanted in COMBINATIONS:
        page = plan_page(connection, PageQuery(20, filter=wanted))
        if page.source is not None and (wanted.reader or wanted.owner or wanted.shared):
            steps = plan_of(connection, rows_sql(page), page.parameters)
            assert not [step for step in steps if step.startswith(("SCAN job_index", "SCAN job_tags"))], wanted


@pytest.mark.parametrize("shape", READERS_SHAPES)
def test_a_total_is_added_up_and_never_counted(connection: sqlite3.Connection, shape: str) -> None:
    check_total(connection, READERS_SHAPES[shape][0])
