"""A finished stage with the same key is not run again: re-runs, crashes, and other jobs of the same owner."""

from pathlib import Path

import pytest

from services.worker import reuse
from services.worker.keys import stage_key
from shared.artifacts import describe, matches, write_bytes
from shared.events.types import EngineUsed, Timings
from shared.layout import JobPaths, Layout
from shared.manifests import StageManifest
from tests.factories import artifact, command, submitted_data

ENGINE = EngineUsed(name="e", version="1", device="cpu", digest="d")
BASE = {"stage": "mux", "source_sha256": "s", "inputs": {"a": artifact("a")}, "params": {"p": 1}, "engine": ENGINE}


def key(**changes: object) -> str:
    return stage_key(**(BASE | changes))  # type: ignore[arg-type]


def test_the_key_depends_on_everything_that_decides_the_result_and_on_no_path() -> None:
    other_engine = ENGINE.model_copy(update={"digest": "d2"})
    changed = [
        key(stage="mix"), key(source_sha256="t"), key(params={"p": 2}), key(engine=other_engine),
        key(inputs={"a": artifact("a").model_copy(update={"sha256": "00"})}),
    ]  # fmt: skip
    assert key() not in changed
    assert len(set(changed)) == len(changed)
    assert key(inputs={"a": artifact("a").model_copy(update={"path": "elsewhere"})}) == key()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def finished(
    layout: Layout, job_id: str, base_dir: str, stem: str, owner: str = "ann"
) -> tuple[StageManifest, JobPaths]:
    paths = layout.job(job_id, base_dir, stem)
    write_bytes(paths.dub_mkv, b"film")
    write_bytes(paths.final_mix, b"mix")
    outputs = [describe("dub_mkv", paths.dub_mkv, layout.output), describe("final_mix", paths.final_mix, layout.output)]
    manifest = StageManifest(
        job_id=job_id, stage="mux", part=0, key="k" * 64, inputs=[], params={}, engine=ENGINE, outputs=outputs,
        facts={}, issues=[], timings=Timings(), created_at="2026-01-01T00:00:00Z",
    )  # fmt: skip
    mine = command(job_id, "mux", job=submitted_data(owner=owner, base_dir=base_dir, stem=stem))
    reuse.record(layout, mine, paths, manifest)
    return manifest, paths


def wanting(job_id: str, owner: str = "ann") -> object:
    return command(job_id, "mux", job=submitted_data(owner=owner, base_dir="b", stem="other"))


def test_another_job_of_the_owner_adopts_the_files_under_its_own_names(layout: Layout) -> None:
    manifest, theirs = finished(layout, "job-a", "a", "film")
    assert reuse.find(layout, wanting("job-b"), manifest.key) is not None  # type: ignore[arg-type]
    ours = layout.job("job-b", "b", "other")
    adopted = reuse.adopt(manifest.outputs, theirs, ours)
    assert [a.path for a in adopted] == ["b/other.dub.mkv", "b/work/job-b/final_mix.wav"]
    assert all(matches(a, layout.output) for a in adopted)


def test_a_tampered_or_missing_file_is_not_reused(layout: Layout) -> None:
    manifest, theirs = finished(layout, "job-a", "a", "film")
    theirs.dub_mkv.write_bytes(b"flim")
    assert reuse.find(layout, wanting("job-b"), manifest.key) is None  # type: ignore[arg-type]
    theirs.dub_mkv.unlink()
    assert reuse.find(layout, wanting("job-b"), manifest.key) is None  # type: ignore[arg-type]


def test_nothing_is_shared_between_owners(layout: Layout) -> None:
    manifest, _ = finished(layout, "job-a", "a", "film", owner="ann")
    assert reuse.find(layout, wanting("job-b", owner="bob"), manifest.key) is None  # type: ignore[arg-type]


def test_b1_two_jobs_with_the_same_stem_get_their_own_base_dirs(layout: Layout) -> None:
    assert layout.claim_base_dir("0190-aaaaaaaaaaaa", "film") == "film"
    assert layout.claim_base_dir("0190-bbbbbbbbbbbb", "film") == "film-bbbbbbbbbbbb"
    assert layout.claim_base_dir("0190-cccccccccccc", "_state") == "_state-cccccccccccc"
