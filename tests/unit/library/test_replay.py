"""E5: any log, delivered in any pieces, twice, over restarts, or read whole into a new file, gives one content."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlitedict import SqliteDict

from services.library import projection as module
from services.library.job_manifest import build
from services.library.jobstore.dump import Row, dump
from services.library.jobstore.store import JobStore
from services.library.projection import Projection
from services.library.rebuild import rebuild, rebuild_into
from shared.eventlog.memory import MemoryEventLog
from shared.eventlog.port import Recorded
from shared.events.library import (
    JobArchived,
    JobDeleted,
    JobTagged,
    JobUnarchived,
    JobVisibilityChanged,
    PresetDeleted,
    PresetSaved,
    ProjectDeleted,
    ProjectSaved,
)
from shared.events.policy import JobDegraded
from shared.events.types import (
    Event,
    JobCanceled,
    JobFailed,
    JobImported,
    JobPaused,
    JobRequeued,
    JobResumed,
    JobStarted,
)
from shared.job.stages import GRAPH
from shared.layout import Layout
from tests.factories import NOW, claimed, completed, event, failed, submitted, submitted_data
from tests.unit.library.stories import (
    deliver,
    job_files,
    of_no_job,
    project,
    recorded,
    results,
    undecodable,
    whole_story,
)

PROJECT = "proj_0123456789abcdef"
PRESET = "preset_0123456789abcdef"
JOBS = [f"01890000-0000-7000-8000-00000000000{n}" for n in range(3)]


ABOUT_JOBS: list[tuple[type[Any], dict[str, Any]]] = [
    (JobStarted, {"run": 1}),
    (JobFailed, {"code": "c", "message": "m"}),
    (JobPaused, {}),
    (JobResumed, {}),
    (JobCanceled, {}),
    (JobRequeued, {"run": 2}),
    (JobDegraded, {"from_mode": "medium", "to_mode": "low", "queue_len": 9, "reason": "backpressure"}),
    (JobTagged, {"tags": ["b", "a"]}),
    (JobTagged, {"tags": []}),
    (JobArchived, {}),
    (JobUnarchived, {}),
    (JobVisibilityChanged, {"visibility": "shared"}),
    (JobDeleted, {"owner": "local", "base_dir": "film", "source": ""}),
]
ABOUT_SETTINGS: list[tuple[type[Any], str, dict[str, Any]]] = [
    (ProjectSaved, PROJECT, {"owner": "local", "name": "p", "created_at": NOW}),
    (ProjectSaved, PROJECT, {"owner": "local", "name": "p", "default_preset_id": PRESET, "created_at": NOW}),
    (ProjectDeleted, PROJECT, {}),
    (PresetSaved, PRESET, {"owner": "local", "name": "q", "created_at": NOW}),
    (PresetDeleted, PRESET, {}),
]


def happening(draw: st.DrawFn, job: str) -> Event | None:
    """One of everything that may be in a log, sensible there or not; None is bytes that are no event."""
    match draw(st.sampled_from(["job", "job", "stage", "stage", "begins", "settings", "of no job", "undecodable"])):
        case "job":
            kind, data = draw(st.sampled_from(ABOUT_JOBS))
            return event(kind, job, **data)
        case "stage":
            stage, attempt = draw(st.sampled_from(list(GRAPH))), draw(st.integers(1, 2))
            made = {"outputs": results(job_id=job)} if stage == "mux" else {}
            match draw(st.sampled_from(["claimed", "failed", "completed"])):
                case "claimed":
                    return claimed(job, stage, attempt)
                case "failed":
                    return failed(job, stage, attempt)
                case _:
                    return completed(job, stage, attempt, **made)
        case "begins":
            title = draw(st.text(st.characters(codec="utf-8"), max_size=8))
            begun = {"title": title, "project_id": PROJECT, "project_name": title, "tags": ["b"]}
            if draw(st.booleans()):
                return submitted(job, **begun)
            data = {"submitted": submitted_data(**begun), "state": "DONE", "outputs": results(job_id=job)}
            return event(JobImported, job, **data, created_at=NOW, updated_at=NOW)
        case "settings":
            kind, key, data = draw(st.sampled_from(ABOUT_SETTINGS))
            return event(kind, key, **data)
        case "of no job":
            return draw(st.sampled_from(of_no_job()))
        case _:
            return None


@st.composite
def logs(draw: st.DrawFn) -> list[Recorded]:
    """Any log: jobs that mostly begin sensibly, anything after that, and bytes that are no event."""
    log: list[Recorded] = []
    for job in JOBS[: draw(st.integers(0, 3))]:
        log += [recorded(len(log) + 1, submitted(job)), recorded(len(log) + 2, event(JobStarted, job, run=1))]
    for _ in range(draw(st.integers(1, 30))):
        job, seq = draw(st.sampled_from(JOBS)), len(log) + 1
        what = happening(draw, job)
        log.append(undecodable(seq, job) if what is None else recorded(seq, what))
    return log


def rewrite(path: Path) -> None:
    """Somebody reads all jobs with stock sqlitedict and writes them back."""
    for table in ("jobs", "job_outputs"):
        with SqliteDict(
            str(path), table, encode=json.dumps, decode=json.loads, journal_mode="WAL", autocommit=True
        ) as theirs:
            for key, value in list(theirs.items()):
                theirs[key] = value


def texts_as_values(content: list[Row]) -> list[Row]:
    """Stock sqlitedict's codec writes the same values with other blanks."""
    return [
        (*row[:2], json.loads(row[2])) if row[0] in {"jobs", "job_outputs", "projects", "presets"} else row
        for row in content
    ]


