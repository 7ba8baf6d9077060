"""The predecessor's records: read without running what they name, and taken over with every tolerance they need."""

import datetime as dt
import enum
import os
import pickle
import sqlite3
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlitedict import SqliteDict

from services.standalone.predecessor.importer import Left, Origin, Report, run_import
from services.standalone.predecessor.records import LEFT_UNFINISHED, SkippedError, old_job, old_preset, old_project
from services.standalone.predecessor.unpickle import RefusedRowError, read_row
from shared.eventlog.job_history import load_job
from shared.eventlog.memory import MemoryEventLog
from shared.job.model import JobState
from shared.layout import Layout

JOB = "6f1c2f0e-6b1c-4a56-9d0e-0c5f3a1b2c3d"
FAILED = "6f1c2f0e-6b1c-4a56-9d0e-0c5f3a1b2c3e"


def as_predecessor(name: str, value: str) -> Any:
    """Return a member of an enumeration in a module of the predecessor, as pickle finds it there."""
    module = types.ModuleType("old_models")
    states = enum.Enum("JobState", {name: value}, module=module.__name__, type=str)  # type: ignore[misc]
    module.JobState = states  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    return states[name]


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/dubline-was-here",)


def old(**changes: Any) -> dict[str, Any]:
    record = {
        "id": JOB, "owner_id": "u_1", "video_path": "/app/Input/uploads/Film One.mp4", "duration_s": 61.5,
        "mode": "high", "device": "cuda", "src_lang": "ja", "tgt_lang": "en", "created_at": "2024-05-01T10:00:00+00:00",
        "updated_at": "2024-05-01T11:00:00+00:00", "state": "DONE", "progress": 1.0, "message": "Done",
        "output_mkv": "", "output_srt": "", "error": None,
        "runtime": {
            "tags": ["Anime", "x" * 40], "archived": True, "project": {"name": "My Show", "output_subdir": "show"},
        },
    }  # fmt: skip
    return record | changes


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_of_python_3_are_read(protocol: int) -> None:
    value = old(at=dt.datetime(2024, 5, 1, tzinfo=dt.UTC), more=OrderedDict(a=1))
    assert read_row(pickle.dumps(value, protocol)) == value


def test_the_predecessors_own_state_is_read_as_text() -> None:
    stored = pickle.dumps({"state": as_predecessor("DONE", "DONE")})
    del sys.modules["old_models"]
    assert read_row(stored) == {"state": "DONE"}


def test_json_rows_are_read_too() -> None:
    assert read_row('{"a":1}') == {"a": 1}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_row_that_names_code_is_refused_and_runs_nothing(protocol: int) -> None:
    with pytest.raises(RefusedRowError, match=r"asks for (posix|os)\.system"):
        read_row(pickle.dumps({"job": Evil()}, protocol))
    assert not Path("/tmp/dubline-was-here").exists()


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(stored: bytes) -> None:
    try:
        read_row(stored)
    except RefusedRowError:
        return


@pytest.mark.parametrize("stored", [None, 1, "{", "pickle", b""])
def test_a_row_that_is_neither_json_nor_pickle_is_refused(stored: object) -> None:
    with pytest.raises(RefusedRowError):
        read_row(stored)


def test_a_job_keeps_what_has_a_meaning_here() -> None:
    job = old_job(JOB, old())
    submitted = job.data.submitted
    assert (job.id, job.data.state, job.data.archived) == (JOB, "DONE", True)
    assert (submitted.title, submitted.stem, submitted.owner) == ("Film One.mp4", "Film One", "u_1")
    assert (submitted.project_name, job.project_subdir, submitted.tags) == ("My Show", "show", ["anime"])
    assert (submitted.mode, submitted.src_lang, submitted.source.duration_s) == ("high", "ja", 61.5)
    assert job.data.created_at == dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC)
    assert job.notes == ["a tag was left out: a tag has 1 to 32 characters"]


@pytest.mark.parametrize("state", ["DONE", "JobState.DONE", "done"])
def test_every_way_to_write_a_state_is_read(state: str) -> None:
    assert old_job(JOB, old(state=state)).data.state == "DONE"


@pytest.mark.parametrize("state", ["QUEUED", "JobState.RUNNING", "PAUSED"])
def test_an_unfinished_job_comes_over_as_cancelled_and_says_why(state: str) -> None:
    data = old_job(JOB, old(state=state)).data
    assert (data.state, data.error) == ("CANCELED", LEFT_UNFINISHED)


def test_an_early_record_that_lacks_nearly_everything_comes_over() -> None:
    job = old_job(JOB, {"state": "FAILED", "error": "boom"})
    assert (job.data.state, job.data.error, job.data.submitted.title) == ("FAILED", "boom", JOB)
    assert job.data.submitted.mode == "medium"


@pytest.mark.parametrize("subdir", ["../../etc", "/etc", "_state"])
def test_a_project_directory_that_leads_out_is_left_out(subdir: str) -> None:
    job = old_job(JOB, old(runtime={"project": {"name": "p", "output_subdir": subdir.lstrip("/") + "/.."}}))
    assert job.project_subdir == ""
    assert job.notes


@pytest.mark.parametrize("record", [None, [], {"id": "1"}, {"state": "EXPLODED"}])
def test_what_cannot_come_over_says_why(record: Any) -> None:
    with pytest.raises(SkippedError):
        old_job("no uuid" if record == {"id": "1"} else JOB, record)


