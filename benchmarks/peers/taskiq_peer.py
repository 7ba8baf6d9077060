"""taskiq with its pull broker on JetStream: each no-op task sends the next one, the last one tells the client.

Lives here: the broker that the worker loads, and the client (`python -m benchmarks.peers.taskiq_peer`). There is no
result backend: the end of a job is a message that is not stored, so the peer is spared that too.
"""

import asyncio
import json
import os
import sys
import time
import uuid
from typing import Any

from nats.aio.msg import Msg
from taskiq_nats import PullBasedJetStreamBroker  # type: ignore[import-not-found]

TIMEOUT_S = 60.0
FETCH_S = 5.0

broker = PullBasedJetStreamBroker([os.environ["PEER_URL"]], pull_consume_timeout=FETCH_S)


async def _step(job: str, left: int) -> None:
    if left > 1:
        await step.kiq(job, left - 1)
    else:
        await broker.client.publish(f"done.{job}", b"")


step = broker.task(task_name="step")(_step)


class Driver:
    """The client: sends first tasks and hears of the ends."""

    def __init__(self) -> None:
        self._ends: dict[str, asyncio.Future[None]] = {}

    async def serve(self) -> None:
        """Answer requests until stdin closes."""
        await broker.startup()
        await broker.client.subscribe("done.*", cb=self._ended)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await self.run(**json.loads(line))), flush=True)
        await broker.shutdown()

    async def run(self, jobs: int, stages: int, at_once: bool) -> dict[str, Any]:
        """Run jobs, all at once or one after the other."""
        started = time.perf_counter()
        latencies = []
        if at_once:
            async with asyncio.timeout(TIMEOUT_S):
                await asyncio.gather(*[await self._submit(stages) for _ in range(jobs)])
        else:
            for _ in range(jobs):
                sent = time.perf_counter()
                async with asyncio.timeout(TIMEOUT_S):
                    await (await self._submit(stages))
                latencies.append(time.perf_counter() - sent)
        return {"seconds": time.perf_counter() - started, "latencies": latencies}

    async def _submit(self, stages: int) -> "asyncio.Future[None]":
        job = uuid.uuid4().hex
        end = self._ends[job] = asyncio.get_running_loop().create_future()
        await step.kiq(job, stages)
        return end

    async def _ended(self, message: Msg) -> None:
        self._ends.pop(message.subject.removeprefix("done.")).set_result(None)


if __name__ == "__main__":
    asyncio.run(Driver().serve())
