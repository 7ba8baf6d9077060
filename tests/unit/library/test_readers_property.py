"""Whatever jobs there are and however they change hands: a reader's lists are a filter over all rows, said slowly."""

import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.library.jobstore.filters import JobFilter, PageQuery
from services.library.jobstore.queries import read_audiences, read_counts, read_page, read_tags
from services.library.jobstore.store import JobStore

KEYS = [f"job-{number}" for number in range(9)]
PEOPLE = ["ann", "bob", "cid"]
ROWS = st.fixed_dictionaries(
    {
        "owner_id": st.sampled_from([*PEOPLE, "*", "", None]),
        "visibility": st.sampled_from(["private", "shared", None, "public"]),
        "state": st.sampled_from(["DONE", "QUEUED"]),
        "mode": st.sampled_from(["high", "low"]),
        "project_name": st.sampled_from([None, "Series", "Serious"]),
        "title": st.sampled_from(["harbour", "garden"]),
        "tags": st.lists(st.sampled_from(["news", "kids"]), unique=True),
        "archived": st.booleans(),
    }
)
WRITES = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | ROWS), min_size=1, max_size=40)
FILTERS = st.builds(
    JobFilter,
    state=st.sampled_from([None, "DONE"]),
    text=st.sampled_from([None, "arb", "ar"]),
    project=st.sampled_from([None, "ser", "series"]),
    mode=st.sampled_from([None, "low"]),
    tag=st.sampled_from([None, "news"]),
    include_archived=st.booleans(),
    reader=st.sampled_from([None, *PEOPLE]),
    owner=st.sampled_from([None, *PEOPLE]),
    shared=st.booleans(),
)


def sees(reader: str | None, row: dict[str, Any]) -> bool:
    return reader is None or row["owner_id"] == reader or row["visibility"] == "shared"


def matches(row: dict[str, Any], wanted: JobFilter) -> bool:
    return all(
        [
            sees(wanted.reader, row),
            wanted.owner in {None, row["owner_id"]},
            not wanted.shared or row["visibility"] == "shared",
            wanted.include_archived or not row["archived"],
            wanted.state in {None, row["state"]},
            wanted.mode in {None, row["mode"]},
            wanted.tag is None or wanted.tag in row["tags"],
            (wanted.project or "").lower() in (row["project_name"] or "").lower(),
            (wanted.text or "") in row["title"],
        ]
    )


def pages(connection: sqlite3.Connection, wanted: JobFilter) -> tuple[list[str], set[int]]:
    """Return what is found going from page to page, and every total that was told on the way."""
    seen: list[str] = []
    totals: set[int] = set()
    before = None
    while True:
        page = read_page(connection, PageQuery(3, before=before, filter=wanted))
        seen += [key for key, _ in page.rows]
        totals.add(page.total)
        before = page.next_before
        if before is None:
            return seen, totals


@settings(max_examples=30)
@given(WRITES, st.lists(FILTERS, min_size=12, max_size=12))
def test_pages_totals_states_and_tags_are_those_of_a_filter_over_all_rows(
    writes: list[tuple[str, dict[str, Any] | None]], filters: list[JobFilter]
) -> None:
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "jobs.db"
        store = JobStore(path)
        with store.transaction():
            for key, row in writes:
                if row is None:
                    rows.pop(key, None)
                    store.jobs.pop(key, None)
                else:
                    seq = int(key.removeprefix("job-")) + 1
                    rows[key] = row | {"id": key, "seq": seq, "created_at": "2026-01-02T03:04:05.000Z"}
                    store.jobs[key] = rows[key]
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for wanted in filters:
                right = [key for key in sorted(rows, reverse=True) if matches(rows[key], wanted)]
                assert pages(connection, wanted) == (right, {len(right)}), wanted
                for offset in range(0, len(right), 2):
                    page = read_page(connection, PageQuery(2, offset, filter=wanted))
                    assert [key for key, _ in page.rows] == right[offset : offset + 2]
                whose = JobFilter(reader=wanted.reader, owner=wanted.owner, shared=wanted.shared)
                shown = [row for row in rows.values() if matches(row, whose)]
                assert read_counts(connection, whose) == Counter(row["state"] for row in shown)
                assert dict(read_tags(connection, 9, whose)) == Counter(tag for row in shown for tag in row["tags"])
            audiences = read_audiences(connection, KEYS)
            for reader in PEOPLE:
                assert {key for key, row in rows.items() if sees(reader, row)} == {
                    key for key, audience in audiences.items() if audience in ("*", reader)
                }
        store.close()
