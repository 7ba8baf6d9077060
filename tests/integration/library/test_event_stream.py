"""SSE: event ids are sequences of the log; a client resumes without gap or duplicate."""

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from services.library import hub as hub_module
from services.library.committed import Committed
from services.library.hub import Hub, frame
from services.library.live import LiveProgress
from services.library.routes.events import stream
from shared.access.principal import local_principal
from shared.eventlog.memory import MemoryEventLog
from shared.events.library import JobDeleted
from shared.events.types import JobCanceled, JobStarted, decode
from shared.identity import uuid7
from shared.telemetry import Progress
from tests import local_http
from tests.factories import claimed, event, submitted
from tests.integration.library.conftest import LibraryProcess, append_all, tell

NOBODY = "0192f0c1-2b3c-7d4e-8f50-61728394a5b6"
"""An id that no job has."""


@dataclass(frozen=True)
class Heard:
    id: int | None
    kind: str
    data: Any


async def hear(lines: AsyncIterator[str]) -> AsyncIterator[Heard]:
    """Parse an event stream as the HTML standard says."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            seq = int(fields["id"]) if "id" in fields else None
            yield Heard(seq, fields.get("event", "message"), json.loads(fields["data"]))
            fields = {}
        elif not line:
            fields = {}


@asynccontextmanager
async def listening(library: LibraryProcess, path: str, **headers: str) -> AsyncIterator[AsyncIterator[Heard]]:
    async with (
        local_http.async_client(timeout=10) as client,
        client.stream("GET", library.url + path, headers=headers) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield hear(answer.aiter_lines())


async def take(heard: AsyncIterator[Heard], count: int) -> list[Heard]:
    return [await asyncio.wait_for(anext(heard), 10) for _ in range(count)]


async def test_a_job_is_told_from_its_beginning_and_then_live(library: LibraryProcess) -> None:
    job = uuid7()
    first, *_ = await append_all(library.broker, (submitted(job), submitted(uuid7()), event(JobStarted, job, run=1)))
    await asyncio.to_thread(library.wait_for_position, first + 2)
    async with listening(library, f"/api/jobs/{job}/events") as heard:
        history = await take(heard, 2)
        assert [item.id for item in history] == [first, first + 2]
        assert decode(json.dumps(history[0].data).encode()).subject == job
        (seq,) = await append_all(library.broker, (claimed(job, "audio"),))
        (live,) = await take(heard, 1)
        assert (live.id, live.kind, live.data["type"]) == (seq, "message", "dubline.stage.claimed.v1")


async def test_progress_comes_between_without_an_id(library: LibraryProcess) -> None:
    job = uuid7()
    *_, last = await append_all(library.broker, (submitted(job), event(JobStarted, job), claimed(job, "tts")))
    await asyncio.to_thread(library.wait_for_position, last)
    async with listening(library, f"/api/jobs/{job}/events", **{"Last-Event-ID": str(last)}) as heard:
        await asyncio.sleep(0.2)
        await tell(library.broker, Progress(job_id=job, stage="tts", attempt=1, fraction=0.5, message="line 2 of 4"))
        await tell(library.broker, Progress(job_id=uuid7(), stage="tts", attempt=1, fraction=0.5))
        (item,) = await take(heard, 1)
        assert (item.id, item.kind) == (None, "progress")
        assert (item.data["stage"], item.data["fraction"], item.data["progress"]) == ("tts", 0.5, 0.855)


async def test_a_client_that_comes_and_goes_misses_nothing_and_gets_nothing_twice(library: LibraryProcess) -> None:
    job = uuid7()
    (start,) = await append_all(library.broker, (submitted(job),))
    expected = list(range(start + 1, start + 61))

    async def write() -> None:
        await append_all(library.broker, tuple(claimed(job, "audio") for _ in expected))

    async def read() -> list[int]:
        seen: list[int] = []
        while len(seen) < len(expected):
            last = str(seen[-1] if seen else start)
            async with listening(library, "/api/events?types=job,stage", **{"Last-Event-ID": last}) as heard:
                for item in await take(heard, min(7, len(expected) - len(seen))):
                    assert item.id is not None
                    seen.append(item.id)
        return seen

    _, seen = await asyncio.gather(write(), read())
    assert seen == expected


async def test_after_says_what_a_page_has_seen(library: LibraryProcess) -> None:
    job = uuid7()
    first, second = await append_all(library.broker, (submitted(job), event(JobStarted, job)))
    async with listening(library, f"/api/events?after={first}") as heard:
        assert [item.id for item in await take(heard, 1)] == [second]


async def test_a_client_from_a_longer_log_starts_at_the_end_of_this_one(library: LibraryProcess) -> None:
    async with listening(library, "/api/events", **{"Last-Event-ID": str(10**12)}) as heard:
        await asyncio.sleep(0.2)
        (seq,) = await append_all(library.broker, (submitted(uuid7()),))
        assert [item.id for item in await take(heard, 1)] == [seq]


async def test_a_client_that_is_too_slow_goes_back_to_the_log(monkeypatch: Any) -> None:
    """In one process: more comes than is remembered while the client reads nothing, and still nothing is lost."""
    monkeypatch.setattr(hub_module, "TAIL_FRAMES", 4)
    log = MemoryEventLog()
    hub = Hub(LiveProgress())
    library: Any = type("Parts", (), {"log": log, "hub": hub, "audiences": None})
    frames = stream(library, local_principal(), None, 0)
    assert (await anext(frames)).startswith(b"retry:")
    for _ in range(200):
        await log.append(submitted(uuid7()))
        hub.publish(Committed(log.records[-1:]))
    assert not hub.covers(0)
    received = b""
    while received.count(b"\nid: ") + received.startswith(b"id: ") < 200:
        received += await asyncio.wait_for(anext(frames), 5)
    await frames.aclose()  # type: ignore[attr-defined]
    assert received == b"".join(item.wire for record in log.records if (item := frame(record)))
    assert len(hub) == 0


def numbers(received: bytes) -> list[int]:
    return [int(line[4:]) for line in received.split(b"\n") if line.startswith(b"id: ")]


def resident_mib(library: LibraryProcess) -> float:
    assert library.process
    status = Path(f"/proc/{library.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def test_sockets_that_nobody_reads_hold_no_memory_and_lose_nothing(library: LibraryProcess) -> None:
    """50 clients x 6 MiB of events that they do not read: their sockets' buffers fill up, nothing else does."""
    (start,) = await append_all(library.broker, (submitted(uuid7()),))
    await asyncio.to_thread(library.wait_for_position, start)
    key = local_http.local_key()
    asking = f"GET /api/events?after={start} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Api-Key: {key}\r\n\r\n"
    silent = []
    for _ in range(50):
        connection = socket.create_connection(("127.0.0.1", library.port), 10)
        connection.sendall(asking.encode())
        silent.append(connection)
    before = resident_mib(library)
    sent = await append_all(library.broker, tuple(submitted(uuid7(), title="x" * 8192) for _ in range(750)))
    await asyncio.to_thread(library.wait_for_position, sent[-1])
    assert resident_mib(library) - before < 150, "all of it, for each of them, would be 300 MiB"

    def read(connection: socket.socket) -> list[int]:
        with connection:
            received = b""
            while b"\nid: %d\n" % sent[-1] not in received[-20_000:]:
                received += connection.recv(1 << 20)
        return numbers(received)

    for connection in silent[1:-1]:
        connection.close()
    for connection in (silent[0], silent[-1]):
        assert await asyncio.to_thread(read, connection) == sent


