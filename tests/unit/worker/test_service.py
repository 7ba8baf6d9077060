"""The worker's loop: what becomes of a command whatever happens to its job, its lease and the worker meanwhile."""

import asyncio

import pytest

from services.worker.claims import MAX_DELIVERIES
from services.worker.messages import Failed
from shared.events.subjects import heartbeat_subject, progress_subject
from shared.events.types import JobCanceled, JobPauseRequested, StageClaimed, StageCompleted, StageFailed, StageReleased
from shared.telemetry import Heartbeat
from tests.factories import claimed, event
from tests.unit.worker.parts import World, working


async def test_a_command_is_claimed_run_committed_and_gone() -> None:
    async with working() as world:
        wanted = await world.submit()
        world.runner.release.set()
        done = await world.ended(StageCompleted)
        (claim,) = world.events(StageClaimed)
        assert done.causationid == claim.id
        await gone(world)
        assert progress_subject(wanted.job_id) in {subject for subject, _ in world.bus.sent}


async def gone(world: World) -> None:
    """Return once the queue is empty."""
    async with asyncio.timeout(5):
        while world.queue.queued:  # noqa: ASYNC110 -- it has no event
            await asyncio.sleep(0.005)


async def test_a_cancelled_stage_is_asked_to_end_and_handed_back() -> None:
    async with working() as world:
        wanted = await world.submit()
        await world.runner.began.wait()
        await world.happens(event(JobCanceled, wanted.job_id))
        released = await world.ended(StageReleased)
        assert released.data.reason == "the job was cancelled"
        assert world.runner.happened == ["run", "ask_to_end"]
        await gone(world)


async def test_a_cancelled_stage_that_does_not_hear_is_killed() -> None:
    async with working(deaf=True) as world:
        wanted = await world.submit()
        await world.runner.began.wait()
        await world.happens(event(JobCanceled, wanted.job_id))
        await world.ended(StageReleased)
        assert world.runner.happened == ["run", "ask_to_end", "kill"]


async def test_a_kill_does_not_ask() -> None:
    async with working() as world:
        wanted = await world.submit()
        await world.runner.began.wait()
        await world.happens(event(JobCanceled, wanted.job_id, kill=True))
        await world.ended(StageReleased)
        assert world.runner.happened == ["run", "kill"]


async def test_a_request_to_pause_lets_the_stage_finish() -> None:
    async with working() as world:
        wanted = await world.submit()
        await world.runner.began.wait()
        await world.happens(event(JobPauseRequested, wanted.job_id))
        world.runner.release.set()
        await world.ended(StageCompleted)
        assert world.runner.happened == ["run"]


async def test_a_cancellation_that_was_not_heard_is_found_in_the_log() -> None:
    async with working(ack_wait_s=0.3) as world:
        wanted = await world.submit()
        await world.runner.began.wait()
        await world.happens(event(JobCanceled, wanted.job_id), heard=False)
        await world.ended(StageReleased)


async def test_a_worker_that_lost_its_lease_kills_its_child_and_says_nothing() -> None:
    async with working(ack_wait_s=0.3) as world:
        wanted = await world.submit()
        await world.runner.began.wait()
        await world.log.append(claimed(wanted.job_id, "audio", worker="heir"))
        async with asyncio.timeout(5):
            while "kill" not in world.runner.happened:  # noqa: ASYNC110 -- it has no event
                await asyncio.sleep(0.005)
        assert world.queue.queued, "the command is the heir's now"
    assert not world.events(StageReleased)
    assert not world.events(StageCompleted)


async def test_an_outcome_that_comes_after_the_lease_was_lost_is_refused() -> None:
    async with working() as world:
        wanted = await world.submit()
        await world.runner.began.wait()
        await world.log.append(claimed(wanted.job_id, "audio", worker="heir"))
        world.runner.release.set()
        await asyncio.sleep(0.1)
        assert world.queue.queued
    assert not world.events(StageCompleted)


async def test_a_lease_is_kept_as_long_as_the_stage_runs() -> None:
    async with working(ack_wait_s=0.3) as world:
        await world.submit()
        await world.runner.began.wait()
        await asyncio.sleep(0.9)  # three times the ack wait
        assert await world.queue.next("cpu", 0) is None
        assert world.runner.renewals > 0
        world.runner.release.set()
        await world.ended(StageCompleted)


