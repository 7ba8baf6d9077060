"""What a job made is found on disk: by the log, by job.json, and where the predecessor put it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from shared.manifests import JobManifest, JobOutputs, SpecialFiles
from shared.outputs import FILES_MAX, KINDS, Outputs, discover_outputs, kind_of
from tests.unit.library.stories import JOB

PREDECESSOR = {
    "film.dub.mkv": "mkv",
    "film.dub.mp4": "mp4",
    "final_lipsynced.mp4": "lipsync_mp4",
    "dub.review.mkv": "mkv",
    "mobile/mobile.mp4": "mobile_mp4",
    "mobile/original.mp4": "mobile_original_mp4",
    "mobile/hls/index.m3u8": "mobile_hls_manifest",
    "hls/master.m3u8": "hls_manifest",
    "subs/src.srt": "subs",
    "subs/src.vtt": "subs",
    "subs/tgt_fit.srt": "subs",
    "film.srt": "subs",
    "film.translated.srt": "subs",
    "audio/tracks/dialogue_only.wav": "audio_track",
    "audio/tracks/original_full.m4a": "audio_track",
    "qa/summary.json": "qa_summary",
    "qa/top_issues.md": "qa_top_issues",
    "analysis/retention_report.json": "retention_report",
}
"""A finished directory as the predecessor left it: what counts, and as what."""
NO_OUTPUTS = [
    ".checkpoint.json", "job.log", "film.json", "translated.json", "tts_manifest.json", "diarization.json", "notes.mp4",
    "logs/pipeline.log", "manifests/audio.json", "stream/manifest.json", "stream/chunk_000.mp4", "stems/dialogue.wav",
    "mobile/seg_000.ts", "mobile/hls/seg_000.ts", "review/state.json", "review/audio/1_v1.wav",
    "qa/segment_scores.jsonl",
    "analysis/op_ed.json", "audio/final_mix.wav", "audio/tracks/.hidden.wav", f"work/{JOB}/film.srt",
]  # fmt: skip


def fill(base: Path, *names: str) -> None:
    for name in names:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(name.encode())


def kinds(found: Outputs) -> dict[str, str]:
    return {file.path: file.kind for file in found.files}


def manifest(**members: Any) -> bytes:
    job = dict.fromkeys(
        ["id", "owner_id", "created_at", "updated_at", "mode", "device", "src_lang", "tgt_lang", "state"], "x"
    )
    layout = dict.fromkeys(["output_root", "base_dir_rel", "jobs_ptr_rel"], "x")
    return JobManifest.model_validate({"job": job, "layout": layout} | members).encode()


def test_a_directory_of_the_predecessor(tmp_path: Path) -> None:
    fill(tmp_path / "film", *PREDECESSOR, *NO_OUTPUTS)
    found = discover_outputs(tmp_path, "film")
    assert kinds(found) == {f"film/{name}": kind for name, kind in PREDECESSOR.items()}
    assert set(PREDECESSOR.values()) == set(KINDS)
    links = found.model_dump()
    del links["files"]
    assert {name: link["path"] for name, link in links.items()} == {
        "hls_manifest": "film/hls/master.m3u8",
        "lipsync_mp4": "film/final_lipsynced.mp4",
        "mp4": "film/film.dub.mp4",
        "mkv": "film/film.dub.mkv",  # not the review's
        "mobile_mp4": "film/mobile/mobile.mp4",
        "mobile_original_mp4": "film/mobile/original.mp4",
        "mobile_hls_manifest": "film/mobile/hls/index.m3u8",
        "qa_summary": "film/qa/summary.json",
        "qa_top_issues": "film/qa/top_issues.md",
        "stream_manifest": "film/stream/manifest.json",
    }


@pytest.mark.parametrize("name", PREDECESSOR)
def test_each_file_alone(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "shows" / "film", name)
    found = discover_outputs(tmp_path, "shows/film")
    assert kinds(found) == {f"shows/film/{name}": PREDECESSOR[name]}
    links = found.model_dump(exclude={"files"}, exclude_none=True)
    unnamed = {"subs", "audio_track", "retention_report"}
    assert set(links) == {PREDECESSOR[name]} - unnamed


def test_every_playlist_has_a_kind() -> None:
    for name in ("index", "master", "stream"):
        assert kind_of(f"mobile/hls/{name}.m3u8") == "mobile_hls_manifest"
        assert kind_of(f"hls/{name}.m3u8") == kind_of(f"{name}.m3u8") == "hls_manifest"


def test_what_is_told_of_a_file(tmp_path: Path) -> None:
    fill(tmp_path / "my film", "subs/my film.pt-BR.srt", "subs/tgt_literal.srt")
    os.utime(tmp_path / "my film" / "subs" / "my film.pt-BR.srt", (1_700_000_000, 1_700_000_000.5))
    file, literal = discover_outputs(tmp_path, "my film").files
    assert file.model_dump() == {
        "kind": "subs", "name": "my film.pt-BR.srt", "path": "my film/subs/my film.pt-BR.srt",
        "url": "/files/my%20film/subs/my%20film.pt-BR.srt", "size_bytes": 22, "mtime": 1_700_000_000.5,
        "lang": "pt-BR", "sha256": None,
    }  # fmt: skip
    assert literal.lang is None


def test_a_dub_that_is_not_called_like_its_directory(tmp_path: Path) -> None:
    fill(tmp_path / "film-2", "film.dub.mkv", "film.srt", "other.srt")
    assert kinds(discover_outputs(tmp_path, "film-2")) == {"film-2/film.dub.mkv": "mkv", "film-2/film.srt": "subs"}


class TestRecorded:
    def record(self, path: str, kind: str, size: int) -> dict[str, Any]:
        return {
            "kind": kind,
            "name": "n",
            "path": path,
            "url": "u",
            "size_bytes": size,
            "sha256": "ab" * 32,
            "lang": None,
        }

    def test_what_the_log_tells_comes_first_if_it_is_there(self, tmp_path: Path) -> None:
        fill(tmp_path / "film", "film.dub.mkv", "film.dub.mp4", "film.srt")
        records = [
            self.record("film/film.dub.mkv", "mkv", 12),
            self.record("film/film.dub.mp4", "mp4", 99),
            self.record("film/gone.mp4", "mp4", 1),
        ]
        files = discover_outputs(tmp_path, "film", records).files
        assert [(file.path, file.sha256) for file in files] == [
            ("film/film.dub.mkv", "ab" * 32),
            ("film/film.dub.mp4", None),  # it is not the file of which that was the digest
        ]

    @pytest.mark.parametrize(
        "path",
        ["../secret.mkv", "/etc/passwd", "_state/jobs.db", "film/.job", "film/../_state/jobs.db", "", "a\0b", "\ud800"],
    )
    def test_no_path_leads_out(self, tmp_path: Path, path: str) -> None:
        root = tmp_path / "output"
        fill(root, "_state/jobs.db", "film/.job")
        fill(tmp_path, "secret.mkv")
        assert discover_outputs(root, "film", [self.record(path, "mkv", 1)]).files == []
        assert discover_outputs(root, path).files == []

    def test_bounded(self, tmp_path: Path) -> None:
        fill(tmp_path / "film", "film.dub.mkv")
        records = [self.record("film/film.dub.mkv", "mkv", 12)] * (FILES_MAX + 5)
        assert len(discover_outputs(tmp_path, "film", records).files) == FILES_MAX


class TestJobManifest:
    def test_what_it_names_and_nothing_else(self, tmp_path: Path) -> None:
        fill(tmp_path / "film", *PREDECESSOR)
        outputs = JobOutputs(
            primary={"mkv": "film.dub.mkv", "mp4": "gone.mp4", "newer_kind": "film.srt"},
            mobile={"mobile_mp4": "mobile/mobile.mp4"},
            tracks=["audio/tracks/dialogue_only.wav"],
            subs=["subs/src.vtt", "../film2/subs/src.vtt"],
        )
        text = manifest(outputs=outputs.model_dump(), special={"qa_summary": "qa/summary.json"}, new_member={"a": 1})
        fill(tmp_path / "film", "manifests/job.json")
        (tmp_path / "film" / "manifests" / "job.json").write_bytes(text)
        assert kinds(discover_outputs(tmp_path, "film")) == {
            "film/film.dub.mkv": "mkv",
            "film/mobile/mobile.mp4": "mobile_mp4",
            "film/audio/tracks/dialogue_only.wav": "audio_track",
            "film/subs/src.vtt": "subs",
            "film/qa/summary.json": "qa_summary",
            "film/qa/top_issues.md": "qa_top_issues",  # job.json has no member for these two
            "film/analysis/retention_report.json": "retention_report",
        }

    def test_a_job_that_has_made_nothing_yet_has_nothing(self, tmp_path: Path) -> None:
        fill(tmp_path / "film", "film.dub.mkv", "manifests/job.json")
        (tmp_path / "film" / "manifests" / "job.json").write_bytes(manifest())
        assert discover_outputs(tmp_path, "film").files == []

    @pytest.mark.parametrize("text", [b"", b"{", b'{"version": 2}', b" " * (1 << 21)])
    def test_a_damaged_or_newer_one_is_as_none(self, tmp_path: Path, text: bytes) -> None:
        fill(tmp_path / "film", "film.dub.mkv", "manifests/job.json")
        (tmp_path / "film" / "manifests" / "job.json").write_bytes(text)
        assert kinds(discover_outputs(tmp_path, "film")) == {"film/film.dub.mkv": "mkv"}

    def test_readers_ignore_what_a_later_writer_adds(self) -> None:
        text = json.loads(manifest(special={"tts_manifest": "t.json"}))
        text["job"]["team"] = text["special"]["peaks"] = text["outputs"]["posters"] = text["x"] = "new"
        assert JobManifest.model_validate(text).special == SpecialFiles(tts_manifest="t.json")


def test_no_link_is_followed(tmp_path: Path) -> None:
    root = tmp_path / "output"
    fill(tmp_path / "elsewhere", "film.dub.mkv", "src.srt")
    fill(root / "film", "film.dub.mp4")
    (root / "film" / "film.dub.mkv").symlink_to(tmp_path / "elsewhere" / "film.dub.mkv")
    (root / "film" / "subs").symlink_to(tmp_path / "elsewhere")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(root / "film" / "final_lipsynced.mp4")
    assert kinds(discover_outputs(root, "film")) == {"film/film.dub.mp4": "mp4"}
    assert discover_outputs(root, "link").files == []


def test_names_that_no_answer_can_carry_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "film" / "subs").mkdir(parents=True)
    (Path(os.fsdecode(os.fsencode(tmp_path / "film" / "subs") + b"/caf\xe9.srt"))).write_text("latin")
    assert discover_outputs(tmp_path, "film").files == []


def test_other_directories_are_not_looked_into(tmp_path: Path) -> None:
    fill(tmp_path, "film.dub.mkv", "jobs/x/film.dub.mkv", "_state/film.dub.mkv")
    for base in ("", ".", "jobs", "_state", "nothing"):
        assert discover_outputs(tmp_path, base) == Outputs(files=[])
