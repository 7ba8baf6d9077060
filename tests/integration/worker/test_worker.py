"""The worker as a process on a real broker: stopped and continued, drained, and given what it cannot read."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from services.worker.claims import MAX_DELIVERIES
from shared.artifacts import matches
from shared.commands import StageCommand
from shared.eventlog.jetstream import JetStreamCommandQueue, JetStreamEventLog
from shared.eventlog.streams import create_streams
from shared.events.subjects import COMMAND_STREAM, command_subject, job_filter
from shared.events.types import JobStarted, StageClaimed, StageCompleted, StageFailed, StageReleased
from shared.identity import uuid7
from shared.layout import JobPaths, Layout
from tests import local_http
from tests.broker import BinaryBroker, free_port, running_broker
from tests.factories import claimed, command, event, submitted, submitted_data
from tests.integration.worker.test_child import ended, lives, written
from tests.system import eventually

ACK_WAIT_S = 2.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BinaryBroker]:
    """A broker of the test's own: its queue is read to the end."""
    with running_broker(tmp_path) as running:
        yield running


class Bench:
    """A broker's streams as a test sees them, playing the scheduler."""

    def __init__(self, client: Client, data: Path) -> None:
        self.client = client
        self.layout = Layout(data)
        self.log = JetStreamEventLog(client)
        self.queue = JetStreamCommandQueue(client)

    async def submit(self, title: str) -> StageCommand:
        """Start a job and command its first stage; the title says what its child does."""
        job = uuid7()
        data = submitted_data(title=title)
        await self.log.append(submitted(job, title=title))
        version = await self.log.append(event(JobStarted, job, run=1))
        wanted = command(job, version=version, job=data)
        assert await self.queue.publish(wanted)
        return wanted

    def paths(self, wanted: StageCommand) -> JobPaths:
        return self.layout.job(wanted.job_id, wanted.job.base_dir, wanted.job.stem)

    async def events(self, wanted: StageCommand, kind: type[Any]) -> list[Any]:
        found = [record.event for record in await self.log.read(job_filter(wanted.job_id))]
        return [each for each in found if isinstance(each, kind)]

    async def seen(self, wanted: StageCommand, kind: type[Any], count: int = 1) -> list[Any]:
        """Return the events of this type once there are so many."""
        async with asyncio.timeout(60):
            while len(found := await self.events(wanted, kind)) < count:  # noqa: ASYNC110 -- it has no event
                await asyncio.sleep(0.05)
        return found

    async def queued(self) -> int:
        return int((await self.client.jetstream().stream_info(COMMAND_STREAM)).state.messages)

    async def queue_is_empty(self) -> None:
        async with asyncio.timeout(10):
            while await self.queued():  # noqa: ASYNC110 -- it has no event
                await asyncio.sleep(0.05)


@asynccontextmanager
async def bench(broker: BinaryBroker, data: Path) -> AsyncIterator[Bench]:
    client = await nats.connect(broker.url)
    try:
        await create_streams(client, ACK_WAIT_S)
        yield Bench(client, data)
    finally:
        await client.close()


@contextmanager
def worker(broker: BinaryBroker, data: Path, name: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker process; whatever is left of it at the end is killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.worker.worker_program"],
        env={
            **os.environ,
            "DUBLINE_DATA_DIR": str(data),
            "DUBLINE_NATS_URL": broker.url,
            "DUBLINE_ACK_WAIT_S": str(ACK_WAIT_S),
            "DUBLINE_WORKER_ID": name,
            **environment,
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(10)


async def test_a_worker_stopped_past_its_lease_publishes_and_commits_nothing_when_it_goes_on(
    broker: BinaryBroker, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    async with bench(broker, data) as system:
        with worker(broker, data, "zombie") as zombie:
            wanted = await system.submit("steady")
            work = system.paths(wanted).work
            child = int(await written(work / "began"))
            for pid in (zombie.pid, child):
                os.kill(pid, signal.SIGSTOP)
            with worker(broker, data, "heir"):
                await system.seen(wanted, StageClaimed, 2)
                (work / "finish").touch()
                (done,) = await system.seen(wanted, StageCompleted)
                os.kill(child, signal.SIGCONT)
                await asyncio.sleep(1.0)  # time enough to publish
                assert matches(done.data.outputs[0], system.layout.output), "the heir's file is as it was recorded"
                os.kill(zombie.pid, signal.SIGCONT)
                await ended(child)
                assert lives(zombie.pid), "the worker itself goes on to the next command"
                again = await system.submit("quick")
                await system.seen(again, StageCompleted)
    assert done.actor == "heir"
    assert matches(done.data.outputs[0], system.layout.output), "and stays so"


async def test_sigterm_lets_the_stage_finish_and_the_worker_says_that_it_is_going(
    broker: BinaryBroker, tmp_path: Path
) -> None:
    data, port = tmp_path / "data", free_port()
    url = f"http://127.0.0.1:{port}"
    async with bench(broker, data) as system:
        with worker(broker, data, "w", DUBLINE_WORKER_PORT=str(port)) as process:
            wanted = await system.submit("steady")
            work = system.paths(wanted).work
            await written(work / "began")
            assert await status(f"{url}/readyz") == 200
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(eventually, "it is not ready", lambda: get(f"{url}/readyz") == 503)
            assert await status(f"{url}/livez") == 200
            (work / "finish").touch()
            assert await asyncio.to_thread(process.wait, 30) == 0
            assert len(await system.events(wanted, StageCompleted)) == 1
            await system.queue_is_empty()


async def test_a_second_sigterm_hands_the_stage_back_at_once(broker: BinaryBroker, tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with bench(broker, data) as system:
        with worker(broker, data, "w") as process:
            wanted = await system.submit("deaf")
            child = int(await written(system.paths(wanted).work / "began"))
            process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.2)  # two of the same signal at once are one
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 30) == 0
            assert len(await system.events(wanted, StageReleased)) == 1
            await ended(child)
            await system.queue_is_empty()


async def test_what_is_no_command_is_removed_and_the_next_one_runs(broker: BinaryBroker, tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with bench(broker, data) as system:
        await system.client.jetstream().publish(command_subject("cpu", "nobody", "audio"), b"{not a command")
        wanted = await system.submit("quick")
        with worker(broker, data, "w"):
            await system.seen(wanted, StageCompleted)
            await system.queue_is_empty()


async def test_a_stage_that_took_too_many_workers_down_is_a_dead_letter_and_leaves_the_queue(
    broker: BinaryBroker, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    async with bench(broker, data) as system:
        wanted = await system.submit("quick")
        for number in range(MAX_DELIVERIES):
            delivery = await system.queue.next("cpu", 10)
            assert delivery is not None
            await system.log.append(claimed(wanted.job_id, "audio", worker=f"w{number}"))
            await delivery.nak()
        with worker(broker, data, "w"):
            (failed,) = await system.seen(wanted, StageFailed)
            await system.queue_is_empty()
    assert (failed.data.code, failed.data.retryable) == ("dead_letter", False)
    assert f"w{MAX_DELIVERIES - 1}" in failed.data.message


def get(url: str) -> int:
    return local_http.get(url, timeout=5, trust_env=False).status_code


async def status(url: str) -> int:
    return await asyncio.to_thread(get, url)
