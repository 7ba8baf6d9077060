"""Whose a file is: indexed look-ups, however many jobs there are, and whether the file is the recorded one."""

import errno
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.library.file_answers import owner_of
from services.library.file_headers import content_disposition, validators
from services.library.file_owners import may_read
from services.library.files import NotServedError, OpenFile, open_below, served
from services.library.jobstore.queries import RecordedFile
from services.library.jobstore.store import JobStore
from shared import base_dirs
from tests.principals import principal

RECORDED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RECORDED = RecordedFile("film/film.mp4", "a job", "0" * 64, 1024)


def statements_of(connection: sqlite3.Connection, look_up: Callable[[], object]) -> list[str]:
    """Return what a look-up asks, parameters filled in."""
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    look_up()
    connection.set_trace_callback(None)
    return asked


def test_v10_finding_the_owner_searches_and_never_scans(tmp_path: Path) -> None:
    """The predecessor scanned up to 100,000 jobs for each range, more than a second for a step in a video."""
    store = JobStore(tmp_path / "jobs.db")
    store.close()
    connection = sqlite3.connect(tmp_path / "jobs.db")
    connection.execute("INSERT INTO job_files (path, job_id, sha256, size) VALUES ('film/film.mp4', 'a job', 'f', 1)")
    connection.commit()
    asked = statements_of(connection, lambda: owner_of(connection, "film/film.mp4"))
    assert len(asked) == 2  # the file, and when its job was recorded
    for statement in asked:
        plan = plan_of(connection, statement)
        assert plan
        assert all(step.startswith("SEARCH") for step in plan), plan
    connection.close()


def plan_of(connection: sqlite3.Connection, statement: str) -> list[str]:
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]


@pytest.fixture
def jobs_db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Ann's private job with a recorded film, and one that Bob shares."""
    store = JobStore(tmp_path / "jobs.db")
    store.jobs["a"] = {"owner_id": "ann", "base_dir": "film"}
    store.jobs["b"] = {"owner_id": "bob", "base_dir": "series/film", "visibility": "shared"}
    store.job_outputs["a"] = {"outputs": [{"path": "film/film.mp4"}]}
    store.close()
    connection = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    yield connection
    connection.close()


@pytest.mark.parametrize("statistics", ["ANALYZE", "DROP TABLE IF EXISTS sqlite_stat1"])
@pytest.mark.parametrize(("path", "most"), [("film/film.mp4", 1), ("series/film/hls/segment 1.ts", 3)])
def test_v10_asking_for_whom_a_file_is_never_scans_either(
    jobs_db: sqlite3.Connection, tmp_path: Path, path: str, most: int, statistics: str
) -> None:
    jobs_db.execute(statistics)
    asked = statements_of(jobs_db, lambda: may_read(jobs_db, tmp_path, path, principal("ann")))
    assert 0 < len(asked) <= most
    for statement in asked:
        steps = plan_of(jobs_db, statement)
        assert not [step for step in steps if step.startswith("SCAN") and "VIRTUAL TABLE" not in step], steps
    assert statements_of(jobs_db, lambda: may_read(jobs_db, tmp_path, path, principal("root", "admin"))) == []


@pytest.mark.parametrize(
    ("path", "ann", "bob"),
    [
        ("film/film.mp4", True, False),
        ("film/job.log", True, False),
        ("series/film/job.log", True, True),
        ("series/film/hls/segment 1.ts", True, True),
        ("series/notes.txt", False, False),
        ("film.txt", False, False),
        ("", False, False),
        ("film/../series/film/job.log", False, False),
        ("/film/job.log", False, False),
    ],
)
def test_for_whom_a_file_is(jobs_db: sqlite3.Connection, tmp_path: Path, path: str, ann: bool, bob: bool) -> None:
    assert may_read(jobs_db, tmp_path, path, principal("ann")) is ann
    assert may_read(jobs_db, tmp_path, path, principal("bob")) is bob
    assert may_read(jobs_db, tmp_path, path, principal("root", "admin"))


def test_a_recorded_file_of_a_job_without_a_row_is_nobodys(jobs_db: sqlite3.Connection, tmp_path: Path) -> None:
    jobs_db.execute('INSERT INTO job_outputs VALUES (\'gone\', \'{"outputs": [{"path": "series/film/a.mp4"}]}\')')
    assert not may_read(jobs_db, tmp_path, "series/film/a.mp4", principal("bob"))


def test_a_directory_whose_marker_cannot_be_read_is_nobodys(
    jobs_db: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_output: Path, _base_dir: str) -> str | None:
        raise OSError(errno.EIO, "the disk is failing")

    monkeypatch.setattr(base_dirs, "owner_of", failing)
    assert not may_read(jobs_db, tmp_path, "film/job.log", principal("ann"))


@pytest.mark.parametrize(
    ("size", "written", "strong"),
    [
        (1024, timedelta(seconds=-1), True),
        (1024, timedelta(seconds=1), True),  # the clock of a file server
        (1024, timedelta(seconds=3), False),  # replaced by a file of the same size
        (1023, timedelta(seconds=-1), False),
    ],
)
def test_the_digest_is_the_tag_of_the_recorded_file_only(size: int, written: timedelta, strong: bool) -> None:
    found = validators(OpenFile(-1, size, RECORDED_AT + written), RECORDED, RECORDED_AT)
    assert found.strong is strong
    assert (found.etag == f'"{RECORDED.sha256}"') is strong


def test_a_record_without_a_time_vouches_for_nothing() -> None:
    assert not validators(OpenFile(-1, 1024, RECORDED_AT), RECORDED, None).strong


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("film/logs/stages/tts.log", True),
        ("film/stream/0001.m4s", True),
        ("film/review/state.json", True),
        ("work/work.mp4", True),
        ("a/_state/b", True),
        ("_state/jobs.db", False),
        ("jobs/x/target.txt", False),
        ("film/.job", False),
        ("film/work/01890000-0000-7000-8000-000000000000/a.json", False),
        ("film//a", False),
        ("/etc/passwd", False),
        ("", False),
    ],
)
def test_what_is_served_at_all(path: str, allowed: bool) -> None:
    assert served(path) is allowed


def test_a_directory_that_becomes_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.txt").write_text("secret")
    (tmp_path / "root" / "film").symlink_to(tmp_path / "outside")
    with pytest.raises(NotServedError):
        open_below(tmp_path / "root", "film/a.txt")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.mp4", "inline; filename=\"a.mp4\"; filename*=UTF-8''a.mp4"),
        ("a.exe", "attachment; filename=\"a.exe\"; filename*=UTF-8''a.exe"),
        ('"a".srt', "attachment; filename=\"_a_.srt\"; filename*=UTF-8''%22a%22.srt"),
        ("é.srt", "attachment; filename=\"_.srt\"; filename*=UTF-8''%C3%A9.srt"),
        ("a\u202eb\r\n.srt", "attachment; filename=\"a_b__.srt\"; filename*=UTF-8''a_b__.srt"),
    ],
)
def test_the_name_to_save_under(name: str, value: str) -> None:
    assert content_disposition(f"film/{name}") == value
