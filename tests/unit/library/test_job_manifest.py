"""job.json is a pure function of the log, and writing it never troubles anybody."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import structlog

from services.library.committed import Committed
from services.library.job_manifest import ManifestWriter, NotItsDirectoryError, build, rebuild_manifests, write
from shared.artifacts import Artifact
from shared.eventlog.job_history import fold
from shared.eventlog.memory import MemoryEventLog
from shared.events.library import JobDeleted, JobTagged
from shared.events.policy import JobDegraded
from shared.events.schemas import schemas
from shared.events.types import JobCanceled, JobImported, JobImportedData
from shared.job.model import Job
from shared.keeping import PRIVATE, Keeping
from shared.layout import Layout
from shared.manifests import JobManifest, PrivacyFlags
from tests.factories import context, event, submitted_data
from tests.unit.library.stories import JOB, log_of, whole_story

LOG = log_of(whole_story())
SCHEMA = schemas()["job-manifest.v1"]


def job(events: int | None = None) -> Job:
    folded = fold(LOG[:events])
    assert folded is not None
    return folded


def told(events: int = len(LOG)) -> Committed:
    """What the writer hears of a batch that ends with this event."""
    return Committed(LOG[events - 1 : events], [job(events)])


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    assert layout.claim_base_dir(JOB, "film") == "film"
    return layout


def test_its_content() -> None:
    """Member by member what the predecessor's plan says; what is not there has no member, and not null."""
    assert json.loads(build(job(), Layout(Path("data"))).encode()) == {
        "version": 1,
        "job": {
            "id": JOB,
            "owner_id": "local",
            "visibility": "private",
            "created_at": "2026-01-02T03:04:05.000Z",
            "updated_at": "2026-01-02T03:04:05.000Z",
            "mode": "medium",
            "device": "auto",
            "src_lang": "en",
            "tgt_lang": "pt",
            "state": "DONE",
        },
        "layout": {
            "output_root": "data/output",
            "base_dir_rel": "film",
            "jobs_ptr_rel": f"jobs/{JOB}",
            "work_dir_rel": f"film/work/{JOB}",
        },
        "manifests": {
            stage: f"manifests/{stage}.json" for stage in ("audio", "transcribe", "translate", "tts", "mix", "mux")
        },
        "special": {"tts_manifest": f"work/{JOB}/tts_manifest.json"},
        "outputs": {
            "primary": {"mkv": "film.dub.mkv", "mp4": "film.dub.mp4"},
            "mobile": {},
            "tracks": [],
            "subs": ["subs/film.en.vtt", "subs/film.pt.srt"],
        },
        "privacy": {
            "privacy_mode": False,
            "no_store_transcript": False,
            "no_store_source_audio": False,
            "minimal_artifacts": False,
        },
    }


def imported(*names: str) -> Job:
    outputs = [Artifact(name=name, path=f"shows/old/{name}", size=1, sha256="ab" * 32) for name in names]
    elsewhere = Artifact(name="x", path="shows/other/film.dub.mp4", size=1, sha256="ab" * 32)
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    data = JobImportedData(
        submitted=submitted_data(base_dir="shows/old", stem="old"), state="DONE", created_at=moment, updated_at=moment,
        outputs=[*outputs, elsewhere],
    )  # fmt: skip
    folded = fold(log_of([JobImported(**context(JOB), data=data)]))
    assert folded is not None
    return folded


def test_an_imported_job_has_what_came_with_it() -> None:
    manifest = build(
        imported(
            "dub.review.mkv", "old.dub.mkv", "mobile/mobile.mp4", "mobile/hls/index.m3u8", "final_lipsynced.mp4",
            "audio/tracks/dialogue_only.wav", "subs/src.srt", "qa/summary.json", "stream/manifest.json",
            "review/state.json",
        ),
        Layout(Path("data")),
    )  # fmt: skip
    assert manifest.layout.work_dir_rel is None
    assert manifest.manifests == {}
    assert manifest.special.model_dump(exclude_none=True) == {
        "stream_manifest": "stream/manifest.json",
        "review_state": "review/state.json",
        "qa_summary": "qa/summary.json",
    }
    assert manifest.outputs.model_dump() == {
        "primary": {"mkv": "old.dub.mkv", "lipsync_mp4": "final_lipsynced.mp4"},
        "mobile": {"mobile_mp4": "mobile/mobile.mp4", "mobile_hls_manifest": "mobile/hls/index.m3u8"},
        "tracks": ["audio/tracks/dialogue_only.wav"],
        "subs": ["subs/src.srt"],
    }


@pytest.mark.parametrize("events", range(1, len(LOG) + 1))
def test_it_is_what_the_published_schema_says_at_every_step(events: int) -> None:
    manifest = json.loads(build(job(events), Layout(Path("data"))).encode())
    jsonschema.validate(manifest, SCHEMA)


def test_readers_take_what_they_do_not_know() -> None:
    """Version 1 changes only by addition: every member may get siblings."""
    manifest = json.loads(build(job(), Layout(Path("data"))).encode())
    newer = manifest | {"posters": ["a.jpg"]}
    for member in ("job", "layout", "special", "outputs", "privacy"):
        newer[member] = newer[member] | {"of_a_later_writer": True}
    assert JobManifest.model_validate(newer) == build(job(), Layout(Path("data")))
    jsonschema.validate(newer, SCHEMA)


def test_it_names_the_mode_that_the_job_runs_in() -> None:
    lowered = event(JobDegraded, JOB, from_mode="medium", to_mode="low", queue_len=9, reason="backpressure")
    folded = fold(log_of([*whole_story()[:1], lowered]))
    assert folded is not None
    assert build(folded, Layout(Path("data"))).job.mode == "low"