async def follow(library: LibraryProcess, place: int, last: int) -> list[int]:
    """Read as a browser does, which comes again with the last id that it got, until it has got `last`."""
    seen = [place]
    while seen[-1] < last:
        with contextlib.suppress(httpx.TransportError):
            async with listening(library, "/api/events", **{"Last-Event-ID": str(seen[-1])}) as heard:
                async for item in heard:
                    if item.id is not None:
                        seen.append(item.id)
                    if seen[-1] >= last:
                        break
        await asyncio.sleep(0.05)
    return seen[1:]


async def test_a_client_sees_no_gap_over_restarts_of_the_library_and_the_broker(fresh_library: LibraryProcess) -> None:
    library = fresh_library
    (start,) = await append_all(library.broker, (submitted(uuid7()),))
    last = start + 100

    async def write() -> None:
        await append_all(library.broker, tuple(submitted(uuid7()) for _ in range(25)))

    reading = asyncio.create_task(follow(library, start, last))
    await write()
    await asyncio.to_thread(library.end, signal.SIGKILL)
    await write()
    await asyncio.to_thread(library.start)
    await write()
    await asyncio.to_thread(library.broker.kill)
    await asyncio.to_thread(library.broker.start)
    await write()
    assert await asyncio.wait_for(reading, 60) == list(range(start + 1, last + 1))


