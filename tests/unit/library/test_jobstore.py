"""jobs.db: sqlitedict's tables, read and written by stock sqlitedict too, with an index that follows every writer."""

import json
import pickle
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlitedict import SqliteDict

from services.library.jobstore.codec import ForeignRowError
from services.library.jobstore.reader import PageQuery, Reader, page_sql, read_counts, read_file, read_page
from services.library.jobstore.store import JobStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path: Path) -> Iterator[JobStore]:
    opened = JobStore(path)
    yield opened
    opened.close()


def stock(path: Path, table: str = "jobs", **options: Any) -> SqliteDict:
    codec: dict[str, Any] = {"encode": json.dumps, "decode": json.loads, "journal_mode": "WAL", "autocommit": True}
    return SqliteDict(str(path), table, **(codec | options))


def row(state: str = "QUEUED", owner: str = "local", files: tuple[str, ...] = ()) -> dict[str, Any]:
    outputs = [{"path": name, "sha256": "ab" * 32, "size_bytes": 7} for name in files]
    return {"owner_id": owner, "state": state, "created_at": "2026-01-02T03:04:05.000Z", "outputs": outputs}


def query(path: Path, sql: str, *parameters: Any) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.close()


def assert_index_follows(path: Path) -> None:
    """A recount from the rows equals what the triggers kept."""
    rows = {key: json.loads(value) for key, value in query(path, "SELECT key, value FROM jobs")}
    indexed = {job: (owner, state) for job, owner, state in query(path, "SELECT id, owner, state FROM job_index")}
    assert indexed == {key: (value["owner_id"], value["state"]) for key, value in rows.items()}
    counted = {(owner, state): n for owner, state, n in query(path, "SELECT owner, state, n FROM job_counts")}
    assert counted == Counter(indexed.values())
    files = set(query(path, "SELECT path, job_id FROM job_files"))
    assert files == {(output["path"], key) for key, value in rows.items() for output in value["outputs"]}


def test_the_index_follows_our_writes(store: JobStore, path: Path) -> None:
    for n in range(20):
        store.jobs[f"j{n}"] = row(files=(f"film{n}/a.mkv",))
    for n in range(0, 20, 2):
        store.jobs[f"j{n}"] = row("DONE", files=(f"film{n}/b.mkv", f"film{n}/c.mp4"))
    for n in range(0, 20, 5):
        del store.jobs[f"j{n}"]
    assert_index_follows(path)


def test_the_index_follows_stock_sqlitedict(store: JobStore, path: Path) -> None:
    store.jobs["ours"] = row()
    with stock(path) as theirs:
        assert theirs["ours"] == row()
        theirs["ours"] = row("DONE", files=("a.mkv",))
        theirs.update({f"j{n}": row("RUNNING") for n in range(5)})
        del theirs["j3"]
    assert store.jobs["ours"]["state"] == "DONE"
    assert sorted(store.jobs) == ["j0", "j1", "j2", "j4", "ours"]
    assert_index_follows(path)
    with stock(path) as theirs:
        theirs.clear()
    assert_index_follows(path)


def test_a_replaced_row_keeps_its_place_in_the_list(store: JobStore, path: Path) -> None:
    for n in range(3):
        store.jobs[f"j{n}"] = row()
    store.jobs["j0"] = row("DONE")
    with stock(path) as theirs:
        theirs["j1"] = row("DONE")
    assert query(path, "SELECT id FROM job_index ORDER BY seq") == [("j0",), ("j1",), ("j2",)]


@pytest.mark.parametrize("table", ["jobs", "idempotency", "presets", "projects", "uploads", "job_outputs"])
def test_every_table_is_in_sqlitedicts_format(store: JobStore, path: Path, table: str) -> None:
    getattr(store, table)["key"] = row()
    with stock(path, table) as theirs:
        assert dict(theirs.items()) == {"key": row()}


