"""The projector's start, and another file in the place of jobs.db: nobody ever reads less than before."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from services.library import projector as module
from services.library.adoption import Identity, identity
from services.library.committed import Committed
from services.library.jobstore.dump import dump
from services.library.jobstore.reader import Reader
from services.library.jobstore.store import JobStore
from services.library.projection import Projection
from services.library.projector import Projector
from services.library.rebuild import is_of_log, rebuild
from shared.eventlog.memory import MemoryEventLog
from shared.events.library import JobTagged
from shared.events.types import Event
from tests.factories import event, submitted
from tests.unit.library.stories import JOB, log_of, project, whole_story

OTHER = "01890000-0000-7000-8000-000000000002"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.02)
    monkeypatch.setattr(module, "RETRY_S", 0.02)


async def filled_log(*story: Event) -> MemoryEventLog:
    log = MemoryEventLog()
    for what in story or whole_story():
        await log.append(what)
    return log


def ignore(_committed: Committed) -> None:
    return None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- files and threads set no event
            await asyncio.sleep(0.01)


async def until_replaced(path: Path, before: Identity | None) -> None:
    await until(lambda: identity(path) not in {before, None})


@contextlib.asynccontextmanager
async def running(log: MemoryEventLog, path: Path, reader: Reader | None = None) -> AsyncIterator[Projector]:
    projector = Projector(path, ignore, reader.replacing if reader else contextlib.nullcontext)
    await projector.open_local()
    await projector.attach(log)
    following = asyncio.create_task(projector.run())
    try:
        yield projector
        assert not following.done()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await projector.close()


def clean(log: MemoryEventLog, directory: Path) -> list[object]:
    path = directory / "clean.db"
    path.unlink(missing_ok=True)
    return list(project(log.records, path))


async def test_without_a_broker_jobs_db_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    project(log_of(whole_story()), path)
    projector = Projector(path, ignore)
    await projector.open_local()
    assert projector.position == 15
    await projector.close()


async def test_a_new_file_has_the_whole_log_before_it_is_followed(tmp_path: Path) -> None:
    log = await filled_log()
    async with running(log, tmp_path / "jobs.db") as projector:
        assert projector.position == 15
    assert dump(tmp_path / "jobs.db") == clean(log, tmp_path)


async def test_a_file_of_another_log_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    other = project(log_of(whole_story(OTHER)), path)
    log = await filled_log()  # as long as the other log: only the events tell them apart
    async with running(log, path):
        assert dump(path) == clean(log, tmp_path)
    assert dump(tmp_path / "jobs.db.aside") == other


async def test_a_file_of_a_longer_log_is_not_of_this_log(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.db")
    projection = Projection(store)
    projection.apply(log_of(whole_story(), whole_story(OTHER)))
    store.close()
    assert not await is_of_log(await filled_log(), projection.cursor)


async def test_a_file_that_is_no_database_is_set_aside_and_made_from_the_log(tmp_path: Path) -> None:
    path, garbage = tmp_path / "jobs.db", b"not a database at all" * 1000
    path.write_bytes(garbage)
    log = await filled_log()
    async with running(log, path):
        assert dump(path) == clean(log, tmp_path)
    assert (tmp_path / "jobs.db.aside").read_bytes() == garbage


def spoil_the_middle(path: Path) -> None:
    """Overwrite the pages of the rows; the first page, and so the schema, stays."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'jobs'").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xa5" * size)


@pytest.mark.parametrize("when", ["at start", "while running"])
async def test_a_bad_page_in_the_middle_is_found_and_all_is_made_anew(tmp_path: Path, when: str) -> None:
    path = tmp_path / "jobs.db"
    log = await filled_log()
    project(log.records, path)
    if when == "at start":
        spoil_the_middle(path)
    async with running(log, path) as projector:
        if when == "while running":
            spoil_the_middle(path)
        await log.append(event(JobTagged, JOB, tags=["late"]))
        await until(lambda: projector.position == 16 and (tmp_path / "jobs.db.aside").exists())
        await until(lambda: dump(path) == clean(log, tmp_path))


