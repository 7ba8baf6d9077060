"""What is kept of a job is what its submission said; of a private one only its results, and the name of nothing.

Lives here: one whole system and three dubs of one excerpt, the private one first, so that what the later ones keep can
be looked for in what it left. The table of what goes is tests/unit/job/test_kept.py.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.worker.dubbing.captions import parse_srt
from shared.ffmpeg import Ffmpeg
from shared.media_probe import probe
from tests import local_http
from tests.dubbing_system import System, excerpt, running_system

NAME = "Unmistakable holiday"
RESULTS = {"dub.mkv", "dub.mp4"}
RECEIPTS = {f"manifests/{name}.json" for name in ("job", "audio", "transcribe", "translate", "tts", "mix", "mux")}


@pytest.fixture(scope="module")
def own_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("keeping")) as running:
        yield running


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("source")
    return excerpt(directory, 901, 14.0).rename(directory / f"{NAME}.mp4")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def left(system: System, job: dict[str, Any]) -> set[str]:
    """The files of a job's directory, without their stem."""
    base = system.output / job["base_dir"]
    found = (path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file())
    return {path.replace(f"{job['stem']}.", "").replace(f"/{job['id']}/", "/") for path in found} - {".job"}


@dataclass(frozen=True)
class PrivateDub:
    """A finished private dub and, byte for byte, everything that its system had written by then."""

    job: dict[str, Any]
    disk: dict[Path, bytes]


@pytest.fixture(scope="module")
def private(own_system: System, video: Path) -> PrivateDub:
    job = own_system.finished(own_system.submit("pt", video, mode="low", privacy="on"))
    assert job["state"] == "DONE", job
    until(lambda: left(own_system, job) == RESULTS | RECEIPTS)
    until(lambda: not list(own_system.standalone.layout.uploads.iterdir()))
    files = [path for path in own_system.data.rglob("*") if path.is_file()]
    return PrivateDub(job, {path: path.read_bytes() for path in files})


@pytest.fixture(scope="module")
def balanced(own_system: System, video: Path, private: PrivateDub) -> dict[str, Any]:
    """Stopped in the middle, and run again once what goes was gone."""
    job_id = own_system.submit("pt", video, mode="low", cache_policy="balanced", src_lang="en")

    def heard(job: dict[str, Any]) -> bool:
        return any(stage["stage"] == "transcribe" and stage["status"] == "done" for stage in job["stages"])

    own_system.until(job_id, heard)
    local_http.post(f"{own_system.url}/api/jobs/{job_id}/cancel", timeout=10).raise_for_status()
    job = own_system.finished(job_id)
    assert job["state"] == "CANCELED"
    until(lambda: not any(name.endswith(".wav") for name in left(own_system, job)))
    assert "work/transcript.json" in left(own_system, job)
    local_http.post(f"{own_system.url}/api/jobs/{job_id}/rerun", timeout=10).raise_for_status()
    done: dict[str, Any] = own_system.until(job_id, lambda job: job["run"] == 2 and job["state"] in ("DONE", "FAILED"))
    assert done["state"] == "DONE", done
    return done


def test_a_private_job_leaves_its_results_and_they_have_no_words(own_system: System, private: PrivateDub) -> None:
    job = private.job
    assert job["title"] == job["stem"] == f"private-{job['id'][-8:]}"
    assert job["keeping"]["private"]
    listed = own_system.get(f"/api/jobs/{job['id']}/files")["files"]
    assert {file["kind"] for file in listed} == {"mkv", "mp4"}
    for file in listed:
        streams = probe(Ffmpeg.find(), own_system.output / file["path"]).streams
        assert {stream.kind for stream in streams} == {"video", "audio"}
    page = local_http.get(f"{own_system.url}/ui/jobs/{job['id']}", timeout=10).text
    for link in set(re.findall(r'(?:href|src)="(/(?:files|api)/[^"]+)"', page)):
        assert local_http.get(own_system.url + link, timeout=30).status_code == 200, link
    assert "results only" in page
    assert "/rerun" not in page
    refused = local_http.post(f"{own_system.url}/api/jobs/{job['id']}/rerun", timeout=10)
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_transition")
    assert not list(own_system.standalone.layout.takes.rglob("*.wav"))


def test_neither_its_name_nor_its_words_are_anywhere(
    own_system: System, private: PrivateDub, balanced: dict[str, Any]
) -> None:
    """The words are those that the same film's other job keeps."""
    said: set[str] = set()
    for language in ("en", "pt"):
        path = own_system.output / balanced["base_dir"] / "subs" / f"{balanced['stem']}.{language}.srt"
        cues = parse_srt(path.read_text())
        assert len(cues) >= 2
        said |= {line for cue in cues for line in cue.text.splitlines() if len(line) > 12}
    assert len(said) >= 4
    assert any(file.name.endswith(".dub.mp4") for file in private.disk)
    for path, content in private.disk.items():
        assert NAME not in str(path)
        assert NAME.encode() not in content, path
        assert not [line for line in said if line.encode() in content], path


def test_a_balanced_job_keeps_what_editing_needs(own_system: System, balanced: dict[str, Any]) -> None:
    texts = {"work/transcript.json", "work/translation.json", "work/tts_manifest.json"}
    subtitles = {f"subs/{language}.{kind}" for language in ("en", "pt") for kind in ("srt", "vtt")}
    until(lambda: not any(name.endswith(".wav") for name in left(own_system, balanced)))
    kept = {name for name in left(own_system, balanced) if not name.startswith(("logs/", "job.log"))}
    assert kept == RESULTS | RECEIPTS | texts | subtitles
    assert (own_system.output / balanced["base_dir"] / "job.log").exists()
    attempts = {stage["stage"]: stage["attempt"] for stage in balanced["stages"]}
    assert set(attempts.values()) == {1}


def test_a_minimal_job_shares_what_another_keeps_and_takes_nothing_from_it(
    own_system: System, video: Path, balanced: dict[str, Any]
) -> None:
    before = left(own_system, balanced)
    job = own_system.finished(own_system.submit("pt", video, mode="low", cache_policy="minimal", src_lang="en"))
    assert job["state"] == "DONE", job
    assert next(stage for stage in job["stages"] if stage["stage"] == "transcribe")["reused_from"] == balanced["id"]
    until(lambda: not any(name.startswith("work/") for name in left(own_system, job)))
    assert {file["kind"] for file in own_system.get(f"/api/jobs/{job['id']}/files")["files"]} == {"mkv", "mp4", "subs"}
    assert left(own_system, balanced) == before
    again = local_http.post(f"{own_system.url}/api/jobs/{job['id']}/rerun", timeout=10)
    assert again.status_code == 200, again.text
    own_system.until(job["id"], lambda job: job["run"] == 2 and job["state"] == "DONE")
