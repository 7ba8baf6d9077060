"""What every event log and command queue promises: one specification, run against memory and the real broker."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.eventlog.connection import BrokerTooOldError, check_version, connect
from shared.eventlog.jetstream import JetStreamCommandQueue, JetStreamEventLog
from shared.eventlog.memory import MemoryCommandQueue, MemoryEventLog
from shared.eventlog.port import CommandQueue, ConflictError, EventLog, Expect
from shared.eventlog.streams import create_streams
from shared.events.subjects import job_filter, stage_subject
from shared.identity import uuid7
from shared.settings import Settings
from tests.broker import BinaryBroker
from tests.factories import claimed, command, completed, submitted

ACK_WAIT_S = 1.0


@pytest.fixture(params=["memory", "jetstream"])
async def log_and_queue(request: pytest.FixtureRequest) -> AsyncIterator[tuple[EventLog, CommandQueue]]:
    if request.param == "memory":
        yield MemoryEventLog(), MemoryCommandQueue(ack_wait_s=ACK_WAIT_S)
        return
    broker: BinaryBroker = request.getfixturevalue("broker")
    client = await connect(Settings(nats_url=broker.url), "test")
    await create_streams(client, ACK_WAIT_S)
    yield JetStreamEventLog(client), JetStreamCommandQueue(client)
    await client.close()


@pytest.fixture
def log(log_and_queue: tuple[EventLog, CommandQueue]) -> EventLog:
    return log_and_queue[0]


@pytest.fixture
async def queue(log_and_queue: tuple[EventLog, CommandQueue]) -> CommandQueue:
    queue = log_and_queue[1]
    while delivery := await queue.next("cpu", 0.1):
        await delivery.ack()
    return queue


async def test_events_come_back_in_order_and_only_for_their_subject(log: EventLog) -> None:
    job, other = uuid7(), uuid7()
    first = await log.append(submitted(job))
    await log.append(submitted(other))
    second = await log.append(claimed(job, "audio"))
    records = await log.read(job_filter(job))
    assert [r.seq for r in records] == [first, second]
    assert records[0].event == (await log.read(job_filter(job), limit=1))[0].event
    assert [r.seq for r in await log.read(job_filter(job), after=first)] == [second]
    assert await log.read(job_filter(uuid7())) == []


async def test_the_last_event_of_a_filter_with_a_wildcard(log: EventLog) -> None:
    job = uuid7()
    assert await log.last(job_filter(job)) is None
    await log.append(submitted(job))
    seq = await log.append(claimed(job, "audio"))
    last = await log.last(job_filter(job))
    assert last is not None
    assert last.seq == seq


async def test_e1_a_job_is_created_once(log: EventLog) -> None:
    job = uuid7()
    await log.append(submitted(job), Expect(job_filter(job), 0))
    with pytest.raises(ConflictError):
        await log.append(submitted(job), Expect(job_filter(job), 0))
    assert len(await log.read(job_filter(job))) == 1


async def test_e2_an_append_that_depends_on_old_state_is_refused(log: EventLog) -> None:
    job = uuid7()
    head = await log.append(submitted(job))
    await log.append(claimed(job, "audio"))
    with pytest.raises(ConflictError):
        await log.append(completed(job, "audio"), Expect(job_filter(job), head))


async def test_e3_a_repeated_append_is_recognised_by_its_id(log: EventLog) -> None:
    job = uuid7()
    event = submitted(job)
    expect = Expect(job_filter(job), 0)
    seq = await log.append(event, expect)
    await log.append(claimed(job, "audio"))
    assert await log.append(event, expect) == seq
    assert len(await log.read(job_filter(job))) == 2


async def test_e4_only_the_newest_claim_of_a_stage_may_finish_it(log: EventLog) -> None:
    job = uuid7()
    scope = stage_subject(job, "audio")
    zombie = await log.append(claimed(job, "audio", worker="zombie"), Expect(scope, 0))
    fence = await log.append(claimed(job, "audio", worker="heir"), Expect(scope, zombie))
    with pytest.raises(ConflictError):
        await log.append(completed(job, "audio"), Expect(scope, zombie))
    await log.append(claimed(job, "transcribe"))  # another stage's event does not break a healthy worker
    await log.append(completed(job, "audio"), Expect(scope, fence))
    with pytest.raises(ConflictError):
        await log.append(completed(job, "audio"), Expect(scope, fence))


async def test_of_many_concurrent_claims_one_wins(log: EventLog) -> None:
    job = uuid7()
    scope = stage_subject(job, "audio")
    claims = [log.append(claimed(job, "audio", worker=f"w{n}"), Expect(scope, 0)) for n in range(16)]
    outcomes = await asyncio.gather(*claims, return_exceptions=True)
    assert sum(isinstance(o, int) for o in outcomes) == 1
    assert sum(isinstance(o, ConflictError) for o in outcomes) == 15


async def test_a_follower_sees_history_and_then_every_new_event_without_gaps(log: EventLog) -> None:
    job = uuid7()
    start = await log.append(submitted(job))
    seen: list[int] = []

    async def follow() -> None:
        async for batch in log.follow(after=start - 1):
            seen.extend(record.seq for record in batch)
            if len(seen) >= 41:
                return

    async def write() -> None:
        for _ in range(40):
            await log.append(claimed(job, "audio"))

    await asyncio.wait_for(asyncio.gather(follow(), write()), 20)
    assert seen == list(range(start, start + 41))


async def test_a_queue_holds_one_command_per_stage(queue: CommandQueue) -> None:
    job = uuid7()
    assert await queue.publish(command(job))
    assert not await queue.publish(command(job, attempt=2))
    assert await queue.publish(command(job, "transcribe"))


async def test_an_acknowledged_command_is_gone_and_may_be_queued_again(queue: CommandQueue) -> None:
    job = uuid7()
    await queue.publish(command(job))
    delivery = await queue.next("cpu", 1)
    assert delivery is not None
    assert delivery.command.job_id == job
    await delivery.ack()
    assert await queue.next("cpu", 0.2) is None
    assert await queue.publish(command(job, attempt=2, id=uuid7()))


async def test_a_silent_worker_loses_its_command_and_a_beating_one_does_not(queue: CommandQueue) -> None:
    await queue.publish(command(uuid7()))
    first = await queue.next("cpu", 1)
    assert first is not None
    for _ in range(6):
        await asyncio.sleep(ACK_WAIT_S / 3)
        await first.in_progress()
    assert await queue.next("cpu", 0.1) is None
    again = await queue.next("cpu", 2 * ACK_WAIT_S)
    assert again is not None
    assert again.deliveries == 2
    await again.ack()


async def test_pools_do_not_see_each_others_commands(queue: CommandQueue) -> None:
    await queue.publish(command(uuid7(), pool="gpu"))
    assert await queue.next("cpu", 0.2) is None
    delivery = await queue.next("gpu", 1)
    assert delivery is not None
    await delivery.ack()


@pytest.mark.parametrize("version", ["2.9.10", "2.11.3", "1.4.0", "weird"])
def test_a_broker_that_ignores_expected_sequences_is_refused(version: str) -> None:
    with pytest.raises(BrokerTooOldError):
        check_version(version)


@pytest.mark.parametrize("version", ["2.12.0", "2.15.1", "3.0.0"])
def test_a_broker_that_honours_them_is_accepted(version: str) -> None:
    check_version(version)
