"""What is not kept of an ended job is removed, and nobody else's; at once, or after whatever failed works again."""

import asyncio
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog

from services.library import deletion
from services.library.clearing import clear
from services.library.committed import Committed
from services.library.deletion import Deleter
from services.library.removal import Removal
from shared.eventlog.job_history import fold
from shared.eventlog.memory import MemoryEventLog
from shared.events.library import JobTagged
from shared.events.types import Event, JobCanceled, JobCompleted, JobRequeued, JobStarted, StageReleased
from shared.job.model import Job
from shared.keeping import KEEP_ALL, PRIVATE, Keeping
from shared.layout import Layout
from tests.factories import claimed, event, submitted
from tests.unit.library.deleted import SOURCE, files, two_jobs
from tests.unit.library.stories import JOB, log_of, whole_story

WORK = f"output/film/work/{JOB}"
MADE = ("audio16k.wav", "transcript.json", "takes/line.wav")
LOGS = ("job.log", "job.log.1", "logs/stages/mux.log")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = two_jobs(tmp_path / "data")
    for name in (*(f"work/{JOB}/{name}" for name in MADE), *LOGS):
        path = layout.output / "film" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return layout


def ended(keeping: Keeping) -> Job:
    job = fold(log_of(whole_story(keeping=keeping)))
    assert job is not None
    return job


def gone(layout: Layout, keeping: Keeping) -> set[str]:
    """What is not there any more, after doing it twice."""
    before = files(layout)
    assert clear(layout, ended(keeping)).left == ()
    left = files(layout)
    assert clear(layout, ended(keeping)) == Removal(removed=False)
    assert files(layout) == left
    return before - left


def test_everything_is_kept_by_default(layout: Layout) -> None:
    assert gone(layout, KEEP_ALL) == set()


def test_of_a_balanced_job_the_sound_goes(layout: Layout) -> None:
    assert gone(layout, Keeping(cache="balanced")) == {f"{WORK}/audio16k.wav"}


def test_of_a_minimal_job_the_work_goes_with_its_directory(layout: Layout) -> None:
    assert gone(layout, Keeping(cache="minimal")) == {f"{WORK}/{name}" for name in (*MADE, "deep/er/final_mix.wav")}
    assert not (layout.output / "film" / "work").exists()


def test_of_a_private_job_its_results_are_left(layout: Layout) -> None:
    gone(layout, PRIVATE)
    kept = {".job", "film.dub.mkv", "manifests/mux.json", "subs/film.pt.srt"}
    pointer = {f"output/jobs/{JOB}/{name}" for name in ("target.txt", "job_id.txt", "video.txt")}
    assert files(layout, JOB) == {f"output/film/{name}" for name in kept} | pointer


def test_bytes_that_another_job_uses_again_stay_its_own(layout: Layout) -> None:
    """Stages of other jobs are re-used by links (`services.worker.reuse`)."""
    ours, theirs = layout.data / WORK / "audio16k.wav", layout.output / "theirs.wav"
    os.link(ours, theirs)
    content = ours.read_text()
    gone(layout, PRIVATE)
    assert (ours.exists(), theirs.read_text()) == (False, content)


def test_a_directory_that_is_not_marked_as_the_jobs_is_left_alone(layout: Layout) -> None:
    for marker in (None, "somebody else"):
        (layout.output / "film" / ".job").unlink()
        if marker:
            (layout.output / "film" / ".job").write_text(marker)
        before = files(layout)
        done = clear(layout, ended(Keeping(cache="minimal", logs=False)))
        assert (done.removed, files(layout)) == (False, before)
        assert done.left == ("the base directory is not marked as the job's",)
        (layout.output / "film" / ".job").touch()


