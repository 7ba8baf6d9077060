"""The whole system in containers, as `docker compose up` gives it to a user."""

import hashlib
from pathlib import Path

import httpx
import pytest

from tests.deploy.compose import Composition
from tests.dubbing_system import excerpt

pytestmark = pytest.mark.timeout(1200)

STAYING = {"broker", "ingest", "scheduler", "worker", "library", "gateway"}


def test_every_service_becomes_healthy(composition: Composition):
    listed = composition.run("ps", "--format", "{{.Service}} {{.Health}}").stdout
    assert dict(line.split() for line in listed.splitlines()) == dict.fromkeys(STAYING, "healthy")


def test_a_video_is_dubbed_through_the_gateway(composition: Composition, tmp_path: Path):
    job_id = composition.submit(excerpt(tmp_path, 1), "pt")
    job = composition.finished(job_id)
    assert job["state"] == "DONE", job

    files = composition.get(f"/api/jobs/{job_id}/files")["files"]
    by_suffix = {
        suffix: [file for file in files if file["path"].endswith(suffix)] for suffix in (".mkv", ".mp4", ".srt")
    }
    assert [len(found) for found in by_suffix.values()] == [1, 1, 2], files
    for file in files:
        answer = httpx.get(composition.url + file["url"], headers=composition.as_operator, timeout=60)
        assert (answer.status_code, hashlib.sha256(answer.content).hexdigest()) == (200, file["sha256"]), file
    asking = composition.as_operator | {"Range": "bytes=4-7"}
    part = httpx.get(composition.url + by_suffix[".mp4"][0]["url"], headers=asking, timeout=10)
    assert (part.status_code, part.content) == (206, b"ftyp")

    head = "import glob; print(open(glob.glob('/data/input/uploads/*.mp4')[0], 'rb').read(7))"
    assert composition.python("worker", head).stdout.strip() == "b'DUBSEAL'"


def test_a_service_can_write_nothing_but_its_volumes(composition: Composition):
    for path in ("/app/x", "/opt/venv/x", "/models/x", "/data/secrets/x"):
        done = composition.python("worker", f"open({path!r}, 'w')")
        assert "Read-only file system" in done.stderr, path
