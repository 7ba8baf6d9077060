"""A thread that works for a request ends before the request does."""

import asyncio
import threading

import pytest

from shared.threads import in_thread, made_in_thread


class Work:
    """Blocking work that lasts until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.ended = False

    def __call__(self) -> str:
        self.begun.set()
        self.go_on.wait(10)
        self.ended = True
        return "made"


async def cancelled(running: asyncio.Task[str], work: Work) -> None:
    await asyncio.to_thread(work.begun.wait, 10)
    running.cancel()
    await asyncio.sleep(0.05)
    assert not running.done(), "the thread still works"
    work.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert work.ended


async def test_cancelled_work_has_ended_before_its_caller_goes_on():
    work = Work()
    await cancelled(asyncio.create_task(in_thread(work)), work)


async def test_what_a_cancelled_call_made_is_undone():
    work, undone = Work(), list[str]()
    await cancelled(asyncio.create_task(made_in_thread(work, undone.append)), work)
    assert undone == ["made"]


async def test_results_and_errors_are_those_of_the_work():
    undone = list[str]()
    assert await in_thread(int, "7") == 7
    assert await made_in_thread(lambda: "made", undone.append) == "made"
    with pytest.raises(ValueError, match="seven"):
        await in_thread(int, "seven")
    assert undone == []
