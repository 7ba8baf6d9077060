"""A deleted job's files go: at once, or when its worker has let go, or after whatever failed works again."""

import asyncio
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from services.library import deletion
from services.library.committed import Committed
from services.library.deletion import Deleter
from services.library.removal import remove
from shared.eventlog.memory import MemoryEventLog
from shared.eventlog.port import LogUnavailableError
from shared.events.library import JobDeleted
from shared.events.types import Event, JobCanceled, JobStarted, StageReleased
from shared.layout import Layout
from tests.factories import claimed, event, submitted
from tests.unit.library.deleted import DELETED, OTHER, SOURCE, files, two_jobs
from tests.unit.library.stories import JOB, log_of


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return two_jobs(tmp_path / "data")


class Story:
    """A deleter on a log in memory; `finished` collects what it says."""

    def __init__(self, layout: Layout, log: MemoryEventLog) -> None:
        async def finished(seq: int) -> None:
            self.finished.append(seq)
            self.told.set()

        self.log = log
        self.finished: list[int] = []
        self.told = asyncio.Event()
        self.deleter = Deleter(layout, log, finished)

    @contextmanager
    def running(self) -> Iterator[None]:
        task = asyncio.create_task(self.deleter.run())
        try:
            yield
        finally:
            task.cancel()

    def hear(self) -> None:
        self.deleter.offer(Committed(self.log.records))

    async def until_told(self) -> int:
        await asyncio.wait_for(self.told.wait(), 10)
        self.told.clear()
        return self.finished[-1]


async def log_with(*more: Event) -> MemoryEventLog:
    """A job that was submitted and cancelled, with what came between and after."""
    log = MemoryEventLog()
    story = [submitted(JOB, base_dir="film"), *more]
    for recorded in log_of(story):
        assert recorded.event is not None
        await log.append(recorded.event)
    return log


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- the disk tells nobody
            await asyncio.sleep(0.005)


async def test_a_deletion_is_heard_and_done(layout: Layout) -> None:
    story = Story(layout, await log_with(event(JobCanceled, JOB), DELETED))
    with story.running(), structlog.testing.capture_logs() as logs:
        story.hear()
        assert await story.until_told() == 3
        story.hear()  # delivered again
        await asyncio.sleep(0.05)
    assert files(layout, JOB) == set()
    assert [entry["event"] for entry in logs] == ["job_files_removed"]
    assert files(layout) != set()


async def test_an_event_that_did_not_apply_removes_nothing(layout: Layout) -> None:
    """The job was running when it was deleted: the log has the event, and the job goes on."""
    before = files(layout)
    story = Story(layout, await log_with(event(JobStarted, JOB, run=1), DELETED))
    with story.running():
        story.hear()
        assert await story.until_told() == 3
    assert files(layout) == before


async def test_it_waits_for_the_worker_that_still_has_the_job(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that is being killed must not find its directory gone and make a new one."""
    monkeypatch.setattr(deletion, "CLAIM_POLL_S", 0.01)
    started = event(JobStarted, JOB, run=1)
    story = Story(layout, await log_with(started, claimed(JOB, "mux"), event(JobCanceled, JOB), DELETED))
    with story.running():
        story.hear()
        assert await story.until_told() == 5  # there is a note of it: a restart need not hear it again
        assert (layout.deletions / JOB).exists()
        await asyncio.sleep(0.05)
        assert (layout.output / "film" / "film.dub.mkv").exists()
        await story.log.append(event(StageReleased, JOB, stage="mux", attempt=1, reason="killed"))
        await until(lambda: files(layout, JOB) == set())


async def test_a_worker_that_is_gone_is_not_waited_for_for_ever(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "CLAIM_POLL_S", 0.01)
    monkeypatch.setattr(deletion, "CLAIM_WAIT_S", 0.05)
    started = event(JobStarted, JOB, run=1)
    story = Story(layout, await log_with(started, claimed(JOB, "mux"), event(JobCanceled, JOB), DELETED))
    with story.running():
        story.hear()
        await until(lambda: files(layout, JOB) == set())


@pytest.mark.parametrize("failure", [OSError(errno.EACCES, "Permission denied"), LogUnavailableError()])
async def test_what_fails_is_tried_again_and_told_once(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    monkeypatch.setattr(deletion, "RETRY_S", 0.01)
    tries, works = 0, deletion.load_job

    async def load(*args: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries < 5:
            raise failure
        return await works(*args)

    monkeypatch.setattr(deletion, "load_job", load)
    story = Story(layout, await log_with(event(JobCanceled, JOB), DELETED))
    with story.running(), structlog.testing.capture_logs() as logs:
        story.hear()
        await until(lambda: files(layout, JOB) == set())
    assert [entry["event"] for entry in logs] == ["job_files_not_removed_yet", "job_files_removed"]


async def test_a_full_disk_that_takes_no_note_holds_the_position_and_nothing_else(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "RETRY_S", 0.01)
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(*_: object) -> None:
        raise full

    monkeypatch.setattr(deletion, "write_bytes", fail)
    monkeypatch.setattr(deletion, "remove", fail)
    story = Story(layout, await log_with(event(JobCanceled, JOB), DELETED))
    with story.running():
        story.hear()
        assert await story.until_told() == 2
        monkeypatch.setattr(deletion, "remove", remove)
        assert await story.until_told() == 3
    assert files(layout, JOB) == set()


async def test_what_an_earlier_process_left_is_done_without_hearing_of_it(layout: Layout) -> None:
    """One job has a note; of another only the trash is left, as after a kill between two steps."""
    log = await log_with(event(JobCanceled, JOB), DELETED)
    for what in (submitted(OTHER, base_dir="x"), event(JobCanceled, OTHER)):
        await log.append(what)
    await log.append(event(JobDeleted, OTHER, owner="local", base_dir="x", source=SOURCE))
    layout.deletions.mkdir(parents=True)
    (layout.deletions / JOB).touch()
    (layout.deletions / "..").touch()
    layout.trash.mkdir()
    (layout.output / f"film-{OTHER[-12:]}").rename(layout.trash / OTHER)
    with Story(layout, log).running():
        await until(lambda: files(layout) == {"input/uploads/up_2.mp4"})
    assert list(layout.trash.iterdir()) == []
