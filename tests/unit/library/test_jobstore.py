"""jobs.db: sqlitedict's tables, read and written by stock sqlitedict too, with an index that follows every writer."""

import json
import pickle
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlitedict import SqliteDict

from services.library.jobstore import building
from services.library.jobstore.codec import ForeignRowError
from services.library.jobstore.filters import PageQuery
from services.library.jobstore.queries import read_counts, read_file, read_page
from services.library.jobstore.reader import Reader
from services.library.jobstore.store import Cursor, JobStore
from services.library.jobstore.verify import verify


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


def row(state: str = "QUEUED", **members: Any) -> dict[str, Any]:
    return {"owner_id": "local", "state": state, "created_at": "2026-01-02T03:04:05.000Z"} | members


def made(*paths: str) -> dict[str, Any]:
    return {"outputs": [{"path": path, "sha256": "ab" * 32, "size_bytes": 7} for path in paths]}


def query(path: Path, sql: str, *parameters: Any) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.close()


def assert_index_follows(path: Path) -> None:
    """A recount from the rows equals what the triggers kept, full text and all."""
    assert verify(path).differences == []


def derived(path: Path) -> list[Any]:
    tables = ("job_index", "job_tags", "job_counts", "job_totals", "job_projects", "job_files")
    return [query(path, f"SELECT * FROM {table}") for table in tables]


def test_the_index_follows_our_writes(store: JobStore, path: Path) -> None:
    for n in range(20):
        store.jobs[f"j{n}"] = row(seq=n, title=f"film {n}", tags=["a", "b"], project_name="Series")
        store.job_outputs[f"j{n}"] = made(f"film{n}/a.mkv")
    for n in range(0, 20, 2):
        store.jobs[f"j{n}"] = row("DONE", seq=n, title="renamed", tags=["b"], archived=True)
        store.job_outputs[f"j{n}"] = made(f"film{n}/b.mkv", f"film{n}/c.mp4")
    for n in range(0, 20, 5):
        del store.jobs[f"j{n}"]
        del store.job_outputs[f"j{n}"]
    assert_index_follows(path)
    assert query(path, "SELECT path FROM job_files WHERE job_id = 'j2'") == [("film2/b.mkv",), ("film2/c.mp4",)]
    assert query(path, "SELECT count(*) FROM job_files WHERE job_id = 'j5'") == [(0,)]


def test_the_index_follows_stock_sqlitedict(store: JobStore, path: Path) -> None:
    store.jobs["ours"] = row(tags=["a"])
    with stock(path) as theirs:
        assert theirs["ours"] == row(tags=["a"])
        theirs["ours"] = row("DONE", tags=["b"], title="new words")
        theirs.update({f"j{n}": row("RUNNING", seq=n) for n in range(5)})
        del theirs["j3"]
    with stock(path, "job_outputs") as theirs:
        theirs["ours"] = made("a.mkv")
        theirs["ours"] = made("b.mkv")
    assert store.jobs["ours"]["state"] == "DONE"
    assert sorted(store.jobs) == ["j0", "j1", "j2", "j4", "ours"]
    assert_index_follows(path)
    assert query(path, "SELECT path FROM job_files") == [("b.mkv",)]
    with stock(path) as theirs:
        theirs.clear()
    assert_index_follows(path)
    assert derived(path)[:5] == [[]] * 5


def test_a_stock_client_starts_no_thread_of_ours(store: JobStore) -> None:
    """Stock SqliteDict has a thread for each table; six tables here share one connection and have none."""
    for table in (store.jobs, store.idempotency, store.presets, store.projects, store.uploads, store.job_outputs):
        table["key"] = {}
    assert not [thread for thread in threading.enumerate() if "sqlite" in type(thread).__name__.lower()]


def test_the_newest_is_the_one_made_last_by_its_own_time(store: JobStore, path: Path) -> None:
    """An import keeps its age, however late it comes."""
    store.jobs["new"] = row(seq=5, created_at="2026-05-01T00:00:00.000Z")
    store.jobs["imported"] = row(seq=9, created_at="2024-05-01T00:00:00.000Z")
    store.jobs["same ms, later"] = row(seq=6, created_at="2026-05-01T00:00:00.000Z")
    assert page(path, PageQuery(3))[0] == ["same ms, later", "new", "imported"]


def test_a_replaced_row_keeps_its_place_in_the_list(store: JobStore, path: Path) -> None:
    for n in range(3):
        store.jobs[f"j{n}"] = row()
    store.jobs["j0"] = row("DONE")
    with stock(path) as theirs:
        theirs["j1"] = row("DONE")
    assert query(path, "SELECT id FROM job_index ORDER BY place") == [("j0",), ("j1",), ("j2",)]


ODD: dict[str, Any] = {
    "nothing": {},
    "no object": 5,
    "nulls": {"state": None, "owner_id": None, "created_at": None, "seq": None, "tags": None, "archived": None},
    "other types": {"state": ["x"], "seq": "7", "created_at": 5, "tags": {"a": "b"}, "archived": "yes", "title": {}},
    "not dates": {"created_at": "now", "seq": 1.5, "tags": [1, None, "", "Film", "film"]},
    "far away": {"created_at": "9999-12-31T23:59:59.999Z", "seq": -1},
    "enum": {"state": "JobState.DONE", "created_at": "2026-01-02T03:04:05+00:00", "seq": 2**40},
}