async def test_a_client_ahead_of_a_jobs_db_that_is_rebuilt_gets_nothing_twice() -> None:
    log = MemoryEventLog()
    for _ in range(10):
        await log.append(submitted(uuid7()))
    hub = Hub(LiveProgress())
    library: Any = type("Parts", (), {"log": log, "hub": hub, "audiences": None})
    hub.publish(Committed(log.records[:4]))
    frames = stream(library, local_principal(), None, 8)
    await anext(frames)
    waiting = asyncio.ensure_future(anext(frames))
    await asyncio.sleep(0)
    hub.publish(Committed(log.records[4:]))
    assert numbers(await asyncio.wait_for(waiting, 5)) == [9, 10]
    await frames.aclose()  # type: ignore[attr-defined]


async def test_the_stream_of_a_deleted_job_still_tells_its_history(library: LibraryProcess) -> None:
    job = uuid7()
    gone = event(JobDeleted, job, owner="local", base_dir="film", source="uploads/up_1.mp4")
    sequences = await append_all(library.broker, (submitted(job), event(JobCanceled, job, kill=True), gone))
    await asyncio.to_thread(library.wait_for_position, sequences[-1])
    async with listening(library, f"/api/jobs/{job}/events") as heard:
        assert [item.id for item in await take(heard, 3)] == sequences


@pytest.mark.parametrize("name", [NOBODY, "no-job", "*", ">"])
def test_the_stream_of_a_job_that_never_was_is_not_found(library: LibraryProcess, name: str) -> None:
    answer = local_http.get(f"{library.url}/api/jobs/{quote(name)}/events", timeout=10)
    assert answer.status_code == 404


async def test_types_choose_what_is_told(library: LibraryProcess) -> None:
    job = uuid7()
    first, _, third = await append_all(
        library.broker, (submitted(job), event(JobStarted, job, run=1), claimed(job, "audio"))
    )
    await asyncio.to_thread(library.wait_for_position, third)
    async with listening(library, f"/api/jobs/{job}/events?types=job.sub,dubline.stage.") as heard:
        assert [item.id for item in await take(heard, 2)] == [first, third]


async def test_the_rows_of_all_jobs_are_told_as_they_change(library: LibraryProcess) -> None:
    """V4: the path was taken for a job called `events`."""
    async with listening(library, "/api/jobs/events") as heard:
        job = uuid7()
        await append_all(library.broker, (submitted(job),))
        (made,) = await take(heard, 1)
        assert (made.kind, made.data["id"], made.data["state"]) == ("job", job, "QUEUED")
        *_, last = await append_all(library.broker, (event(JobStarted, job, run=1), claimed(job, "tts")))
        while made.data["version"] < last:
            (made,) = await take(heard, 1)
        await tell(library.broker, Progress(job_id=job, stage="tts", attempt=1, fraction=0.5))
        (live,) = await take(heard, 1)
        assert (live.data["state"], live.data["progress"]) == ("RUNNING", 0.855)


async def test_rows_that_were_missed_are_told_once_each(library: LibraryProcess) -> None:
    job, other = uuid7(), uuid7()
    first, *_, last = await append_all(
        library.broker, (submitted(uuid7()), submitted(job), submitted(other), event(JobStarted, job, run=1))
    )
    await asyncio.to_thread(library.wait_for_position, last)
    async with listening(library, "/api/jobs/events", **{"Last-Event-ID": str(first)}) as heard:
        rows = await take(heard, 2)
    assert {row.data["id"]: row.data["state"] for row in rows} == {job: "RUNNING", other: "QUEUED"}


async def test_one_jobs_row_is_told_at_once_and_on_each_change(library: LibraryProcess) -> None:
    job = uuid7()
    await asyncio.to_thread(library.append, submitted(job))
    async with listening(library, f"/events/jobs/{job}") as heard:
        assert [item.data["state"] for item in await take(heard, 1)] == ["QUEUED"]
        await append_all(library.broker, (submitted(uuid7()), event(JobStarted, job, run=1)))
        assert [item.data["state"] for item in await take(heard, 1)] == ["RUNNING"]


def test_the_row_of_a_job_that_never_was_is_not_found(library: LibraryProcess) -> None:
    assert local_http.get(f"{library.url}/events/jobs/{uuid7()}", timeout=10).status_code == 404