def test_it_names_only_what_is_done() -> None:
    manifest = build(job(4), Layout(Path("data")))
    assert manifest.manifests == {"audio": "manifests/audio.json"}
    assert (manifest.outputs.primary, manifest.special.tts_manifest) == ({}, None)


@pytest.mark.parametrize(
    ("keeping", "work", "lines", "flags"),
    [
        (Keeping(cache="balanced"), True, True, set()),
        (Keeping(cache="minimal"), False, False, set()),
        (Keeping(transcript=False), True, False, {"no_store_transcript"}),
        (Keeping(source_audio=False), True, True, {"no_store_source_audio"}),
        (Keeping(cache="minimal", logs=False), False, False, {"minimal_artifacts"}),
        (PRIVATE, False, False, set(PrivacyFlags.model_fields)),
    ],
)
def test_it_tells_what_was_chosen_and_names_only_what_is_kept(
    keeping: Keeping, flags: set[str], *, work: bool, lines: bool
) -> None:
    story = whole_story(keeping=keeping)
    for events in (story, story[:-1]):
        folded = fold(log_of(events))
        assert folded is not None
        manifest = build(folded, Layout(Path("data")))
        ended = folded.state.terminal
        assert (manifest.layout.work_dir_rel is not None) is (work or not ended)
        assert (manifest.special.tts_manifest is not None) is (lines or not ended)
        assert {name for name, wanted in manifest.privacy.model_dump().items() if wanted} == flags
        jsonschema.validate(json.loads(manifest.encode()), SCHEMA)


def test_replay_gives_the_same_bytes(layout: Layout) -> None:
    path = layout.output / "film" / "manifests" / "job.json"
    seen = []
    for _ in range(2):
        for events in range(1, len(LOG) + 1):
            assert write(job(events), layout)
        seen.append(path.read_bytes())
    written = path.stat()
    assert write(job(), layout)
    assert seen == [build(job(), layout).encode()] * 2
    assert path.stat().st_ino == written.st_ino  # what is so already is not written again


def test_a_directory_that_was_removed_does_not_come_back(tmp_path: Path) -> None:
    assert not write(job(), Layout(tmp_path))
    assert not (tmp_path / "output").exists()


def test_b1_nothing_is_written_into_another_jobs_directory(layout: Layout) -> None:
    layout.release_base_dir(JOB, "film")
    layout.claim_base_dir("01890000-0000-7000-8000-000000000002", "film")
    with pytest.raises(NotItsDirectoryError):
        write(job(), layout)
    assert [path.name for path in (layout.output / "film").iterdir()] == [".job"]


def test_no_link_is_followed(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (layout.output / "film" / "manifests").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError):
        write(job(), layout)
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_a_failure_is_a_warning_and_the_newest_state_wins(layout: Layout) -> None:
    base = layout.output / "film"
    (base / "manifests").write_text("a file where a directory should be")
    written: asyncio.Queue[int] = asyncio.Queue()
    writer = ManifestWriter(layout, written.put)
    running = asyncio.create_task(writer.run())
    with structlog.testing.capture_logs() as logs:
        writer.offer(told(3))
        assert await asyncio.wait_for(written.get(), 5) == 3
    assert [(entry["event"], entry["job_id"]) for entry in logs] == [("job_manifest_not_written", JOB)]
    (base / "manifests").unlink()
    writer.offer(told(4))
    writer.offer(told())
    assert await asyncio.wait_for(written.get(), 5) == len(LOG)
    assert (base / "manifests" / "job.json").read_bytes() == build(job(), layout).encode()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_nothing_is_written_for_a_deleted_job(layout: Layout) -> None:
    log = log_of([*whole_story(), event(JobDeleted, JOB, owner="local", base_dir="film", source="uploads/up_1.mp4")])
    written: asyncio.Queue[int] = asyncio.Queue()
    writer = ManifestWriter(layout, written.put)
    writer.offer(told())
    writer.offer(Committed(log[-1:]))
    running = asyncio.create_task(writer.run())
    assert await asyncio.wait_for(written.get(), 5) == log[-1].seq
    assert not (layout.output / "film" / "manifests").exists()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_all_are_rebuilt_from_the_log_byte_for_byte(layout: Layout) -> None:
    """Two jobs, one event of each in turn, one tagged later; a deleted one and one without a directory get none."""
    other, deleted, gone = (f"01890000-0000-7000-8000-00000000000{n}" for n in (2, 3, 4))
    bases = {id_: layout.claim_base_dir(id_, "film") for id_ in (other, deleted)} | {JOB: "film", gone: "gone"}
    stories: list[list[Any]] = [whole_story(id_, base_dir=base) for id_, base in bases.items()]
    stories[0].append(event(JobTagged, other, tags=["late"]))
    stories[1] = [stories[1][0], event(JobCanceled, deleted)]
    stories[1].append(event(JobDeleted, deleted, owner="local", base_dir=bases[deleted], source=""))
    memory, written = MemoryEventLog(), {}
    for recorded in log_of(*stories):
        assert recorded.event is not None
        await memory.append(recorded.event)
    for id_ in (JOB, other):
        folded = fold(r for r in memory.records if r.event is not None and r.event.subject == id_)
        assert folded is not None
        assert write(folded, layout)
        path = layout.output / bases[id_] / "manifests" / "job.json"
        written[path] = path.read_bytes()
        path.unlink()
    assert await rebuild_manifests(memory, layout) == 2
    assert {path: path.read_bytes() for path in layout.output.rglob("job.json")} == written