def test_no_row_of_a_stock_client_is_refused_for_what_it_lacks(store: JobStore, path: Path) -> None:
    with stock(path) as theirs:
        for key, value in ODD.items():
            theirs[key] = row()
            theirs[key] = value
    assert query(path, "SELECT state FROM job_index WHERE id = 'enum'") == [("DONE",)]
    assert query(path, "SELECT tag FROM job_tags JOIN job_index USING (place) WHERE id = 'not dates'") == [("film",)]
    assert_index_follows(path)
    with store.bulk():
        pass
    assert_index_follows(path)
    assert sorted(page(path, PageQuery(50))[0]) == sorted(ODD)


def test_two_rows_that_claim_one_place_get_one_each(store: JobStore, path: Path) -> None:
    for n in range(4):
        store.jobs[f"j{n}"] = row(seq=(1 << 20) - 1)
    assert page(path, PageQuery(4))[:2] == (["j3", "j2", "j1", "j0"], 4)
    assert_index_follows(path)


def test_progress_alone_does_not_touch_the_index(store: JobStore, path: Path) -> None:
    with stock(path) as theirs:
        theirs["j"] = row(progress=0.1)
    watcher = sqlite3.connect(path)
    watcher.executescript(
        "CREATE TABLE touched (id); CREATE TRIGGER watch AFTER UPDATE ON job_index"
        " BEGIN INSERT INTO touched VALUES (new.id); END;"
    )
    store.jobs["j"] = row(progress=0.2, stages=[1, 2])
    store.jobs.update({"j": row(progress=0.3)})
    with stock(path) as theirs:
        theirs["j"] = row(progress=0.4)
    assert watcher.execute("SELECT * FROM touched").fetchall() == []
    store.jobs["j"] = row("DONE", progress=1.0)
    assert watcher.execute("SELECT * FROM touched").fetchall() == [("j",)]
    watcher.close()


def test_a_bulk_load_gives_what_single_writes_give(store: JobStore, path: Path, tmp_path: Path) -> None:
    rows = {f"j{n}": row(["DONE", "FAILED"][n % 2], seq=n, tags=["a", "b"][: n % 3], title=f"t{n}") for n in range(50)}
    other = JobStore(tmp_path / "bulk.db")
    with other.bulk():
        for key, value in rows.items():
            other.jobs[key] = row(seq=value["seq"])
            with other.transaction():
                other.jobs[key] = value
                other.job_outputs[key] = made(f"{key}.mkv")
                other.move_cursor("jobs", Cursor(value["seq"], "d"))
    other.close()
    for key, value in rows.items():
        store.jobs[key] = value
        store.job_outputs[key] = made(f"{key}.mkv")
    assert derived(tmp_path / "bulk.db") == derived(path)
    assert_index_follows(tmp_path / "bulk.db")


def test_a_bulk_load_that_was_killed_is_finished_at_the_next_start(store: JobStore, path: Path) -> None:
    with store._shared.exclusive() as connection:
        building.suspend(connection)
    store.jobs["j"] = row("DONE")
    store.close()
    assert not verify(path).ok
    JobStore(path).close()
    assert_index_follows(path)
    assert page(path, PageQuery(5))[:2] == (["j"], 1)


def test_a_bulk_load_that_fails_still_leaves_a_right_index(store: JobStore, path: Path) -> None:
    def half_done() -> None:
        with store.bulk():
            store.jobs["j"] = row()
            raise KeyError("interrupted")

    with pytest.raises(KeyError):
        half_done()
    store.jobs["k"] = row()
    assert_index_follows(path)


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


@pytest.mark.parametrize("table", ["jobs", "idempotency", "presets", "projects", "uploads", "job_outputs"])
@pytest.mark.parametrize("value", [pickle.dumps({"a": 1}), b"{}", "not json", "NaN", None, 5])
def test_a_pickled_row_is_refused_by_every_table(store: JobStore, path: Path, table: str, value: object) -> None:
    getattr(store, table)["key"] = {}
    raw = sqlite3.connect(path)
    for statement in (
        "INSERT INTO {} VALUES ('evil', ?)",
        "REPLACE INTO {} VALUES ('key', ?)",
        "UPDATE {} SET value = ?",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="pickled rows are refused"):
            raw.execute(statement.format(table), (value,))
    raw.close()
    assert dict(getattr(store, table)) == {"key": {}}


def test_a_pickled_row_is_never_decoded(store: JobStore, path: Path) -> None:
    raw = sqlite3.connect(path)
    raw.executescript("DROP TRIGGER presets_insert_is_json")
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


async def test_readers_see_what_is_committed(store: JobStore, path: Path) -> None:
    reader = Reader(path)
    store.jobs["j"] = row()
    store.job_outputs["j"] = made("film/a.mkv")
    assert await reader.run(read_counts) == {"QUEUED": 1}
    found = await reader.run(lambda connection: read_file(connection, "film/a.mkv"))
    assert found is not None
    assert (found.job_id, found.size) == ("j", 7)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await reader.run(lambda connection: connection.execute("DELETE FROM jobs"))
    reader.close()


async def test_readers_can_be_sent_to_a_file_that_took_the_place(store: JobStore, path: Path, tmp_path: Path) -> None:
    reader = Reader(path)
    store.jobs["old"] = row()
    assert await reader.run(read_counts) == {"QUEUED": 1}
    new = JobStore(tmp_path / "new.db")
    new.jobs["new"] = row("DONE")
    new.close()
    store.close()
    for suffix in ("-wal", "-shm"):  # of the old file: SQLite would read them into the new one
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    (tmp_path / "new.db").replace(path)
    reader.reopen()
    assert await reader.run(read_counts) == {"DONE": 1}
    reader.close()
