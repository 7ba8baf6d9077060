"""One client's next events: its own, from memory or the log, at the price of a look into a dictionary."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from services.library import hub as hub_module
from services.library.follower import HIDDEN, Follower, Heard, seen_row
from services.library.hub import Hub
from services.library.jobstore.reader import Reader
from services.library.jobstore.store import JobStore
from services.library.library import Library
from services.library.live import LiveProgress
from services.library.projection import Projection
from shared.access.principal import local_principal
from shared.eventlog.memory import MemoryEventLog
from shared.events.library import JobVisibilityChanged
from shared.events.types import Event
from shared.identity import uuid7
from shared.layout import Layout
from tests.factories import event, submitted
from tests.principals import principal

ANN, BOB, EVE = principal("u_ann"), principal("u_bob"), local_principal()


class System:
    """A library in this process: what is appended is projected and told."""

    def __init__(self, directory: Path) -> None:
        layout = Layout(directory)
        self.store = JobStore(layout.jobs_db)
        self.projection = Projection(self.store)
        self.log = MemoryEventLog()
        self.reader = Reader(layout.jobs_db)
        live = LiveProgress()
        self.library = Library(layout, self.log, self.reader, live, Hub(live), lambda: True)

    async def happen(self, *events: Event, told: bool = True) -> None:
        for what in events:
            await self.log.append(what)
        committed = self.projection.apply(await self.log.read(after=self.projection.cursor.seq, limit=1000))
        if told:
            self.library.publish(committed)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    running = System(tmp_path)
    yield running
    running.library.hub.close()
    running.reader.close()
    running.store.close()


async def next_of(follower: Follower) -> list[int] | None:
    heard: Heard | None = await asyncio.wait_for(follower.next(), 5)
    return None if heard is None else [item.seq for item in heard.frames]


async def test_each_is_given_what_it_may_see_and_all_move_on(system: System) -> None:
    with (
        Follower(system.library, ANN, None, 0) as ann,
        Follower(system.library, BOB, None, 0) as bob,
        Follower(system.library, EVE, None, 0) as eve,
    ):
        await system.happen(
            submitted(owner="u_ann"), submitted(owner="u_bob"), submitted(owner="u_ann", visibility="shared")
        )
        assert [await next_of(each) for each in (ann, bob, eve)] == [[1, 3], [2, 3], [1, 2, 3]]
        assert [each.place for each in (ann, bob, eve)] == [3, 3, 3]


async def test_what_is_not_for_a_client_is_told_as_silence(system: System) -> None:
    with Follower(system.library, BOB, None, 0) as bob:
        await system.happen(submitted(owner="u_ann"))
        assert await bob.next() == Heard()
        assert bob.place == 1


async def test_from_the_log_it_is_the_same(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "TAIL_FRAMES", 1)
    for number in range(4):
        await system.happen(submitted(owner="u_ann" if number % 2 else "u_bob"))
    assert not system.library.hub.covers(0)
    system.library.audiences._known.clear()
    with Follower(system.library, BOB, None, 0) as bob:
        assert await next_of(bob) == [1, 3]


async def test_following_one_job_ends_when_it_becomes_anothers_secret(system: System) -> None:
    job = uuid7()
    await system.happen(submitted(job, owner="u_ann", visibility="shared"))
    with Follower(system.library, BOB, job, 0) as bob, Follower(system.library, ANN, job, 0) as ann:
        assert (await next_of(bob), await next_of(ann)) == ([1], [1])
        await system.happen(event(JobVisibilityChanged, job, visibility="private"))
        assert (await next_of(bob), await next_of(ann)) == (None, [2])
        assert not bob.subscription.closed, "as it would be if the service stopped"


async def test_what_is_live_is_asked_of_nobody(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        raise AssertionError("jobs.db or the log was asked")

    monkeypatch.setattr(system.library.audiences, "find", never)
    monkeypatch.setattr(system.reader, "run", never)
    with Follower(system.library, BOB, None, 0) as bob:
        await system.happen(submitted(owner="u_bob"))
        assert await next_of(bob) == [1]


async def test_a_row_is_judged_by_itself_where_it_may_be_newer_than_what_was_told(system: System) -> None:
    """Between the commit of a batch and the moment when its clients hear of it."""
    job = uuid7()
    await system.happen(submitted(job, owner="u_ann", visibility="shared"))
    assert orjson.loads(await seen_row(system.library, BOB, job) or b"")["id"] == job
    await system.happen(event(JobVisibilityChanged, job, visibility="private"), told=False)
    system.library.hub._rows.clear()
    assert await seen_row(system.library, BOB, job) == HIDDEN
    for who in (ANN, EVE):
        assert orjson.loads(await seen_row(system.library, who, job) or b"")["visibility"] == "private"
    assert await seen_row(system.library, BOB, uuid7()) is None