async def test_a_stage_that_takes_too_long_is_killed_and_may_be_tried_again() -> None:
    async with working(deaf=True) as world:
        await world.submit(timeout_s=0.1)
        failed = await world.ended(StageFailed)
        assert (failed.data.code, failed.data.retryable) == ("stage_timeout", True)
        assert world.runner.happened == ["run", "kill"]


async def test_a_stage_over_its_budget_finishes_and_is_flagged() -> None:
    async with working() as world:
        await world.submit(budget_s=0.0)
        world.runner.release.set()
        done = await world.ended(StageCompleted)
        assert [issue.code for issue in done.data.issues] == ["budget_exceeded"]


async def test_a_child_that_was_ended_by_somebody_else_costs_the_stage_no_attempt() -> None:
    async with working() as world:
        await world.submit()
        await world.runner.began.wait()
        world.runner.end("SIGTERM to everybody")
        await world.ended(StageReleased)
        assert not world.events(StageFailed)


async def test_a_draining_worker_finishes_what_it_holds_and_takes_nothing_new() -> None:
    async with working() as world:
        await world.submit()
        await world.runner.began.wait()
        world.worker.drain()
        other = await world.submit()
        await asyncio.sleep(0.05)
        world.runner.release.set()
        await world.ended(StageCompleted)
        await asyncio.sleep(0.05)
        assert [item.command for item in world.queue.queued.values()] == [other]


@pytest.mark.parametrize("how", ["after its time is up", "asked a second time"])
async def test_a_draining_worker_hands_back_what_it_cannot_finish(how: str) -> None:
    async with working(DRAIN_TIMEOUT_SEC=0.1 if how == "after its time is up" else 100.0) as world:
        await world.submit()
        await world.runner.began.wait()
        world.worker.drain()
        if how == "asked a second time":
            world.worker.drain()
        released = await world.ended(StageReleased)
        assert released.data.reason == "the worker is shutting down"


async def test_a_command_that_took_too_many_workers_down_ends_as_a_dead_letter_with_the_last_one() -> None:
    async with working() as world:
        async with world.worker.turn:
            wanted = await world.submit()
            for _ in range(MAX_DELIVERIES):
                await world.log.append(claimed(wanted.job_id, "audio", worker="dead one"))
            (item,) = world.queue.queued.values()
            item.deliveries = MAX_DELIVERIES
        failed = await world.ended(StageFailed)
        assert (failed.data.code, failed.data.retryable) == ("dead_letter", False)
        assert "dead one" in failed.data.message
        assert world.runner.happened == []
        await gone(world)


async def test_a_command_that_only_came_often_is_run() -> None:
    async with working() as world:
        world.runner.release.set()
        async with world.worker.turn:
            await world.submit()
            (item,) = world.queue.queued.values()
            item.deliveries = 10 * MAX_DELIVERIES
        await world.ended(StageCompleted)


async def test_an_engine_that_failed_is_named() -> None:
    async with working() as world:
        world.runner.outcome = Failed(code="engine_failed", message="m", retryable=True, engine="whisper")
        world.runner.release.set()
        await world.submit()
        assert (await world.ended(StageFailed)).data.engine == "whisper"


async def test_a_heartbeat_says_what_is_held_what_is_usable_and_that_the_worker_drains() -> None:
    async with working() as world:
        wanted = await world.submit()
        await world.runner.began.wait()
        state = world.worker._state()
        assert (state.job_id, state.stage, state.draining) == (wanted.job_id, "audio", False)
        assert (state.engines, state.models, state.device) == (["asr:whisper"], ["whisper-base"], "cpu")
    beats = [
        Heartbeat.model_validate_json(raw) for subject, raw in world.bus.sent if subject == heartbeat_subject("w1")
    ]
    assert len(beats) >= 2
    assert beats[-1].draining, "the last one says that it goes"


async def test_whoever_wants_the_runner_gets_it_between_two_commands() -> None:
    async with working() as world:
        await world.submit()
        await world.runner.began.wait()
        world.runner.release.set()
        async with world.worker.turn:
            assert world.events(StageCompleted)
