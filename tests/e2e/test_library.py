"""The library from a user's side: find, tag, archive and delete jobs, take over old ones, check and rebuild the index.

Everything through the gateway and the command line of a whole running system.
"""

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlitedict import SqliteDict

from tests import local_http
from tests.dubbed_sample import Dub
from tests.dubbing_system import DUBLINE, SAMPLE, System
from tests.system import eventually

OLD_JOB = "6f1c2f0e-6b1c-4a56-9d0e-0c5f3a1b2c3d"
WRITTEN_AT = datetime(2024, 5, 1, 10, 30, tzinfo=UTC).timestamp()
REUSED_TIMEOUT_S = 60.0


def dubline(system: System, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "DUBLINE_DATA_DIR": str(system.data), "DUBLINE_URL": system.url, "COLUMNS": "200"}
    command = [DUBLINE, "library", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=check, env=environment)


def request(system: System, method: str, path: str, body: Any = None) -> Any:
    answer = local_http.request(method, system.url + path, json=body, timeout=20)
    assert answer.is_success, answer.text
    return answer.json()


def ids(system: System, **filters: Any) -> list[str]:
    return [job["id"] for job in local_http.get(f"{system.url}/api/jobs", params=filters, timeout=10).json()["items"]]


@pytest.fixture(scope="module")
def another(system: System, dub: Dub) -> Iterator[str]:
    """A second job of the same video in a project: every stage of it is re-used from the first."""
    project = request(system, "POST", "/api/projects", {"name": "Holiday Films"})
    job_id = system.submit("pt", SAMPLE, project_id=project["id"], tags='["To Keep"]')
    assert system.until(job_id, lambda job: job["state"] == "DONE", REUSED_TIMEOUT_S)["project_name"] == "Holiday Films"
    yield job_id
    request(system, "DELETE", f"/api/projects/{project['id']}")


def test_a_project_groups_its_jobs_on_disk_and_in_lists(system: System, dub: Dub, another: str) -> None:
    assert ids(system, project="holiday") == [another]
    assert ids(system, tag="to keep") == [another]
    base = system.base_dir(another)
    assert base.relative_to(system.output).parts[0] != dub.base.relative_to(system.output).parts[0]
    assert (base / "manifests" / "job.json").exists()


def test_tags_and_archive_are_seen_at_once_by_every_filter(system: System, another: str) -> None:
    request(system, "PUT", f"/api/jobs/{another}/tags", {"tags": ["Seaside", "2026"]})
    eventually("the tag is found", lambda: ids(system, tag="seaside") == [another])
    assert another in ids(system, q="seasi")
    request(system, "POST", f"/api/jobs/{another}/archive")
    eventually("archived jobs are left out", lambda: another not in ids(system))
    assert another in ids(system, include_archived=1)
    request(system, "POST", f"/api/jobs/{another}/unarchive")
    eventually("it is back", lambda: another in ids(system))


def test_the_command_line_lists_and_shows_what_the_api_does(system: System, another: str) -> None:
    listed = dubline(system, "list", "--project", "holiday", "--json")
    assert [job["id"] for job in json.loads(listed.stdout)["items"]] == [another]
    assert another in dubline(system, "list", "--tag", "seaside").stdout
    shown = dubline(system, "show", another).stdout
    assert "DONE" in shown
    assert ".dub.mkv" in shown
    first = system.get(f"/api/jobs/{another}?history=true")["history"][0]
    assert "QUEUED" in dubline(system, "show", another, "--at", str(first["seq"])).stdout


def test_the_index_is_verified_broken_found_and_repaired_while_the_system_runs(system: System, another: str) -> None:
    assert "right" in dubline(system, "verify").stdout
    database = system.standalone.layout.jobs_db
    with sqlite3.connect(database, timeout=20) as connection:
        connection.execute("UPDATE job_index SET state = 'LOST' WHERE id = ?", (another,))
    connection.close()
    broken = dubline(system, "verify", check=False)
    assert broken.returncode == 1
    assert "differs" in broken.stdout
    dubline(system, "reindex")
    assert "right" in dubline(system, "verify").stdout
    assert another in ids(system, state="DONE")


