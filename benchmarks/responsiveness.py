"""Does every service answer while the processors are busy? Three real dubs at once, /livez asked every 20 ms.

Lives here: the load and the sampling. The next request does not wait for the answer to the one before, so that a stall
is not met once where a steady stream of users would have met it many times.
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.installation import Installation, installed, variant
from benchmarks.rows import Row, percentile
from services.standalone import run_state
from services.standalone.broker_config import password_file
from services.standalone.plan import module
from services.standalone.ports import LOOPBACK

JOBS = 3
PERIOD_S = 0.02
KEPT_S = 2.0
"""An idle connection is used again within this time: the services close theirs after five seconds."""
SERVICES = ("ingest", "library", "scheduler", "gateway")
CAPS = {
    "MAX_CONCURRENCY_GLOBAL": str(JOBS),
    "MAX_CONCURRENCY_TRANSCRIBE": str(JOBS),
    "MAX_CONCURRENCY_TTS": str(JOBS),
    "MAX_CONCURRENT": str(JOBS),
}
REQUEST = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def rows(directory: Path) -> Iterator[Row]:
    """Yield how long /livez took on every HTTP service while three jobs ran, and how many jobs ran at once."""
    with _environment(CAPS), installed(directory) as system, ExitStack() as exits:
        state = run_state.read(system.layout)
        assert state is not None
        workers = sum(name.startswith("worker") for name in state.processes)
        for number in range(workers, JOBS):
            exits.enter_context(_worker(system, state.ports, number))
        ports = {name: state.ports[name] for name in SERVICES}
        latencies, seconds = asyncio.run(_sample_while_dubbing(directory, system, ports))
    yield Row(f"{JOBS} jobs at once on {len(os.sched_getaffinity(0))} processors", seconds, "s")
    for name, found in latencies.items():
        yield Row(f"/livez of {name}, p50", 1000 * percentile(found, 0.5), "ms", f"{len(found)} requests")
        yield Row(f"/livez of {name}, p99", 1000 * percentile(found, 0.99), "ms", None, "<= 50")
        yield Row(f"/livez of {name}, max", 1000 * max(found), "ms")


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _worker(system: Installation, ports: dict[str, int], number: int) -> Iterator[None]:
    """One more worker beside those of `dubline up`, so that every job has one."""
    environment = {
        **os.environ,
        "DUBLINE_NATS_URL": f"nats://{LOOPBACK}:{ports['nats']}",
        "DUBLINE_NATS_USER": "worker",
        "DUBLINE_NATS_PASSWORD_FILE": str(password_file(system.layout, "worker")),
        "DUBLINE_WORKER_ID": f"bench-{number}",
        "DRAIN_TIMEOUT_SEC": "1",
    }
    with (system.layout.logs / f"bench-worker-{number}.log").open("wb") as log:
        worker = subprocess.Popen(module("services.worker"), env=environment, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)


async def _sample_while_dubbing(
    directory: Path, system: Installation, ports: dict[str, int]
) -> tuple[dict[str, list[float]], float]:
    begun = time.monotonic()
    jobs = [await asyncio.to_thread(system.submit, variant(directory, number)) for number in range(JOBS)]
    samplers = {name: _Sampler(port) for name, port in ports.items()}
    sampling = [asyncio.create_task(sampler.run()) for sampler in samplers.values()]
    try:
        await asyncio.gather(*(asyncio.to_thread(system.finished, job) for job in jobs))
    finally:
        seconds = time.monotonic() - begun
        for task in sampling:
            task.cancel()
        ended = await asyncio.gather(*sampling, return_exceptions=True)
    failures = [end for end in ended if not isinstance(end, asyncio.CancelledError)]
    if failures:
        raise RuntimeError(f"a service did not answer as it should: {failures}")
    return {name: sampler.latencies for name, sampler in samplers.items()}, seconds


class _Sampler:
    """Asks one service at a steady pace, however slow its answers are: like users who do not wait for each other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.latencies: list[float] = []

    async def run(self) -> None:
        """Ask until cancelled. Raises RuntimeError if an answer is not 200."""
        try:
            async with asyncio.TaskGroup() as asking:
                while True:
                    asking.create_task(self._ask())
                    await asyncio.sleep(PERIOD_S)
        finally:
            for _, _, writer in self._idle:
                writer.close()

    async def _ask(self) -> None:
        """Ask on a connection that nobody waits on."""
        begun = time.monotonic()
        while self._idle and begun - self._idle[0][0] > KEPT_S:
            self._idle.pop(0)[2].close()
        if self._idle:
            _, reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(LOOPBACK, self._port)
        try:
            status = await _answer(reader, writer)
        except BaseException:
            writer.close()
            raise
        self.latencies.append(time.monotonic() - begun)
        self._idle.append((time.monotonic(), reader, writer))
        if b" 200 " not in status:
            raise RuntimeError(f"port {self._port} answered {status!r}")


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send the request, read the whole answer, and return its first line."""
    writer.write(REQUEST)
    status = await reader.readline()
    length = 0
    while (line := (await reader.readline()).lower()) != b"\r\n":
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    await reader.readexactly(length)
    return status
