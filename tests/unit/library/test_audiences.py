"""Whose an event is: the audience of now, from memory, jobs.db or the log; what is unknown is no stranger's."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from services.library import audiences as module
from services.library.audiences import NOBODY, Audiences, sees
from services.library.committed import Committed
from services.library.jobstore.queries import read_audiences
from services.library.jobstore.reader import Reader
from services.library.jobstore.store import JobStore
from services.library.projection import Projection
from shared.access.principal import EVERYBODY
from shared.eventlog.memory import MemoryEventLog
from shared.events.library import JobDeleted, JobVisibilityChanged, PresetSaved, ProjectDeleted, ProjectSaved
from shared.events.types import Event, JobCanceled
from shared.identity import uuid7
from tests.factories import NOW, event, submitted

ANN, BOB = "u_ann", "u_bob"
PROJECT, PRESET = "proj_0123456789abcdef", "preset_0123456789abcdef"


class Asked(Reader):
    """jobs.db, that counts how often it is asked and may be held up."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.times = 0
        self.answering = asyncio.Event()
        self.answering.set()
        self.asked = asyncio.Event()

    async def run(self, query: Callable[[sqlite3.Connection], Any]) -> Any:
        found = await super().run(query)
        self.times += 1
        self.asked.set()
        await self.answering.wait()
        return found


