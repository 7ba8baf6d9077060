"""Thousands of event streams on one library: is everything delivered, how late, and at what cost?

Lives here: the measurement. A real broker, a real library process, the clients in a process of their own; one stored
event a second, its clock started before the append. The same clients then listen to a bare StreamingResponse that
sends frames of the same size at the same rate: that is the framework's and the server's part.
This module is those other processes too: `python -m benchmarks.sse listen ...` and `... bare ...` print JSON.
"""

import asyncio
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import uvicorn
import uvloop
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from benchmarks.projection import make_streams, wait_until_ready
from benchmarks.rows import Row, percentile
from benchmarks.signed_in import local_key
from services.standalone import ports
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.events.names import Stage
from shared.events.types import StageClaimed, StageClaimedData
from shared.identity import uuid7
from shared.settings import Settings

CLIENTS = 2000
EVENTS = 20
INTERVAL_S = 1.0
PATIENCE_S = 15.0
"""What has not arrived so long after the last event is counted as lost."""

STAGE: Stage = "audio"
SPARE_FILES = 200
CONNECT_AT_ONCE = 100
BROKER = """
listen: 127.0.0.1:{port}
jetstream {{
  store_dir: "{store}"
  sync_interval: always
}}
"""
_ID = re.compile(rb"^id: (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Heard:
    """What the clients got: the share of all deliveries, how late each was (s), and the server's share of a core."""

    delivered: float
    late: list[float]
    core: float


def rows(directory: Path) -> Iterator[Row]:
    """Yield delivery, latency and cost of the library, and those of the bare peer."""
    if not _may_open(CLIENTS + SPARE_FILES):
        print(f"sse: skipped, a process may not open {CLIENTS + SPARE_FILES} files here (ulimit -Hn)")
        return
    size, library = _measure_library(directory)
    bare = _measure_bare(directory, size)
    crowd = f"{CLIENTS:,} SSE clients, 1 event/s of {size} B"
    yield Row(f"{crowd}: delivered", 100 * library.delivered, "%", None, ">= 100")
    yield Row(f"{crowd}: append to arrival, p50", 1000 * percentile(library.late, 0.5), "ms")
    yield Row(f"{crowd}: append to arrival, p99", 1000 * percentile(library.late, 0.99), "ms")
    yield Row(f"{crowd}: library's share of a core", 100 * library.core, "%", "bare StreamingResponse", "<= 15")
    yield Row("bare StreamingResponse: delivered", 100 * bare.delivered, "%")
    yield Row("bare StreamingResponse: sent to arrival, p50", 1000 * percentile(bare.late, 0.5), "ms")
    yield Row("bare StreamingResponse: sent to arrival, p99", 1000 * percentile(bare.late, 0.99), "ms")
    yield Row("bare StreamingResponse: share of a core", 100 * bare.core, "%")


def _may_open(files: int) -> bool:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < files:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))  # what is started from here has it too
    return True


def _measure_library(directory: Path) -> tuple[int, Heard]:
    """Return the size of a frame, bytes, and what was heard."""
    chosen = ports.choose(["nats", "library"], {})
    config = directory / "nats.conf"
    config.write_text(BROKER.format(port=chosen["nats"], store=directory / "store"))
    data = directory / "library"
    settings = Settings(nats_url=f"nats://127.0.0.1:{chosen['nats']}", data_dir=data)
    environment = os.environ | {
        "DUBLINE_DATA_DIR": str(data),
        "DUBLINE_NATS_URL": settings.nats_url,
        "DUBLINE_LIBRARY_PORT": str(chosen["library"]),
    }
    with ExitStack() as stack:
        log = stack.enter_context((directory / "sse.log").open("wb"))
        _start(stack, [str(Path(sys.executable).parent / "nats-server"), "-c", str(config)], stderr=log)
        asyncio.run(make_streams(settings))
        library = _start(stack, [sys.executable, "-m", "services.library"], env=environment, stderr=log, stdout=log)
        wait_until_ready(chosen["library"])
        with _listeners(chosen["library"], "/api/events") as listeners:
            before = _cpu_s(library.pid)
            started = time.monotonic()
            size, sent = asyncio.run(_append(settings))
            core = (_cpu_s(library.pid) - before) / (time.monotonic() - started)
            return size, _heard(listeners, sent, core)


