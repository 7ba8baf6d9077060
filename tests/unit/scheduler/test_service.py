"""The scheduler's loop over the in-memory log and queue: restarts, conflicts and lost commands."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from services.scheduler.board import Board
from services.scheduler.limits import Limits
from services.scheduler.policy import World as Around
from services.scheduler.service import Scheduler
from shared.eventlog.memory import MemoryCommandQueue, MemoryEventLog
from shared.eventlog.port import Delivery
from shared.events.runtime import SchedulerTookOver, SlotGranted
from shared.events.subjects import job_filter
from shared.events.types import JobCompleted, JobFailed, JobPaused, JobPauseRequested, JobRequeued, JobStarted
from shared.identity import uuid7
from shared.job.stages import GRAPH
from tests.factories import claimed, completed, event, failed, submitted


class Rota:
    """Who lives; what the standby is told when it asks."""

    def __init__(self) -> None:
        self.living: set[str] = set()

    async def alive(self, holder: str) -> bool:
        return holder in self.living


class World:
    """A log and a queue that outlive schedulers."""

    def __init__(self) -> None:
        self.log = MemoryEventLog()
        self.queue = MemoryCommandQueue(ack_wait_s=60)
        self.rota = Rota()
        self.free_gb = 100.0
        self.task: asyncio.Task[None] | None = None

    def start(self, limits: Limits | None = None) -> None:
        limits = limits or Limits(retry_base_s=0.01, retry_cap_s=0.01)
        self.scheduler = self.another("only", limits)
        self.task = asyncio.create_task(self.scheduler.run())

    def another(self, holder: str, limits: Limits) -> Scheduler:
        return Scheduler(
            self.log,
            self.queue,
            Board(limits),
            holder=holder,
            peers=self.rota,
            world=lambda: Around(datetime.now(UTC), self.free_gb),
        )

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
        last = await world.log.last(job_filter(job))
        assert last is not None
        assert command.version == last.seq
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
        await world.log.append(claimed(job, stage))
        await world.log.append(completed(job, stage))
        await delivery.ack()
    await world.until(JobCompleted)
    assert seen == list(GRAPH)
    assert await world.queue.next("cpu", 0.1) is None


async def test_a_retry_is_queued_even_if_the_failed_command_is_acknowledged_late(world: World) -> None:
    job = uuid7()
    await world.log.append(submitted(job))
    first = await world.command()
    await world.log.append(claimed(job, "audio"))
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
        if world.scheduler.board.seq >= last:
            break
        await asyncio.sleep(0.01)
    assert world.scheduler.board.seq >= last
    assert not world.scheduler.board.knows(job)
    assert job not in world.scheduler.board.heads


async def test_a_start_and_a_capped_stage_are_granted_before_they_happen(world: World) -> None:
    job = uuid7()
    await world.log.append(submitted(job))
    for stage in ("audio", "transcribe"):
        delivery = await world.command()
        await world.log.append(claimed(job, stage))
        await world.log.append(completed(job, stage))
        await delivery.ack()
    await world.command()
    granted = [r.event.data.stage for r in world.log.records if isinstance(r.event, SlotGranted)]
    assert granted == [None, "transcribe"]


async def test_two_schedulers_at_once_give_the_last_slot_once(world: World) -> None:
    one_slot = Limits(max_running=1)
    await world.crash()
    tasks = [asyncio.create_task(world.another(name, one_slot).run()) for name in ("a", "b")]
    for _ in range(6):  # nobody answers, so both believe that the other is gone, and take over in turns
        await world.log.append(submitted(uuid7()))
    await asyncio.sleep(0.3)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert sum(isinstance(r.event, JobStarted) for r in world.log.records) == 1
    assert sum(isinstance(r.event, SchedulerTookOver) for r in world.log.records) >= 2


async def test_a_standby_decides_nothing_while_the_active_one_lives(world: World) -> None:
    await world.until(SchedulerTookOver)
    world.rota.living.add("only")
    standby = world.another("standby", Limits())
    task = asyncio.create_task(standby.run())
    await world.log.append(submitted(uuid7()))
    await world.until(JobStarted)
    await asyncio.sleep(0.05)
    assert not standby.leads
    assert sum(isinstance(r.event, JobStarted) for r in world.log.records) == 1
    await world.crash()
    world.rota.living.clear()
    await world.log.append(submitted(uuid7()))
    for _ in range(300):
        if standby.leads:
            break
        await asyncio.sleep(0.01)
    assert standby.leads
    task.cancel()
    await asyncio.wait({task})


async def test_a_job_waits_for_space_on_the_disk_and_starts_when_there_is_some(world: World) -> None:
    world.free_gb = 1.0
    await world.log.append(submitted(uuid7()))
    await asyncio.sleep(0.1)
    assert not any(isinstance(r.event, JobStarted) for r in world.log.records)
    world.free_gb = 11.0
    world.scheduler.look_again()
    await world.until(JobStarted)


async def test_a_running_job_pauses_at_the_next_stage_boundary(world: World) -> None:
    job = uuid7()
    await world.log.append(submitted(job))
    await world.command()
    await world.log.append(claimed(job, "audio"))
    await world.log.append(event(JobPauseRequested, job, reason="lunch"))
    await asyncio.sleep(0.05)
    assert not any(isinstance(r.event, JobPaused) for r in world.log.records)
    await world.log.append(completed(job, "audio"))
    await world.until(JobPaused)


async def test_a_re_run_of_a_finished_job_is_folded_from_the_log_and_goes_on_after_what_is_done(world: World) -> None:
    job = uuid7()
    await world.log.append(submitted(job))
    first = await world.command()
    await world.log.append(claimed(job, "audio"))
    await world.log.append(completed(job, "audio"))
    await first.ack()
    second = await world.command()
    await world.log.append(claimed(job, "transcribe"))
    await world.log.append(failed(job, "transcribe", retryable=False))
    await second.ack()
    await world.until(JobFailed)
    await world.log.append(event(JobRequeued, job, run=2, reason="again"))
    again = await world.command()
    assert (again.command.stage, again.command.run, again.command.attempt) == ("transcribe", 2, 1)