class Written(MemoryEventLog):
    """A log with the jobs.db that follows it; `audiences` are of a library that has just been started."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.store = JobStore(path)
        self.projection = Projection(self.store)
        self.reader = Asked(path)
        self.audiences = Audiences(self.reader, self)

    async def happen(self, *events: Event) -> Committed:
        """Append and project; nobody hears of it."""
        for what in events:
            await self.append(what)
        return self.projection.apply(await self.read(after=self.projection.cursor.seq, limit=1000))

    async def audience(self, thing: str) -> str | None:
        await self.audiences.find([thing])
        return self.audiences.get(thing)


@pytest.fixture
async def written(tmp_path: Path) -> AsyncIterator[Written]:
    log = Written(tmp_path / "jobs.db")
    yield log
    log.reader.close()
    log.store.close()


def shown(job: str, visibility: str) -> Any:
    return event(JobVisibilityChanged, job, visibility=visibility)


def deleted(job: str, owner: str = ANN) -> Any:
    return event(JobDeleted, job, owner=owner, base_dir="film", source="")


def test_owner_everybody_and_administrators_see_and_nobody_else() -> None:
    assert all(sees(None, audience) for audience in (ANN, NOBODY, None)), "an administrator"
    assert sees(ANN, ANN)
    assert sees(BOB, EVERYBODY)
    assert not sees(BOB, ANN)
    assert not sees(BOB, None), "what is not known yet"
    assert not sees(NOBODY, NOBODY), "having no name is no way to own what has no owner"


async def test_what_is_heard_is_known_without_asking_anybody(written: Written) -> None:
    job = uuid7()
    written.audiences.hear(await written.happen(submitted(job, owner=ANN)))
    assert written.audiences.get(job) == ANN
    written.audiences.hear(await written.happen(shown(job, "shared")))
    assert written.audiences.get(job) == EVERYBODY
    written.audiences.hear(await written.happen(shown(job, "private")))
    assert written.audiences.get(job) == ANN
    assert written.reader.times == 0


async def test_jobs_of_before_are_asked_of_jobs_db_once(written: Written) -> None:
    mine, shared = uuid7(), uuid7()
    await written.happen(submitted(mine, owner=ANN), submitted(shared, owner=BOB, visibility="shared"))
    await asyncio.gather(*(written.audiences.find([mine, shared]) for _ in range(50)))
    assert (written.audiences.get(mine), written.audiences.get(shared), written.reader.times) == (ANN, EVERYBODY, 1)


async def test_a_deleted_job_is_its_owners_or_everybodys_as_it_was_last(written: Written) -> None:
    kept, given = uuid7(), uuid7()
    await written.happen(
        submitted(kept, owner=ANN, visibility="shared"), shown(kept, "private"), event(JobCanceled, kept),
        deleted(kept), submitted(given, owner=ANN), shown(given, "shared"), event(JobCanceled, given), deleted(given),
    )  # fmt: skip
    assert (await written.audience(kept), await written.audience(given)) == (ANN, EVERYBODY)


async def test_made_private_and_deleted_in_one_batch_it_is_not_everybodys_any_more(written: Written) -> None:
    job = uuid7()
    written.audiences.hear(await written.happen(submitted(job, owner=ANN, visibility="shared")))
    written.audiences.hear(await written.happen(shown(job, "private"), event(JobCanceled, job), deleted(job)))
    assert await written.audience(job) == ANN


async def test_projects_and_presets_are_their_owners_also_when_they_are_deleted(written: Written) -> None:
    saved = event(ProjectSaved, PROJECT, owner=ANN, name="Films", created_at=NOW)
    preset = event(PresetSaved, PRESET, owner=BOB, name="Fast", created_at=NOW)
    batch = await written.happen(saved, preset, event(ProjectDeleted, PROJECT))
    assert (await written.audience(PROJECT), await written.audience(PRESET)) == (ANN, BOB)
    heard = Audiences(written.reader, written)
    heard.hear(batch)
    assert (heard.get(PROJECT), heard.get(PRESET)) == (ANN, BOB)


async def test_what_nobody_knows_is_nobodys(written: Written) -> None:
    assert [await written.audience(thing) for thing in (uuid7(), "proj_ffffffffffffffff", "x")] == [NOBODY] * 3


@pytest.mark.parametrize("visibility", ["private", "shared"])
async def test_a_name_that_means_everybody_is_no_owners(written: Written, visibility: str) -> None:
    job = uuid7()
    batch = await written.happen(submitted(job, owner=EVERYBODY, visibility=visibility))
    expected = EVERYBODY if visibility == "shared" else NOBODY
    assert await written.audience(job) == expected
    heard = Audiences(written.reader, written)
    heard.hear(batch)
    assert heard.get(job) == expected


async def test_what_is_heard_while_jobs_db_is_asked_is_newer_than_its_answer(written: Written) -> None:
    job = uuid7()
    await written.happen(submitted(job, owner=ANN, visibility="shared"))
    written.reader.answering.clear()
    asking = asyncio.create_task(written.audiences.find([job]))
    await written.reader.asked.wait()
    written.audiences.hear(await written.happen(shown(job, "private")))
    written.reader.answering.set()
    await asking
    assert written.audiences.get(job) == ANN


async def test_an_answer_from_before_a_job_was_made_private_and_deleted_is_asked_for_again(written: Written) -> None:
    job = uuid7()
    await written.happen(submitted(job, owner=ANN, visibility="shared"))
    written.reader.answering.clear()
    asking = asyncio.create_task(written.audiences.find([job]))
    await written.reader.asked.wait()
    written.audiences.hear(await written.happen(shown(job, "private"), event(JobCanceled, job), deleted(job)))
    written.reader.answering.set()
    await asking
    assert (written.audiences.get(job), written.reader.times) == (ANN, 2)


async def test_only_so_many_are_kept_and_the_others_are_found_again(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    jobs = [uuid7() for _ in range(5)]
    written.audiences.hear(await written.happen(*(submitted(job, owner=ANN) for job in jobs)))
    assert [written.audiences.get(job) for job in jobs] == [None, None, ANN, ANN, ANN]
    assert await written.audience(jobs[0]) == ANN


def test_jobs_db_is_asked_through_an_index_and_never_by_a_scan(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.db")
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        read_audiences(connection, [uuid7()])
        connection.set_trace_callback(None)
        plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statements[0]}")]
    store.close()
    assert [step.split()[:2] for step in plan] == [["SCAN", "asked"], ["SEARCH", "job_index"]], "asked: the ids"
