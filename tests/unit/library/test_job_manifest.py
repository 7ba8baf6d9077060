"""job.json is a pure function of the log, and writing it never troubles anybody."""

import asyncio
from pathlib import Path
from typing import Any

import structlog

from services.library.job_manifest import ManifestWriter, build, write
from services.library.projection import fold
from shared.events.types import JobDegraded
from shared.job.aggregate import Job
from shared.layout import Layout
from tests.factories import event
from tests.unit.library.stories import JOB, log_of, whole_story


def job(events: int | None = None) -> Job:
    folded = fold(log_of(whole_story())[:events])
    assert folded is not None
    return folded


def test_its_content(tmp_path: Path) -> None:
    manifest = build(job(), Layout(Path("data"))).model_dump()
    assert manifest["job"] == {
        "id": JOB,
        "owner_id": "local",
        "created_at": "2026-01-02T03:04:05.000Z",
        "updated_at": "2026-01-02T03:04:05.000Z",
        "mode": "medium",
        "device": "auto",
        "src_lang": "en",
        "tgt_lang": "pt",
        "state": "DONE",
    }
    assert manifest["layout"] == {
        "output_root": "data/output",
        "base_dir_rel": "film",
        "jobs_ptr_rel": f"jobs/{JOB}",
        "work_dir_rel": f"film/work/{JOB}",
    }
    assert manifest["outputs"]["primary"] == {"mkv": "film.dub.mkv", "mp4": "film.dub.mp4"}
    assert manifest["outputs"]["subs"] == ["subs/film.en.vtt", "subs/film.pt.srt"]
    assert manifest["special"]["tts_manifest"] == f"work/{JOB}/tts_manifest.json"
    assert list(manifest["manifests"]) == ["audio", "transcribe", "translate", "tts", "mix", "mux"]


def test_it_names_the_mode_that_the_job_runs_in() -> None:
    lowered = event(JobDegraded, JOB, from_mode="medium", to_mode="low", queue_len=9, reason="backpressure")
    folded = fold(log_of([*whole_story()[:1], lowered]))
    assert folded is not None
    assert build(folded, Layout(Path("data"))).job.mode == "low"


def test_it_names_only_what_is_done() -> None:
    manifest = build(job(4), Layout(Path("data")))
    assert manifest.manifests == {"audio": "manifests/audio.json"}
    assert (manifest.outputs.primary, manifest.special.tts_manifest) == ({}, None)


def test_replay_gives_the_same_bytes(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    (layout.output / "film").mkdir(parents=True)
    path = layout.output / "film" / "manifests" / "job.json"
    seen = []
    for _ in range(2):
        for events in range(1, 16):
            write(job(events), layout)
        seen.append(path.read_bytes())
    write(job(), layout)
    assert seen == [path.read_bytes()] * 2


def test_a_directory_that_was_removed_does_not_come_back(tmp_path: Path) -> None:
    write(job(), Layout(tmp_path))
    assert not (tmp_path / "output").exists()


async def test_a_failure_is_a_warning_and_the_newest_state_wins(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    base = layout.output / "film"
    base.mkdir(parents=True)
    (base / "manifests").write_text("a file where a directory should be")
    written: asyncio.Queue[int] = asyncio.Queue()
    writer = ManifestWriter(layout, written.put)
    running = asyncio.create_task(writer.run())
    with structlog.testing.capture_logs() as logs:
        writer.offer([job(3)], 3)
        assert await asyncio.wait_for(written.get(), 5) == 3
    assert [(entry["event"], entry["job_id"]) for entry in logs] == [("job_manifest_not_written", JOB)]
    (base / "manifests").unlink()
    writer.offer([job(4)], 4)
    writer.offer([job()], 15)
    assert await asyncio.wait_for(written.get(), 5) == 15
    assert (base / "manifests" / "job.json").read_bytes() == expected(layout)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def expected(layout: Layout) -> Any:
    return build(job(), layout).model_dump_json(indent=2).encode() + b"\n"
