"""E5 and E7: jobs.db is fold(log), however the events were delivered, and one bad event blocks nobody."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from services.library import projection as module
from services.library.jobstore.dump import Row, dump
from services.library.jobstore.store import JobStore
from services.library.projection import Projection
from shared.eventlog import job_history
from shared.eventlog.port import Recorded
from shared.events.library import (
    JobArchived,
    JobDeleted,
    JobTagged,
    PresetDeleted,
    PresetSaved,
    ProjectDeleted,
    ProjectSaved,
)
from shared.job.aggregate import evolve
from tests.factories import NOW, completed, event, submitted
from tests.unit.library.stories import (
    JOB,
    deliver,
    log_of,
    of_no_job,
    project,
    recorded,
    results,
    undecodable,
    whole_story,
)

OTHER = "01890000-0000-7000-8000-000000000002"
PROJECT = "proj_0123456789abcdef"
PRESET = "preset_0123456789abcdef"


def rows(content: list[Row], table: str) -> list[Any]:
    return [row[1:] for row in content if row[0] == table]


def test_rows_index_files_and_cursor_come_from_one_log(tmp_path: Path) -> None:
    content = project(log_of(whole_story(), whole_story(OTHER, title="other.mp4")[:5]), tmp_path / "jobs.db")
    assert [row[0] for row in rows(content, "jobs")] == [JOB, OTHER]
    assert [row[0] for row in rows(content, "job_outputs")] == [JOB], "only what made something has a row"
    assert [row[0] for row in rows(content, "job_files")] == [
        "film/film.dub.mkv", "film/film.dub.mp4", "film/subs/film.en.vtt", "film/subs/film.pt.srt",
    ]  # fmt: skip
    assert [row[:2] for row in rows(content, "projector")] == [("jobs", 20)]


def test_events_of_no_job_move_the_cursor_and_change_no_row_and_are_not_quarantined(tmp_path: Path) -> None:
    story = whole_story()
    mixed = [*of_no_job(), *story[:6], *of_no_job(), *story[6:], *of_no_job()]
    content = project(log_of(mixed), tmp_path / "mixed.db")
    assert rows(content, "quarantine") == []
    assert [row[:2] for row in rows(content, "projector")] == [("jobs", len(mixed))]
    (job,) = rows(content, "jobs")
    assert '"state":"DONE"' in job[1]


def test_an_event_of_no_job_concerns_no_job(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.db")
    projection = Projection(store)
    story = log_of(whole_story())
    assert [job.id for job in projection.apply(story).jobs] == [JOB]
    others = [recorded(len(story) + place, what) for place, what in enumerate(of_no_job(), start=1)]
    assert projection.apply(others).jobs == []
    store.close()
    reopened = JobStore(tmp_path / "jobs.db")
    assert Projection(reopened).unfolded(others) == [], "nothing is read from the log for them"
    reopened.close()


def test_listeners_get_the_bytes_that_were_stored(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.db")
    projection = Projection(store)
    log = log_of(whole_story(), whole_story(OTHER)[:2])
    committed = projection.apply(log)
    stored = {row[0]: row[1].encode() for row in rows(dump(tmp_path / "jobs.db"), "jobs")}
    assert committed.rows == stored
    assert [job.id for job in committed.jobs] == [JOB, OTHER]
    again = projection.apply(log)
    assert ([job.id for job in again.jobs], again.rows) == ([JOB, OTHER], {}), "delivered again: no row is new"
    store.close()


def test_outputs_are_written_when_they_change_and_not_with_every_event(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.db")
    projection = Projection(store)
    log = log_of([*whole_story(), event(JobTagged, JOB, tags=["a"]), event(JobArchived, JOB)])
    projection.apply(log[:15])
    with sqlite3.connect(tmp_path / "jobs.db") as other:
        other.execute("CREATE TRIGGER never BEFORE UPDATE ON job_outputs BEGIN SELECT raise(ABORT, 'written'); END")
    other.close()
    projection.apply(log[15:])
    store.close()


def test_projects_and_presets_are_what_their_last_events_say(tmp_path: Path) -> None:
    first = event(ProjectSaved, PROJECT, owner="local", name="Films", output_subdir="films", created_at=NOW)
    preset = event(PresetSaved, PRESET, owner="local", name="Fast", mode="low", tgt_lang="pt", created_at=NOW)
    changed = event(
        ProjectSaved, PROJECT, owner="local", name="Films", output_subdir="films", default_preset_id=PRESET,
        profile={"mix": "legacy"}, created_at=NOW,
    )  # fmt: skip
    content = project(log_of([first, preset, changed]), tmp_path / "a.db")
    assert [(key, json.loads(value)) for key, value in rows(content, "projects")] == [
        (PROJECT, {
            "id": PROJECT, "owner_id": "local", "name": "Films", "created_at": "2026-01-02T03:04:05.000Z",
            "updated_at": "2026-01-02T03:04:05.000Z", "output_subdir": "films", "default_preset_id": PRESET,
            "profile": {"mix": "legacy"},
        }),
    ]  # fmt: skip
    ((_, value),) = rows(content, "presets")
    assert set(json.loads(value)) == {
        "id", "owner_id", "name", "created_at", "updated_at", "mode", "device", "src_lang", "tgt_lang", "tts_lang",
        "tts_speaker", "profile",
    }  # fmt: skip
    gone = [first, preset, event(ProjectDeleted, PROJECT), event(PresetDeleted, PRESET)]
    content = project(log_of(gone), tmp_path / "b.db")
    assert rows(content, "projects") + rows(content, "presets") == []


def test_a_deleted_job_has_no_rows_and_no_event_brings_it_back(tmp_path: Path) -> None:
    late = [event(JobTagged, JOB, tags=["a"]), completed(JOB, "mux", outputs=results()), submitted(JOB)]
    log = log_of(
        [*whole_story(), event(JobDeleted, JOB, owner="local", base_dir="film", source="uploads/up_1.mp4"), *late]
    )
    for restart in (False, True):
        path = tmp_path / f"{restart}.db"
        store = JobStore(path)
        projection = Projection(store)
        assert projection.apply(log[:16]).jobs == []
        if restart:
            projection = Projection(store)
        for record in log[10:]:
            assert deliver(log, [record], projection).jobs == []
        store.close()
        content = dump(path)
        assert [row for row in content if row[0] != "projector"] == []


def test_an_undecodable_event_of_no_job_is_quarantined_too(tmp_path: Path) -> None:
    log = [*log_of(whole_story()[:3]), Recorded.of(4, "dub.evt.runtime.limits", b"?")]
    content = project(log, tmp_path / "jobs.db")
    assert [row[:2] for row in rows(content, "quarantine")] == [(4, "dub.evt.runtime.limits")]


def test_an_undecodable_event_is_quarantined_without_its_content(tmp_path: Path) -> None:
    log = log_of(whole_story())
    poisoned = [*log[:3], undecodable(4), *(recorded(r.seq + 1, r.event) for r in log[3:] if r.event)]
    content = project(poisoned, tmp_path / "jobs.db")
    (kept,) = rows(content, "quarantine")
    assert kept[0] == 4
    assert "exploded" not in kept[2]
    (job,) = rows(content, "jobs")
    assert '"state":"DONE"' in job[1]


def test_an_event_that_breaks_the_fold_is_quarantined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(whole_story(), whole_story(OTHER))

    def break_on_third(job: Any, seq: int, what: Any) -> Any:
        if seq == 3:
            raise RuntimeError("a defect")
        return evolve(job, seq, what)

    monkeypatch.setattr(job_history, "evolve", break_on_third)
    content = project(log, tmp_path / "jobs.db")
    assert rows(content, "quarantine") == [(3, log[2].subject, "RuntimeError")]
    assert len([row for row in rows(content, "jobs") if '"state":"DONE"' in row[1]]) == 1


def test_a_batch_that_cannot_be_written_leaves_nothing_and_can_come_again(tmp_path: Path) -> None:
    log = log_of(whole_story())
    store = JobStore(tmp_path / "jobs.db")
    projection = Projection(store)
    projection.apply(log[:4])
    before = dump(tmp_path / "jobs.db")
    with sqlite3.connect(tmp_path / "jobs.db") as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON projector BEGIN SELECT raise(ABORT, 'disk full'); END")
    with pytest.raises(sqlite3.IntegrityError):
        projection.apply(log[4:])
    assert dump(tmp_path / "jobs.db") == before
    with sqlite3.connect(tmp_path / "jobs.db") as other:
        other.execute("DROP TRIGGER full")
    other.close()
    projection.apply(log[4:])
    store.close()
    assert dump(tmp_path / "jobs.db") == project(log, tmp_path / "clean.db")


def test_few_folded_jobs_in_memory_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLDED_JOBS", 1)
    log = log_of(whole_story(), whole_story(OTHER))
    store = JobStore(tmp_path / "jobs.db")
    projection = Projection(store)
    for record in log:
        deliver(log, [record], projection)
    store.close()
    assert dump(tmp_path / "jobs.db") == project(log, tmp_path / "clean.db")
