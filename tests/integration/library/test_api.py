"""The list, one job, and its files, over a real socket."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from shared.events.policy import JobDegraded
from shared.events.types import JobCanceled, JobPauseRequested, JobStarted
from shared.identity import uuid7
from shared.manifests import JobManifest
from shared.telemetry import Progress
from tests import local_http
from tests.factories import claimed, completed, event, submitted
from tests.integration.library.conftest import LibraryProcess, tell

EVIL = '<img src=x onerror="alert(1)">"\'& film.mp4'


def get(library: LibraryProcess, path: str, **parameters: Any) -> httpx.Response:
    return local_http.get(library.url + path, params=parameters, timeout=10)


def test_nothing_is_there_at_first(library: LibraryProcess) -> None:
    expected = {"items": [], "limit": 25, "offset": 0, "total": 0, "next_offset": None, "next_cursor": None}
    assert get(library, "/api/jobs").json() == expected
    assert "Nothing here yet" in get(library, "/ui/jobs").text


@pytest.fixture(scope="module")
def ids(library: LibraryProcess) -> list[str]:
    """Seven jobs, oldest first; two of them run."""
    made = [uuid7() for _ in range(7)]
    library.append(*(submitted(job_id, title=EVIL) for job_id in made))
    library.append(*(event(JobStarted, job_id, run=1) for job_id in made[:2]))
    return made


def test_pages_by_cursor_are_the_whole_list_newest_first(library: LibraryProcess, ids: list[str]) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        page = get(library, "/api/jobs", limit=3, **({"cursor": cursor} if cursor else {})).json()
        assert page["total"] == 7
        seen += [item["id"] for item in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == ids[::-1]


def test_pages_by_offset_and_state(library: LibraryProcess, ids: list[str]) -> None:
    page = get(library, "/api/jobs", limit=3, offset=3).json()
    assert [item["id"] for item in page["items"]] == ids[3:0:-1]
    assert (page["offset"], page["next_offset"]) == (3, 6)
    assert get(library, "/api/jobs", limit=3, offset=6).json()["next_offset"] is None
    running = get(library, "/api/jobs", state="RUNNING").json()
    assert ([item["id"] for item in running["items"]], running["total"]) == (ids[1::-1], 2)


def test_an_unknown_job_is_a_problem_and_a_page(library: LibraryProcess) -> None:
    for path in ("/api/jobs/none", "/api/jobs/none/files", "/api/jobs/none/events"):
        assert get(library, path).status_code == 404
        assert get(library, path).json()["code"] == "job_not_found"
    page = get(library, "/ui/jobs/none")
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_live_progress_is_laid_over_what_is_stored(library: LibraryProcess, ids: list[str]) -> None:
    job_id = ids[0]
    library.append(claimed(job_id, "audio"))
    asyncio.run(tell(library.broker, Progress(job_id=job_id, stage="audio", attempt=1, fraction=0.5, message="half")))
    deadline = time.monotonic() + 5
    while (job := get(library, f"/api/jobs/{job_id}").json())["progress"] != 0.075:
        assert time.monotonic() < deadline, job["progress"]
        time.sleep(0.02)
    assert (job["message"], job["stages"][0]["fraction"]) == ("half", 0.5)
    item = next(item for item in get(library, "/api/jobs").json()["items"] if item["id"] == job_id)
    assert item | {"outputs": []} == job
    library.append(completed(job_id, "audio"))
    after = get(library, f"/api/jobs/{job_id}").json()
    assert (after["progress"], "fraction" in after["stages"][0]) == (0.10, False)


def test_files_are_those_that_exist_now(library: LibraryProcess) -> None:
    job_id = library.finished_job()
    files = get(library, f"/api/jobs/{job_id}/files").json()
    assert [file["kind"] for file in files["files"]] == ["mkv", "mp4", "subs", "subs"]
    assert {"name", "path", "url", "size_bytes", "sha256", "kind", "mtime"} <= set(files["files"][0])
    assert get(library, files["mkv"]["url"]).status_code == 200
    (library.layout.output / files["mkv"]["path"]).unlink()
    assert get(library, f"/api/jobs/{job_id}/files").json()["mkv"] is None


def test_job_json_follows_the_log(library: LibraryProcess) -> None:
    job_id = library.finished_job(stem="manifest")
    path = library.layout.output / "manifest" / "manifests" / "job.json"
    deadline = time.monotonic() + 5
    while not (path.exists() and json.loads(path.read_bytes())["job"]["state"] == "DONE"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    manifest = JobManifest.model_validate_json(path.read_bytes())
    assert manifest.job.id == job_id
    assert manifest.layout.base_dir_rel == "manifest"
    assert manifest.layout.jobs_ptr_rel == f"jobs/{job_id}"
    assert manifest.outputs.primary == {"mkv": "manifest.dub.mkv", "mp4": "manifest.dub.mp4"}
    assert manifest.outputs.subs == ["subs/manifest.pt.srt", "subs/manifest.pt.vtt"]
    assert manifest.manifests["mux"] == "manifests/mux.json"


def test_pages_escape_what_users_named_and_allow_no_foreign_script(library: LibraryProcess, ids: list[str]) -> None:
    for path in ("/ui/jobs", f"/ui/jobs/{ids[0]}"):
        page = get(library, path)
        assert page.status_code == 200
        assert "<img src=x" not in page.text
        assert "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;" in page.text
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert "<script>" not in page.text
        assert " style=" not in page.text
        assert " onclick=" not in page.text


def test_a_page_tells_a_lowered_mode_a_requested_pause_and_the_settings_and_offers_what_is_possible(
    library: LibraryProcess,
) -> None:
    job_id = uuid7()
    settings = {"asr_model": {"value": "small", "reason": "fallback:no_gpu"}}
    library.append(
        submitted(job_id, mode="high"),
        event(JobDegraded, job_id, from_mode="high", to_mode="low", queue_len=9, reason="backpressure_degraded"),
        event(JobStarted, job_id, mode="low", settings=settings),
        event(JobPauseRequested, job_id),
    )
    page = get(library, f"/ui/jobs/{job_id}").text
    assert "lowered from high: busy" in page
    assert "Pauses when its running stage has ended." in page
    assert "instead: no gpu" in page
    for verb in ("resume", "cancel", "kill"):
        assert f'action="/api/jobs/{job_id}/{verb}"' in page
    assert f'action="/api/jobs/{job_id}/rerun"' not in page
    assert f'data-why="{job_id}"' in get(library, "/ui/jobs").text
    assert "lowered from high: busy" in get(library, "/ui/jobs").text
    assert get(library, f"/api/jobs/{job_id}").json()["settings"] == settings
    library.append(event(JobCanceled, job_id))
    assert f'action="/api/jobs/{job_id}/rerun"' in get(library, f"/ui/jobs/{job_id}").text


def test_the_page_of_a_finished_job_plays_and_offers_it(library: LibraryProcess) -> None:
    job_id = library.finished_job(stem="shown")
    page = get(library, f"/ui/jobs/{job_id}").text
    assert 'src="/files/shown/shown.dub.mp4"' in page
    assert (
        '<track kind="captions" src="/files/shown/subs/shown.pt.vtt" srclang="pt" label="Portuguese" default>' in page
    )
    assert 'href="/files/shown/shown.dub.mkv" download' in page


def test_home_and_static_files(library: LibraryProcess) -> None:
    home = local_http.get(library.url + "/")
    assert (home.status_code, home.headers["location"]) == (307, "/ui/jobs")
    for name in (
        "dubline.css",
        "live.js",
        "jobs.js",
        "job.js",
        "submit.js",
        "why.js",
        "control.js",
        "icon.svg",
        "check.svg",
    ):
        assert get(library, f"/static/{name}").status_code == 200
    assert get(library, "/static/../app.py").status_code == 404


def test_health(library: LibraryProcess) -> None:
    assert get(library, "/livez").json() == {"status": "alive"}
    ready = get(library, "/readyz").json()
    assert (ready["status"], ready["broker"], ready["lag"], ready["quarantined"]) == ("ready", True, 0, 0)


def test_a_rebound_name_is_refused(library: LibraryProcess) -> None:
    answer = local_http.get(f"{library.url}/api/jobs", headers={"Host": "evil.org"})
    assert (answer.status_code, answer.json()["code"]) == (403, "host_not_allowed")