def test_a_link_in_place_of_the_work_directory_is_not_followed(layout: Layout, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious.wav").write_text("precious")
    work = layout.output / "film" / "work" / JOB
    work.rename(tmp_path / "away")
    work.symlink_to(elsewhere)
    assert clear(layout, ended(Keeping(cache="minimal", logs=False))).left
    assert (elsewhere / "precious.wav").exists()


class Story:
    """A deleter on a log in memory that hears what the projector would tell of it."""

    def __init__(self, layout: Layout, log: MemoryEventLog) -> None:
        self.log = log
        self.finished = 0
        self.deleter = Deleter(layout, log, self._finished)

    async def _finished(self, seq: int) -> None:
        self.finished = seq

    def hear(self) -> None:
        job = fold(self.log.records)
        assert job is not None
        self.deleter.offer(Committed(self.log.records, [job]))

    async def until_quiet(self, seq: int = 0) -> None:
        """Wait until nothing up to a sequence has to be heard again; 0: of the whole log."""
        async with asyncio.timeout(10):
            while self.finished < (seq or len(self.log.records)):  # noqa: ASYNC110 -- it tells by a call
                await asyncio.sleep(0.005)


async def log_with(events: Sequence[Event]) -> MemoryEventLog:
    log = MemoryEventLog()
    for what in events:
        await log.append(what)
    return log


PRIVATE_STORY = whole_story(keeping=PRIVATE)


async def test_an_end_is_heard_and_what_goes_is_gone_once(layout: Layout) -> None:
    story = Story(layout, await log_with(PRIVATE_STORY))
    task = asyncio.create_task(story.deleter.run())
    with structlog.testing.capture_logs() as logs:
        story.hear()
        await story.until_quiet()
        await story.log.append(event(JobTagged, JOB, tags=["kept"]))
        story.hear()
        await story.until_quiet()
    task.cancel()
    assert not (layout.data / WORK).exists()
    assert not (layout.input / SOURCE).exists()
    assert (layout.output / "film" / "film.dub.mkv").exists()
    assert [entry["event"] for entry in logs] == ["job_files_removed"]


async def test_a_job_that_runs_again_by_then_keeps_what_it_needs(layout: Layout) -> None:
    canceled = [submitted(JOB, keeping=PRIVATE), event(JobCanceled, JOB)]
    story = Story(layout, await log_with(canceled))
    story.hear()
    await story.log.append(event(JobRequeued, JOB, run=2))
    before = files(layout)
    task = asyncio.create_task(story.deleter.run())
    await story.until_quiet(2)
    task.cancel()
    assert files(layout) == before


async def test_it_waits_for_the_worker_that_still_has_a_stage(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stage that is being stopped writes last must go too."""
    monkeypatch.setattr(deletion, "CLAIM_POLL_S", 0.01)
    began = [submitted(JOB, keeping=PRIVATE), event(JobStarted, JOB, run=1), claimed(JOB, "transcribe")]
    story = Story(layout, await log_with([*began, event(JobCanceled, JOB)]))
    task = asyncio.create_task(story.deleter.run())
    story.hear()
    await story.until_quiet()  # there is a note of it: a restart need not hear it again
    assert (layout.deletions / JOB).exists()
    assert (layout.data / WORK).exists()
    await story.log.append(event(StageReleased, JOB, stage="transcribe", attempt=1, reason="stopped"))
    async with asyncio.timeout(10):
        while (layout.deletions / JOB).exists():  # noqa: ASYNC110 -- the disk tells nobody
            await asyncio.sleep(0.005)
    task.cancel()
    assert not (layout.data / WORK).exists()
    assert (layout.input / SOURCE).exists(), "it was not dubbed: a re-run needs it"


async def test_what_fails_leaves_a_note_for_the_next_process(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    log = await log_with(PRIVATE_STORY)
    with monkeypatch.context() as failing:
        failing.setattr(deletion, "clear", fail)
        first = Story(layout, log)
        task = asyncio.create_task(first.deleter.run())
        first.hear()
        await first.until_quiet()
        task.cancel()
    assert (layout.deletions / JOB).exists()
    second = asyncio.create_task(Story(layout, log).deleter.run())  # it hears nothing
    async with asyncio.timeout(10):
        while (layout.deletions / JOB).exists():  # noqa: ASYNC110 -- the disk tells nobody
            await asyncio.sleep(0.005)
    second.cancel()
    assert not (layout.data / WORK).exists()


async def test_of_a_job_that_keeps_everything_nothing_is_even_looked_at(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    async def load(_log: Any, job_id: str) -> Any:
        looked.append(job_id)
        return None, 0

    monkeypatch.setattr(deletion, "load_job", load)
    done = [submitted(JOB), event(JobStarted, JOB, run=1), event(JobCompleted, JOB, run=1)]
    story = Story(layout, await log_with(done))
    task = asyncio.create_task(story.deleter.run())
    story.hear()
    await story.until_quiet()
    task.cancel()
    assert looked == []