async def test_a_file_that_somebody_removed_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    log = await filled_log()
    async with running(log, path):
        path.unlink()
        await until(path.exists)
        await until(lambda: dump(path) == clean(log, tmp_path))


async def read_without_pause(reader: Reader, seen: list[tuple[int, int]], stop: asyncio.Event) -> None:
    def look(connection: sqlite3.Connection) -> tuple[int, int]:
        (jobs,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
        (version,) = connection.execute("SELECT max(value ->> '$.version') FROM jobs").fetchone()
        return jobs, version

    while not stop.is_set():
        seen.append(await reader.run(look))


async def test_a_rebuilt_file_is_taken_over_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    log = await filled_log()
    reader = Reader(path)
    async with running(log, path, reader) as projector:
        seen: list[list[tuple[int, int]]] = [[], [], []]  # of each reader: threads may answer in another order
        stop = asyncio.Event()
        reading = [asyncio.create_task(read_without_pause(reader, each, stop)) for each in seen]
        for round_ in range(3):
            before = identity(path)
            assert await rebuild(log, path) == len(log.records)
            for n in range(5):  # the projector goes on meanwhile, and the rebuilt file lacks these
                await log.append(event(JobTagged, JOB, tags=[f"{round_} {n}"]))
            await until_replaced(path, before)
        await log.append(submitted(OTHER))
        await until(lambda: projector.position == len(log.records))
        await until(lambda: all(each[-1][0] == 2 for each in seen))
        stop.set()
        await asyncio.gather(*reading)
    reader.close()
    assert all(each == sorted(each) for each in seen), "nobody has ever read less than before"
    assert dump(path) == clean(log, tmp_path)


async def test_a_rebuild_killed_in_the_middle_of_being_taken_over_is_found_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    log = await filled_log()
    await rebuild(log, path)
    (tmp_path / "jobs.db-wal").write_bytes(b"of the file that was set aside just before")
    projector = Projector(path, ignore)
    await projector.open_local()
    assert projector.position == 15
    await projector.close()
    assert dump(path) == clean(log, tmp_path)


async def test_a_rebuilt_file_of_another_log_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    log = await filled_log()
    project(log.records, path)
    await rebuild(await filled_log(*whole_story(OTHER)), path)
    async with running(log, path):
        assert dump(path) == clean(log, tmp_path)
    assert (tmp_path / "jobs.db.rebuilt.aside").exists()


async def test_a_rebuilt_file_that_is_no_database_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    log = await filled_log()
    async with running(log, path):
        (tmp_path / "jobs.db.rebuilt").write_bytes(b"half a download" * 1000)
        await until((tmp_path / "jobs.db.rebuilt.aside").exists)
        assert dump(path) == clean(log, tmp_path)


async def test_the_place_of_job_json_survives_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    log = await filled_log()
    async with running(log, path) as projector:
        await projector.manifests_written(9)
        await rebuild(log, path)
        before = identity(path)
        await until_replaced(path, before)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        kept = connection.execute("SELECT name, last_seq FROM projector ORDER BY name").fetchall()
    assert kept == [("job_manifests", 9), ("jobs", 15)]


async def test_what_was_committed_is_heard_on_the_event_loop_with_its_rows(tmp_path: Path) -> None:
    log = await filled_log(*whole_story()[:2])
    heard: list[Committed] = []
    projector = Projector(tmp_path / "jobs.db", heard.append)
    await projector.open_local()
    await projector.attach(log)
    following = asyncio.create_task(projector.run())
    await until(lambda: bool(heard))
    await log.append(whole_story()[2])
    await until(lambda: heard[-1].seq == 3)
    assert [(list(told.rows), [job.id for job in told.jobs]) for told in heard] == [([], [JOB]), ([JOB], [JOB])]
    assert json.loads(heard[-1].rows[JOB])["version"] == 3
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await projector.close()