def _measure_bare(directory: Path, size: int) -> Heard:
    port = ports.choose(["library"], {})["library"]
    with ExitStack() as stack:
        log = stack.enter_context((directory / "bare.log").open("wb"))
        command = [sys.executable, "-m", "benchmarks.sse", "bare", str(port), str(size)]
        server = _start(stack, command, stderr=log, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdout.readline()
        with _listeners(port, "/") as listeners:
            before = _cpu_s(server.pid)
            started = time.monotonic()
            server.stdin.write(b"go\n")
            server.stdin.flush()
            sent = {int(seq): at for seq, at in json.loads(server.stdout.readline()).items()}
            core = (_cpu_s(server.pid) - before) / (time.monotonic() - started)
            return _heard(listeners, sent, core)


def _start(stack: ExitStack, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    process = stack.enter_context(subprocess.Popen(command, **options))
    stack.callback(process.terminate)
    return process


@contextmanager
def _listeners(port: int, path: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the clients' process and wait until all of them listen."""
    command = [sys.executable, "-m", "benchmarks.sse", "listen", str(port), path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.terminate()


def _heard(listeners: subprocess.Popen[bytes], sent: dict[int, float], core: float) -> Heard:
    assert listeners.stdout is not None
    arrivals: list[tuple[int, float]] = json.loads(listeners.stdout.readline())
    late = [at - sent[seq] for seq, at in arrivals]
    return Heard(len(late) / (CLIENTS * EVENTS), late, core)


def _cpu_s(pid: int) -> float:
    """Return the seconds that a process has computed: its own and the kernel's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _append(settings: Settings) -> tuple[int, dict[int, float]]:
    """Append one event a second; return a frame's size and when each append began, by sequence."""
    client = await connect(settings, "bench")
    log = JetStreamEventLog(client)
    sent: dict[int, float] = {}
    size = 0
    for _ in range(EVENTS):
        job_id = uuid7()
        data = StageClaimedData(stage=STAGE, attempt=1, worker="w1", host="h", pool="cpu")
        event = StageClaimed(
            source="urn:dubline:bench",
            time=datetime.now(UTC),
            subject=job_id,
            actor="bench",
            correlationid=job_id,
            data=data,
        )
        began = time.monotonic()
        sent[await log.append(event)] = began
        size = len(event.encode())
        await asyncio.sleep(max(0.0, began + INTERVAL_S - time.monotonic()))
    await client.close()
    return size, sent


class Client(asyncio.Protocol):
    """One stream; notes when each frame's id arrives. CLOCK_MONOTONIC is the same for all processes."""

    def __init__(self, request: bytes, arrivals: list[tuple[int, float]]) -> None:
        self._request = request
        self._arrivals = arrivals
        self._rest = b""
        self.listening = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.WriteTransport", transport).write(self._request)  # uvloop's are none by inheritance

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        whole, _, self._rest = (self._rest + data).rpartition(b"\n")
        self._arrivals += [(int(found), now) for found in _ID.findall(whole)]
        if not self.listening.done() and b"retry:" in whole:
            self.listening.set_result(None)


async def _listen(port: int, path: str) -> list[tuple[int, float]]:
    loop = asyncio.get_running_loop()
    arrivals: list[tuple[int, float]] = []
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Api-Key: {local_key()}\r\n\r\n".encode()
    for _ in range(0, CLIENTS, CONNECT_AT_ONCE):
        connecting = [
            loop.create_connection(lambda: Client(request, arrivals), "127.0.0.1", port) for _ in range(CONNECT_AT_ONCE)
        ]
        await asyncio.gather(*(client.listening for _, client in await asyncio.gather(*connecting)))
    print("listening", flush=True)
    deadline = time.monotonic() + EVENTS * INTERVAL_S + PATIENCE_S
    while len(arrivals) < CLIENTS * EVENTS and time.monotonic() < deadline:  # noqa: ASYNC110 -- no work per arrival
        await asyncio.sleep(0.2)
    return arrivals


async def _serve_bare(port: int, size: int) -> None:
    """Serve streams; at a line on stdin send to all of them, and print when."""
    app = FastAPI()
    news = asyncio.Condition()
    frames: list[bytes] = []
    loop = asyncio.get_running_loop()

    async def stream() -> AsyncIterator[bytes]:
        yield b"retry: 2000\n\n"
        for number in range(EVENTS):
            while len(frames) <= number:
                async with news:
                    await news.wait()
            yield frames[number]

    @app.get("/")
    async def events() -> StreamingResponse:
        return StreamingResponse(stream(), media_type="text/event-stream")

    async def send() -> None:
        print("serving", flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
        sent = {}
        for number in range(1, EVENTS + 1):
            sent[number] = began = time.monotonic()
            async with news:
                frames.append(b"id: %d\ndata: %b\n\n" % (number, b"x" * size))
                news.notify_all()
            await asyncio.sleep(max(0.0, began + INTERVAL_S - time.monotonic()))
        print(json.dumps(sent), flush=True)

    server = uvicorn.Server(
        uvicorn.Config(app, port=port, access_log=False, log_level="warning", timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 -- uvicorn's flag
        await asyncio.sleep(0.05)
    await send()
    await serving


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["listen", port, path]:
            print(json.dumps(uvloop.run(_listen(int(port), path))), flush=True)
        case ["bare", port, size]:
            uvloop.run(_serve_bare(int(port), int(size)))