def test_writes_of_several_tables_are_one_unit(store: JobStore) -> None:
    def half_done() -> None:
        with store.transaction():
            store.jobs["j"] = row()
            store.presets["p"] = {"name": "p"}
            raise KeyError("interrupted")

    with pytest.raises(KeyError):
        half_done()
    assert (len(store.jobs), len(store.presets)) == (0, 0)


def test_a_pickled_row_is_refused_by_the_index(store: JobStore, path: Path) -> None:
    raw = sqlite3.connect(path)
    with pytest.raises(sqlite3.OperationalError, match="JSON"):
        raw.execute("INSERT INTO jobs VALUES ('evil', ?)", (pickle.dumps(row()),))
    raw.close()
    assert "evil" not in store.jobs


def test_a_pickled_row_is_never_decoded(store: JobStore, path: Path) -> None:
    raw = sqlite3.connect(path)
    raw.execute("INSERT INTO presets VALUES ('evil', ?)", (pickle.dumps(row()),))
    raw.execute("INSERT INTO presets VALUES ('text', 'not json')")
    raw.commit()
    raw.close()
    for key in ("evil", "text"):
        with pytest.raises(ForeignRowError):
            store.presets[key]


def test_the_file_survives_a_stock_reader_that_is_open_meanwhile(store: JobStore, path: Path) -> None:
    with stock(path) as theirs:
        assert list(theirs) == []
        store.jobs["j"] = row()
        assert list(theirs) == ["j"]


def page(path: Path, wanted: PageQuery) -> tuple[list[str], int, int | None]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        found = read_page(connection, wanted)
    finally:
        connection.close()
    return [job_id for job_id, _ in found.rows], found.total, found.next_before


def test_pages_go_from_the_newest_to_the_oldest_without_loss(store: JobStore, path: Path) -> None:
    with store.transaction():
        for n in range(10):
            store.jobs[f"j{n}"] = row("DONE" if n % 2 else "QUEUED")
    seen: list[str] = []
    before = None
    while True:
        ids, total, before = page(path, PageQuery(3, before=before))
        assert total == 10
        seen += ids
        if before is None:
            break
    assert seen == [f"j{n}" for n in reversed(range(10))]
    assert page(path, PageQuery(2, offset=1, state="DONE")) == (["j7", "j5"], 5, 6)
    assert page(path, PageQuery(5, state="DONE"))[2] is None
    assert page(path, PageQuery(5, state="FAILED")) == ([], 0, None)


@pytest.mark.parametrize(
    "wanted",
    [PageQuery(25), PageQuery(25, before=500), PageQuery(25, state="DONE"), PageQuery(25, before=500, state="DONE")],
    ids=["first", "deep", "state", "state deep"],
)
def test_a_page_is_read_from_the_index_and_nothing_is_sorted(store: JobStore, path: Path, wanted: PageQuery) -> None:
    with store.transaction():
        for n in range(1000):
            store.jobs[f"j{n}"] = row("DONE" if n % 3 else "QUEUED")
    sql, parameters = page_sql(wanted)
    connection = sqlite3.connect(path)
    for analysed in (False, True):
        if analysed:
            connection.execute("ANALYZE")
        plan = [step[3] for step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
        text = "\n".join(plan)
        assert "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (key=?)" in text
        assert "TEMP B-TREE" not in text
        if wanted.state:
            assert "job_index USING COVERING INDEX job_index_by_state (state=?" in text
        elif wanted.before:
            assert "SEARCH job_index USING INTEGER PRIMARY KEY (rowid<?)" in text
    connection.close()


async def test_readers_see_what_is_committed(store: JobStore, path: Path) -> None:
    reader = Reader(path)
    store.jobs["j"] = row(files=("film/a.mkv",))
    assert await reader.run(read_counts) == {"QUEUED": 1}
    found = await reader.run(lambda connection: read_file(connection, "film/a.mkv"))
    assert found is not None
    assert (found.job_id, found.size) == ("j", 7)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await reader.run(lambda connection: connection.execute("DELETE FROM jobs"))
    reader.close()
