"""One request writes to an upload, and the newest has the turn."""

import asyncio

import pytest

from services.ingest.uploads.turns import Turns
from shared.problems import Problem


async def hanging(turns: Turns, began: asyncio.Event, written: list[str]) -> None:
    async with turns.turn("up") as turn:
        began.set()
        try:
            async with turn.receiving():
                await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # a thread that is still writing
            written.append("old")


async def test_the_newcomer_takes_over_and_the_old_request_writes_nothing_more():
    turns, began, written = Turns(), asyncio.Event(), []
    old = asyncio.create_task(hanging(turns, began, written))
    await began.wait()
    async with turns.turn("up") as turn:
        assert written == ["old"]
        async with turn.receiving():
            written.append("new")
    with pytest.raises(Problem) as refusal:
        await old
    assert (refusal.value.status, refusal.value.code) == (409, "upload_taken_over")
    assert written == ["old", "new"]


async def test_of_many_newcomers_the_last_one_writes():
    turns, began, written = Turns(), asyncio.Event(), []
    old = asyncio.create_task(hanging(turns, began, written))
    await began.wait()

    async def come(name: str) -> None:
        async with turns.turn("up") as turn, turn.receiving():
            await asyncio.sleep(0)
            written.append(name)

    results = await asyncio.gather(old, *(come(str(n)) for n in range(5)), return_exceptions=True)
    assert written == ["old", "4"]
    assert [isinstance(result, Problem) for result in results] == [True] * 5 + [False]


async def test_who_comes_while_the_old_request_is_giving_up_waits_for_it_like_everybody():
    """Its last block is still being written in a thread; asking it a second time must not fail whoever asks."""
    turns, began, leaving, let_go = Turns(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    written: list[str] = []

    async def slow_to_stop() -> None:
        async with turns.turn("up") as turn, turn.receiving():
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                leaving.set()
                await let_go.wait()
                written.append("old")

    async def come(name: str) -> None:
        async with turns.turn("up") as turn, turn.receiving():
            written.append(name)

    old = asyncio.create_task(slow_to_stop())
    await began.wait()
    first = asyncio.create_task(come("first"))
    await leaving.wait()
    second = asyncio.create_task(come("second"))
    await asyncio.sleep(0)
    let_go.set()
    results = await asyncio.gather(old, first, second, return_exceptions=True)
    assert [isinstance(result, Problem) for result in results] == [True, True, False]
    assert (written, len(turns)) == (["old", "second"], 0)


async def test_who_only_waits_stops_nobody():
    turns, done = Turns(), []

    async def write() -> None:
        async with turns.turn("up") as turn, turn.receiving():
            await asyncio.sleep(0.01)
            done.append("written")

    async def ask() -> None:
        async with turns.turn("up", take_over=False):
            done.append("asked")

    await asyncio.gather(write(), ask())
    assert done == ["written", "asked"]


async def test_one_who_waits_and_one_who_takes_over_do_not_leave_the_writer_hanging():
    turns, began, written = Turns(), asyncio.Event(), []
    old = asyncio.create_task(hanging(turns, began, written))
    await began.wait()

    async def ask() -> None:
        async with turns.turn("up", take_over=False):
            written.append("asked")

    waiting = asyncio.create_task(ask())
    await asyncio.sleep(0)
    async with turns.turn("up"):
        assert written == ["old", "asked"]
    await asyncio.gather(old, waiting, return_exceptions=True)


async def test_who_leaves_while_waiting_lets_nobody_in_too_early():
    turns, began, written = Turns(), asyncio.Event(), []
    release = asyncio.Event()

    async def busy() -> None:
        async with turns.turn("up"):
            began.set()
            await release.wait()
            written.append("busy")

    async def come(name: str) -> None:
        async with turns.turn("up"):
            written.append(name)

    first = asyncio.create_task(busy())
    await began.wait()
    leaving = asyncio.create_task(come("left"))
    await asyncio.sleep(0)
    third = asyncio.create_task(come("third"))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    assert written == []
    release.set()
    await asyncio.gather(first, leaving, third, return_exceptions=True)
    assert written == ["busy", "third"]


async def test_c2_the_table_of_locks_is_empty_when_nobody_writes():
    """Predecessor fault C2: it kept a lock for each upload for ever."""
    turns = Turns()
    for number in range(100):
        async with turns.turn(f"up_{number}"):
            assert len(turns) == 1
    assert len(turns) == 0
