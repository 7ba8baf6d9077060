"""A jobs.db of the version before there were readers: its rows stay, what is derived from them is made anew."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from services.library.jobstore.filters import JobFilter, PageQuery
from services.library.jobstore.queries import read_counts, read_page, read_presets, read_projects, read_tags
from services.library.jobstore.schema import JOBS_PROJECTION, SCHEMA_VERSION
from services.library.jobstore.store import Cursor, JobStore, open_store
from services.library.jobstore.verify import reindex, verify

TABLES = (Path(__file__).parent / "jobs_db_v3.sql").read_text()


def row(number: int, owner: str, visibility: str) -> dict[str, Any]:
    return {
        "id": f"j{number}", "seq": number, "owner_id": owner, "visibility": visibility, "title": f"film {number}",
        "state": "DONE", "mode": "high", "tags": [owner], "archived": False, "base_dir": f"film {number}",
        "created_at": "2026-01-02T03:04:05.000Z",
    }  # fmt: skip


ROWS = [row(1, "ann", "private"), row(2, "bob", "private"), row(3, "bob", "shared")]


@pytest.fixture(params=[3, -3], ids=["kept", "in the middle of a rebuild"])
def old(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "jobs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)
        if request.param < 0:
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                connection.execute(f"DROP TRIGGER {name}")
        connection.executemany("INSERT INTO jobs VALUES (?, ?)", [(each["id"], json.dumps(each)) for each in ROWS])
        connection.execute("INSERT INTO projector VALUES (?, 9, 'digest')", (JOBS_PROJECTION,))
        connection.execute(f"PRAGMA user_version = {request.param}")
        connection.commit()
    return path


def seen_by(path: Path, reader: str) -> tuple[list[str], int, dict[str, int], list[tuple[str, int]]]:
    wanted = JobFilter(reader=reader)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        page = read_page(connection, PageQuery(9, filter=wanted))
        ids = [job_id for job_id, _ in page.rows]
        return ids, page.total, read_counts(connection, wanted), read_tags(connection, 9, wanted)


def test_it_is_opened_without_reading_the_log_again(old: Path) -> None:
    store = open_store(old)
    assert store.cursor(JOBS_PROJECTION) == Cursor(9, "digest")
    store.jobs["j4"] = row(4, "ann", "private")
    store.close()
    assert not old.with_name("jobs.db.aside").exists()
    assert verify(old).differences == []
    assert seen_by(old, "ann") == (["j4", "j3", "j1"], 3, {"DONE": 3}, [("ann", 2), ("bob", 1)])
    assert seen_by(old, "cid") == (["j3"], 1, {"DONE": 1}, [("bob", 1)])


def test_verify_says_so_and_a_reindex_makes_it_of_this_version(old: Path) -> None:
    (said, *rest) = verify(old).differences
    assert said.endswith(f"and not {SCHEMA_VERSION}")
    assert rest == []
    reindex(old)
    assert verify(old).differences == []
    JobStore(old).close()
    assert seen_by(old, "bob") == (["j3", "j2"], 2, {"DONE": 2}, [("bob", 2)])


def test_a_project_and_a_preset_that_were_saved_before_profiles_have_an_empty_one(old: Path) -> None:
    store = open_store(old)
    store.projects["p1"] = {"id": "p1", "owner_id": "ann", "name": "Films"}
    store.projects["p2"] = {"id": "p2", "owner_id": "ann", "name": "Later", "profile": {"mix": "legacy"}}
    store.presets["q1"] = {"id": "q1", "owner_id": "ann", "name": "Fast"}
    store.close()
    with closing(sqlite3.connect(old)) as connection:
        rows = [json.loads(row) for read in (read_projects, read_presets) for row in read(connection, "ann")]
    assert [row["profile"] for row in rows] == [{}, {"mix": "legacy"}, {}]