def test_presets_and_projects_keep_their_ids() -> None:
    preset_id, preset = old_preset("preset_0123456789abcdef", {"name": "Fast", "mode": "low"})
    assert (preset_id, preset.name, preset.mode, preset.src_lang) == ("preset_0123456789abcdef", "Fast", "low", "ja")
    project_id, project = old_project("proj_0123456789abcdef", {"name": "Show", "output_subdir": "show/s1"})
    assert (project_id, project.output_subdir) == ("proj_0123456789abcdef", "show/s1")
    for wrong in ({"name": ""}, {"name": "x", "output_subdir": "../x"}):
        with pytest.raises(SkippedError):
            old_project("proj_0123456789abcdef", wrong)
    with pytest.raises(SkippedError):
        old_preset("preset_x", {"name": "x"})


@pytest.fixture
def predecessor(tmp_path: Path) -> Origin:
    """A predecessor's output as its versions left it: pickled rows, and a pointer of another machine."""
    output = tmp_path / "old" / "Output"
    base = output / "show" / "Film One"
    (base / "subs").mkdir(parents=True)
    (base / "Film One.dub.mkv").write_bytes(b"matroska")
    (base / "Film One.dub.mp4").write_bytes(b"mp4")
    (base / "subs" / "tgt_fit.srt").write_bytes(b"1\n")
    (base / "work").mkdir()
    (base / "work" / "audio.wav").write_bytes(b"x" * 100)
    pointer = output / "jobs" / JOB
    pointer.mkdir(parents=True)
    (pointer / "target.txt").write_text("/app/Output/show/Film One\n")
    database = output / "_state" / "jobs.db"
    database.parent.mkdir()
    with SqliteDict(str(database), "jobs", autocommit=True) as jobs:
        jobs[JOB] = old(state="JobState.DONE", output_mkv="/app/Output/show/Film One/Film One.dub.mkv")
        jobs["6f1c2f0e-6b1c-4a56-9d0e-0c5f3a1b2c3e"] = old(
            id="6f1c2f0e-6b1c-4a56-9d0e-0c5f3a1b2c3e",
            state="FAILED",
            error="boom",
            video_path="/x/other.mp4",
            runtime={},
        )
        jobs["broken"] = {"state": "DONE"}
    with SqliteDict(str(database), "presets", autocommit=True) as presets:
        presets["preset_0123456789abcdef"] = {"name": "Fast", "created_at": "2024-01-01T00:00:00Z"}
    with SqliteDict(str(database), "projects", autocommit=True) as projects:
        projects["proj_0123456789abcdef"] = {"name": "My Show", "output_subdir": "show"}
    with sqlite3.connect(database) as connection:
        connection.execute("INSERT INTO jobs VALUES ('evil', ?)", (pickle.dumps(Evil()),))
    connection.close()
    return Origin(database, output)


async def test_an_import_brings_jobs_and_files_once_and_reports_the_rest(predecessor: Origin, tmp_path: Path) -> None:
    log, layout = MemoryEventLog(), Layout(tmp_path / "data")
    report = await run_import(predecessor, layout, log)
    assert report.imported == {"projects": 1, "presets": 1, "jobs": 2}
    assert {(left.key, left.reason) for left in report.skipped} == {
        ("broken", "its id is not a UUID"),
        ("evil", "it asks for posix.system"),
    }
    job, _ = await load_job(log, JOB)
    assert job is not None
    assert (job.state, job.submitted.project_name, job.submitted.base_dir) == (
        JobState.DONE,
        "My Show",
        "show/Film One",
    )
    files = {artifact.path: artifact for artifact in job.imported or []}
    assert set(files) == {
        "show/Film One/Film One.dub.mkv", "show/Film One/Film One.dub.mp4", "show/Film One/subs/tgt_fit.srt",
    }  # fmt: skip
    for path, artifact in files.items():
        assert (layout.output / path).stat().st_size == artifact.size
    assert (layout.output / "jobs" / JOB / "target.txt").exists()
    again = await run_import(predecessor, layout, log)
    assert again.already_here == {"projects": 1, "presets": 1, "jobs": 2}
    assert again.imported == {"projects": 0, "presets": 0, "jobs": 0}


async def test_a_dry_run_writes_nothing(predecessor: Origin, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    report = await run_import(predecessor, layout, None)
    assert report.imported["jobs"] == 2
    assert not layout.data.exists()


async def test_two_old_jobs_of_one_stem_get_a_directory_each(predecessor: Origin, tmp_path: Path) -> None:
    """B1: they shared one; here both have the files that were left in it."""
    other = "6f1c2f0e-6b1c-4a56-9d0e-0c5f3a1b2c3f"
    with SqliteDict(str(predecessor.database), "jobs", autocommit=True) as jobs:
        jobs[other] = old(id=other)
    log, layout = MemoryEventLog(), Layout(tmp_path / "data")
    await run_import(predecessor, layout, log)
    first, _ = await load_job(log, JOB)
    second, _ = await load_job(log, other)
    assert first is not None
    assert second is not None
    assert first.submitted.base_dir != second.submitted.base_dir
    assert len(first.imported or []) == len(second.imported or []) == 3


async def test_the_installations_own_output_is_no_place_to_import_from(predecessor: Origin, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    own = Origin(predecessor.database, layout.output / "Output")
    with pytest.raises(ValueError, match="own output"):
        await run_import(own, layout, MemoryEventLog())


def test_a_report_is_plain_data() -> None:
    assert Report(skipped=[Left("jobs", "a", "b")]).skipped[0].reason == "b"
