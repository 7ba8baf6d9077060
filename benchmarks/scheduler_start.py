"""How long a scheduler takes from its start to readiness on a log of 100,000 events, without and with a snapshot.

Lives here: filling a log and the measurement. The log holds finished jobs as a real one does, and some that wait.
"""

import asyncio
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from benchmarks.history import ACTOR, SOURCE, finished, submitted
from benchmarks.rows import Row
from benchmarks.stack import OPEN_CAPS, Stack
from shared.eventlog.connection import connect
from shared.events.runtime import SchedulerTookOver, SchedulerTookOverData
from shared.events.subjects import EVENT_STREAM, event_subject
from shared.events.types import Event
from shared.identity import uuid7

EVENTS = 100_000
WAITING = 100
OWNERS = 100
FLUSH_EVERY = 1_000
STORED_TIMEOUT_S = 60.0
SNAPSHOT_TIMEOUT_S = 60.0


def rows(directory: Path) -> Iterator[Row]:
    """Yield the seconds from the process's start to its first 200 on /readyz."""
    with Stack(directory) as stack:
        relaxed = stack.start_broker(relaxed=True)
        stack.create_streams()
        asyncio.run(_fill(stack))
        relaxed.stop()
        stack.start_broker()
        snapshot = stack.layout.scheduler_snapshot
        begun = time.monotonic()
        scheduler = stack.start_scheduler({**OPEN_CAPS, "DUBLINE_SCHEDULER_SNAPSHOT_S": "1"})
        yield Row("scheduler start, 100,000 events, no snapshot", time.monotonic() - begun, "s", None, "<= 20")
        _wait_for(snapshot)
        scheduler.stop()
        begun = time.monotonic()
        stack.start_scheduler()
        yield Row("scheduler start, 100,000 events, snapshot", time.monotonic() - begun, "s", None, "<= 2")
        yield Row("scheduler snapshot", snapshot.stat().st_size / 1024, "KiB")


def _history() -> Iterator[Event]:
    yield SchedulerTookOver(
        source=SOURCE,
        subject="scheduler",
        time=submitted("").time,
        actor=ACTOR,
        correlationid=uuid7(),
        data=SchedulerTookOverData(holder="bench"),
    )
    jobs = (finished(f"user-{number % OWNERS}", epoch=1) for number in range(EVENTS))
    yield from chain.from_iterable(jobs)


async def _fill(stack: Stack) -> None:
    """Append without waiting for each answer, then wait until all are stored. Raises TimeoutError."""
    client = await connect(stack.settings("init"), "init")
    try:
        waiting = [submitted(f"user-{number % OWNERS}") for number in range(WAITING)]
        history = _history()
        for number in range(EVENTS - WAITING):
            event = next(history)
            await client.publish(event_subject(event), event.encode())
            if number % FLUSH_EVERY == 0:
                await client.flush()
        for event in waiting:
            await client.publish(event_subject(event), event.encode())
        await client.flush()
        async with asyncio.timeout(STORED_TIMEOUT_S):
            while (await client.jetstream().stream_info(EVENT_STREAM)).state.messages < EVENTS:  # noqa: ASYNC110 -- the broker stores them
                await asyncio.sleep(0.1)
    finally:
        await client.close()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + SNAPSHOT_TIMEOUT_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the scheduler saved no snapshot at {path}")
        time.sleep(0.1)
