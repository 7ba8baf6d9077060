"""`verify` names what differs from the rows without writing to the file; `reindex` repairs it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.library.jobstore.store import JobStore
from services.library.jobstore.verify import reindex, verify


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A store that is in use meanwhile."""
    path = tmp_path / "jobs.db"
    store = JobStore(path)
    for n in range(3):
        store.jobs[f"j{n}"] = {
            "seq": n,
            "owner_id": "u",
            "title": f"film {n}",
            "state": "DONE",
            "tags": ["a"],
            "project_name": "P",
        }
        store.job_outputs[f"j{n}"] = {"outputs": [{"path": f"{n}.mkv", "sha256": "ab", "size_bytes": 1}]}
    yield path
    store.close()


DAMAGE = {
    "job_index: 1 wrong: 'j1'": "DELETE FROM job_index WHERE id = 'j1'",
    "job_index: 1 wrong: 'j2'": "UPDATE job_index SET txt = 'other' WHERE id = 'j2'",
    "job_index: 1 wrong: 'j0'": "UPDATE job_index SET place = place + (5000 << 20) WHERE id = 'j0'",
    "job_index: 1 wrong: 'ghost'": "INSERT INTO job_index SELECT 5, 'ghost', owner, audience, state, project, mode,"
    " archived, created_at, base_dir, tags, txt, mark FROM job_index LIMIT 1",
    "job_tags: 1 wrong: 'b'": "INSERT INTO job_tags VALUES ('b', 'u', 'u', 0, '', '', '', 1)",
    "job_counts: 1 wrong: ''": "UPDATE job_counts SET n = 9 WHERE tag = '' AND shelf = ''",
    "job_totals: 1 wrong: 'a'": "DELETE FROM job_totals WHERE tag = 'a' AND shelf = '@u'",
    "job_projects: 1 wrong: 'P'": "DELETE FROM job_projects WHERE shelf = ''",
    "job_projects: 1 wrong: 'Q'": "INSERT INTO job_projects VALUES ('Q', '@other', 1)",
    "job_files: 1 wrong: '1.mkv'": "DELETE FROM job_files WHERE job_id = 'j1'",
    "job_fts: ": "INSERT INTO job_fts (job_fts, rowid, txt, mark) SELECT 'delete', place, txt, mark FROM job_index"
    " WHERE id = 'j1'",
    "triggers are missing: jobs_updated": "DROP TRIGGER jobs_updated",
    "the file's version is -4 and not 4": "PRAGMA user_version = -4",
}


@pytest.mark.parametrize("line", DAMAGE)
def test_each_kind_of_damage_is_named_and_repaired(path: Path, line: str) -> None:
    assert verify(path).ok
    raw = sqlite3.connect(path)
    for (name,) in raw.execute(
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'index_%'"
    ).fetchall():
        if "job_index" in DAMAGE[line]:
            raw.execute(f"DROP TRIGGER {name}")
    raw.execute(DAMAGE[line])
    raw.commit()
    raw.close()
    before = path.read_bytes()
    report = verify(path)
    assert any(found.startswith(line) for found in report.differences), report
    assert (report.ok, report.jobs) == (False, 3)
    assert path.read_bytes() == before
    reindex(path)
    assert verify(path).differences == []


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for work in (verify, reindex):
        with pytest.raises(FileNotFoundError):
            work(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []
