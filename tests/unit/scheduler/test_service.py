"""The scheduler's loop over the in-memory log and queue: restarts, conflicts and lost commands."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.scheduler.policy import Limits
from services.scheduler.service import Scheduler
from shared.eventlog.memory import MemoryCommandQueue, MemoryEventLog
from shared.eventlog.port import Delivery
from shared.events.types import JobCompleted, JobFailed
from shared.identity import uuid7
from shared.job.stages import GRAPH
from tests.factories import claimed, completed, failed, submitted


class World:
    """A log and a queue that outlive schedulers."""

    def __init__(self) -> None:
        self.log = MemoryEventLog()
        self.queue = MemoryCommandQueue(ack_wait_s=60)
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        limits = Limits(retry_base_s=0.01, retry_cap_s=0.01)
        self.scheduler = Scheduler(self.log, self.queue, limits)
        self.task = asyncio.create_task(self.scheduler.run())

    async def crash(self) -> None:
        assert self.task
        self.task.cancel()
        await asyncio.wait({self.task})

    async def command(self) -> Delivery:
        delivery = await self.queue.next("cpu", 3)
        assert delivery is not None
        return delivery

    async def until(self, kind: type[object]) -> object:
        for _ in range(500):
            for record in self.log.records:
                if isinstance(record.event, kind):
                    return record.event
            await asyncio.sleep(0.01)
        raise AssertionError(f"no {kind.__name__}")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.start()
    yield world
    await world.crash()


async def test_a_job_walks_through_the_graph_and_each_command_carries_what_its_stage_needs(world: World) -> None:
    job = uuid7()
    await world.log.append(submitted(job))
    for stage in GRAPH:
        delivery = await world.command()
        command = delivery.command
        assert (command.stage, command.attempt, command.expected) == (stage, 1, 0)
        assert set(command.inputs) == set(GRAPH[stage])
        await world.log.append(claimed(job, stage))
        await world.log.append(completed(job, stage))
        await delivery.ack()
    await world.until(JobCompleted)


async def test_a_scheduler_that_dies_after_every_step_loses_and_doubles_nothing(world: World) -> None:
    job = uuid7()
    await world.log.append(submitted(job))
    seen = []
    for stage in GRAPH:
        delivery = await world.command()
        await world.crash()
        world.start()
        await asyncio.sleep(0.02)
        seen.append(delivery.command.stage)
        await world.log.append(completed(job, stage))
        await delivery.ack()
    await world.until(JobCompleted)
    assert seen == list(GRAPH)
    assert await world.queue.next("cpu", 0.1) is None


async def test_a_retry_is_queued_even_if_the_failed_command_is_acknowledged_late(world: World) -> None:
    job = uuid7()
    await world.log.append(submitted(job))
    first = await world.command()
    await world.log.append(failed(job, "audio"))
    await asyncio.sleep(0.1)  # the retry is due, but the queue still holds the first command
    await first.ack()
    second = await world.command()
    assert (second.command.stage, second.command.attempt) == ("audio", 2)


async def test_a_hopeless_failure_ends_the_job(world: World) -> None:
    job = uuid7()
    await world.log.append(submitted(job))
    await world.command()
    await world.log.append(failed(job, "audio", retryable=False))
    ended = await world.until(JobFailed)
    assert isinstance(ended, JobFailed)
    assert (ended.data.stage, ended.data.code) == ("audio", "engine_crashed")


async def test_e7_an_event_that_does_not_decode_blocks_nobody(world: World) -> None:
    await world.log.append_raw("dub.evt.job.x.lifecycle", b'{"type": "dubline.job.exploded.v9"}', "weird")
    await world.log.append(submitted(uuid7()))
    assert (await world.command()).command.stage == "audio"


async def test_e7_an_undecodable_event_inside_a_job_does_not_stop_that_job(world: World) -> None:
    job = uuid7()
    await world.log.append(submitted(job))
    first = await world.command()
    await world.log.append_raw(f"dub.evt.job.{job}.review", b"{}", "weird")
    await world.log.append(failed(job, "audio", retryable=False))
    await first.ack()
    await world.until(JobFailed)


async def test_nothing_of_a_finished_job_stays_in_memory_whatever_comes_after_it(world: World) -> None:
    job = uuid7()
    await world.log.append(submitted(job))
    await world.command()
    await world.log.append(failed(job, "audio", retryable=False))
    await world.until(JobFailed)
    last = await world.log.append(claimed(job, "audio"))  # a zombie's late word
    for _ in range(500):
        if world.scheduler.head >= last:
            break
        await asyncio.sleep(0.01)
    assert world.scheduler.head >= last
    assert job not in world.scheduler.jobs
    assert job not in world.scheduler._heads