@settings(max_examples=25)
@given(log=logs(), data=st.data())
def test_e5_duplicates_restarts_and_foreign_writes_change_nothing(
    log: list[Recorded], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("e5")
    clean = project(log, directory / "clean.db")
    store = JobStore(directory / "jobs.db")
    projection = Projection(store)
    manifests: dict[str, bytes] = {}
    position = 0
    rewritten = False
    while position < len(log):
        start = data.draw(st.integers(0, position), label="redelivered from")
        end = data.draw(st.integers(position + 1, len(log)), label="delivered to")
        committed = deliver(log, log[start:end], projection)
        manifests |= {job.id: build(job, Layout(Path("data"))).encode() for job in committed.jobs}
        position = end
        happens = data.draw(st.sampled_from(["nothing", "nothing", "restart", "restart", "foreign"]), label="then")
        if happens == "foreign":
            rewrite(directory / "jobs.db")
            rewritten = True
        if happens == "restart":
            store.close()
            store = JobStore(directory / "jobs.db")
            projection = Projection(store)
    store.close()
    content = dump(directory / "jobs.db")
    assert texts_as_values(content) == texts_as_values(clean)
    assert rewritten or content == clean
    living = job_files(log)
    assert {job_id: manifests[job_id] for job_id in living} == living
    memory = MemoryEventLog()
    memory.records = log
    asyncio.run(rebuild_into(memory, directory / "rebuilt.db"))
    assert dump(directory / "rebuilt.db") == clean


async def filled_log(*stories: list[Event]) -> MemoryEventLog:
    log = MemoryEventLog()
    for what in [step for story in stories or (whole_story(),) for step in story]:
        await log.append(what)
    return log


async def test_a_rebuild_reads_the_whole_log_into_a_new_file(tmp_path: Path) -> None:
    log = await filled_log()
    assert await rebuild_into(log, tmp_path / "rebuilt.db") == len(log.records)
    assert dump(tmp_path / "rebuilt.db") == project(log.records, tmp_path / "clean.db")
    with pytest.raises(FileExistsError):
        await rebuild_into(log, tmp_path / "rebuilt.db")


async def test_a_rebuild_folds_again_what_it_had_to_forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = await filled_log(*(whole_story(job)[:9] for job in JOBS), *(whole_story(job)[9:] for job in JOBS))
    monkeypatch.setattr(module, "FOLDED_JOBS", 1)
    monkeypatch.setattr("services.library.rebuild.READ_AT_ONCE", 5)
    await rebuild_into(log, tmp_path / "rebuilt.db")
    assert dump(tmp_path / "rebuilt.db") == project(log.records, tmp_path / "clean.db")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_a_rebuild_beside_replaces_what_an_earlier_one_left(tmp_path: Path) -> None:
    log = await filled_log()
    (tmp_path / "jobs.db.rebuilding").write_bytes(b"killed in the middle")
    (tmp_path / "jobs.db.rebuilt").write_bytes(b"an older one")
    (tmp_path / "jobs.db.rebuilt-wal").write_bytes(b"its changes")
    assert await rebuild(log, tmp_path / "jobs.db") == len(log.records)
    assert names(tmp_path) == ["jobs.db.rebuilt"]
    assert dump(tmp_path / "jobs.db.rebuilt") == project(log.records, tmp_path / "clean.db")