def test_a_rebuild_beside_the_running_system_gives_the_same_library(system: System, dub: Dub, another: str) -> None:
    before = local_http.get(f"{system.url}/api/jobs", params={"include_archived": 1, "limit": 200}, timeout=10).json()
    manifest = dub.base / "manifests" / "job.json"
    written = manifest.read_bytes()
    manifest.unlink()
    inode = system.standalone.layout.jobs_db.stat().st_ino
    said = dubline(system, "rebuild", "--manifests").stdout
    assert "rebuilt" in said
    assert manifest.read_bytes() == written
    eventually("the new file is in place", lambda: system.standalone.layout.jobs_db.stat().st_ino != inode)
    after = local_http.get(f"{system.url}/api/jobs", params={"include_archived": 1, "limit": 200}, timeout=10).json()
    assert after == before


def test_a_deleted_job_is_gone_with_its_files_but_its_past_can_be_asked(system: System, dub: Dub, another: str) -> None:
    base = system.base_dir(another)
    seq = system.get(f"/api/jobs/{another}")["version"]
    request(system, "DELETE", f"/api/jobs/{another}")
    eventually("its files are gone", lambda: not base.exists())
    eventually("its row is gone", lambda: another not in ids(system, include_archived=1))
    gone = local_http.get(f"{system.url}/api/jobs/{another}", timeout=10)
    assert (gone.status_code, gone.json()["code"]) == (410, "job_deleted")
    assert system.get(f"/api/jobs/{another}?at={seq}")["state"] == "DONE"
    assert list((dub.base / "subs").iterdir()), "the job that it was re-used from keeps its files"


@pytest.fixture
def predecessor(tmp_path: Path) -> Path:
    """A jobs.db with one finished job and its video, as the predecessor leaves them; returns the database."""
    output = tmp_path / "Output"
    base = output / "Old Film"
    base.mkdir(parents=True)
    video = base / "Old Film.dub.mp4"
    video.write_bytes(SAMPLE.read_bytes())
    os.utime(video, (WRITTEN_AT, WRITTEN_AT))
    database = output / "_state" / "jobs.db"
    database.parent.mkdir()
    with SqliteDict(str(database), "jobs", autocommit=True) as jobs:
        jobs[OLD_JOB] = {
            "id": OLD_JOB, "owner_id": "local", "video_path": "/app/Input/Old Film.mkv", "state": "JobState.DONE",
            "created_at": "2024-05-01T10:00:00+00:00", "updated_at": "2024-05-01T11:00:00+00:00", "mode": "high",
            "output_mkv": "/app/Output/Old Film/Old Film.dub.mkv", "runtime": {"tags": ["Old"]},
        }  # fmt: skip
        jobs["no-uuid"] = {"state": "DONE"}
    return database


def test_the_predecessors_jobs_are_taken_over_and_play(system: System, predecessor: Path) -> None:
    tried = dubline(system, "import", str(predecessor), "--dry-run").stdout
    assert "1 would be imported" in tried
    assert OLD_JOB not in ids(system, q=OLD_JOB)
    done = json.loads(dubline(system, "import", str(predecessor), "--json").stdout)
    assert (done["imported"]["jobs"], done["files"], done["skipped"][0]["key"]) == (1, 1, "no-uuid")
    eventually("it is listed", lambda: ids(system, tag="old") == [OLD_JOB])
    job = system.get(f"/api/jobs/{OLD_JOB}")
    assert (job["state"], job["imported"], job["created_at"]) == ("DONE", True, "2024-05-01T10:00:00.000Z")
    files = system.get(f"/api/jobs/{OLD_JOB}/files")
    answer = local_http.get(system.url + files["mp4"]["url"], headers={"Range": "bytes=0-99"}, timeout=10)
    assert (answer.status_code, answer.content) == (206, SAMPLE.read_bytes()[:100])
    assert answer.headers["etag"] == f'"{job["outputs"][0]["sha256"]}"'
    again = dubline(system, "import", str(predecessor)).stdout
    assert "1 were here already" in again
    request(system, "DELETE", f"/api/jobs/{OLD_JOB}")
    eventually("it is deleted", lambda: OLD_JOB not in ids(system, include_archived=1))
