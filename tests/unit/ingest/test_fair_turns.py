"""Turns: so many at once, user by user, and nobody's is lost."""

import asyncio
import random

import pytest

from services.ingest.fair_turns import FairTurns, TooManyWaitingError


class Line:
    """People who stand for a turn, and in which order they had it."""

    def __init__(self, turns: FairTurns) -> None:
        self.turns = turns
        self.had: list[str] = []
        self.now = self.most = 0

    async def stand(self, who: str, until: asyncio.Event | None = None) -> None:
        async with self.turns.turn(who.split(maxsplit=1)[0]):
            self.had.append(who)
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await (until.wait() if until else asyncio.sleep(0))
            finally:
                self.now -= 1


async def standing(line: Line, *who: str) -> list[asyncio.Task[None]]:
    """Let these come in this order."""
    tasks = [asyncio.create_task(line.stand(each)) for each in who]
    await asyncio.sleep(0)
    return tasks


async def test_who_brings_many_keeps_nobody_waiting_who_brings_one() -> None:
    line, first = Line(FairTurns(1, 10)), asyncio.Event()
    holder = asyncio.create_task(line.stand("ann 0", first))
    await asyncio.sleep(0)
    tasks = await standing(line, "ann 1", "ann 2", "ann 3", "bob 1", "bob 2", "cid 1")
    first.set()
    await asyncio.gather(holder, *tasks)
    assert line.had == ["ann 0", "ann 1", "bob 1", "cid 1", "ann 2", "bob 2", "ann 3"]
    assert line.most == 1


async def test_past_the_bound_one_is_told_at_once_and_others_are_not_concerned() -> None:
    line, first = Line(FairTurns(2, 3)), asyncio.Event()
    holders = [asyncio.create_task(line.stand("ann 0", first)) for _ in range(2)]
    await asyncio.sleep(0)
    tasks = await standing(line, "ann 1", "ann 2", "ann 3", "bob 1")
    with pytest.raises(TooManyWaitingError) as refusal:
        await line.stand("ann 4")
    assert refusal.value.waiting == 3
    first.set()
    await asyncio.gather(*holders, *tasks)
    assert len(line.had) == 6
    await line.stand("ann 5")


async def test_who_leaves_gives_the_place_free() -> None:
    line, first = Line(FairTurns(1, 2)), asyncio.Event()
    holder = asyncio.create_task(line.stand("ann 0", first))
    await asyncio.sleep(0)
    left, stays = await standing(line, "ann 1", "ann 2")
    left.cancel()
    await asyncio.wait({left})
    later = await standing(line, "ann 3")
    first.set()
    await asyncio.gather(holder, stays, *later)
    assert line.had == ["ann 0", "ann 2", "ann 3"]


async def test_a_turn_that_comes_as_its_owner_leaves_goes_to_the_next() -> None:
    line, first = Line(FairTurns(1, 5)), asyncio.Event()
    holder = asyncio.create_task(line.stand("ann 0", first))
    await asyncio.sleep(0)
    leaves, stays = await standing(line, "ann 1", "bob 1")
    first.set()
    await asyncio.sleep(0)  # the holder ends, and ann's next has the turn without knowing
    leaves.cancel()
    async with asyncio.timeout(2):
        await asyncio.gather(holder, stays)
    assert line.had == ["ann 0", "bob 1"]


async def test_a_turn_whose_work_fails_is_given_back() -> None:
    turns = FairTurns(1, 1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with turns.turn("ann"):
                raise ZeroDivisionError


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_comes_and_leaves_never_more_have_a_turn_and_all_who_stay_get_one(seed: int) -> None:
    rng, line = random.Random(seed), Line(FairTurns(3, 1000))
    tasks: list[asyncio.Task[None]] = []
    left: set[asyncio.Task[None]] = set()
    for number in range(300):
        tasks.append(asyncio.create_task(line.stand(f"{rng.choice('abcd')} {number}")))
        if rng.random() < 0.3:
            gone = rng.choice(tasks)
            if not gone.done():
                gone.cancel()
                left.add(gone)
        if rng.random() < 0.5:
            await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await asyncio.wait(tasks)
    assert all(task in left or task.exception() is None for task in tasks)
    assert line.most == 3
    await asyncio.gather(*(line.stand(f"z {number}") for number in range(3)))
