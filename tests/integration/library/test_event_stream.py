"""SSE: event ids are sequences of the log; a client resumes without gap or duplicate."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from services.library import hub as hub_module
from services.library.hub import Hub, frame
from services.library.live import LiveProgress
from services.library.routes.events import stream
from shared.eventlog.memory import MemoryEventLog
from shared.events.types import JobStarted, decode
from shared.identity import uuid7
from shared.telemetry import Progress
from tests.factories import claimed, event, submitted
from tests.integration.library.conftest import LibraryProcess, append_all, tell


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
        httpx.AsyncClient(timeout=10) as client,
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
            async with listening(library, "/api/events", **{"Last-Event-ID": last}) as heard:
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
    """In one process: the backlog overflows while the client reads nothing, and still nothing is lost."""
    monkeypatch.setattr(hub_module, "BACKLOG", 4)
    log = MemoryEventLog()
    hub = Hub(LiveProgress())
    library: Any = type("Parts", (), {"log": log, "hub": hub})
    frames = stream(library, None, 0)
    assert (await anext(frames)).startswith(b"retry:")
    for _ in range(20):
        await log.append(submitted(uuid7()))
        hub.publish(log.records[-1:])
    received = b""
    while received.count(b"\nid: ") + received.startswith(b"id: ") < 20:
        received += await asyncio.wait_for(anext(frames), 5)
    await frames.aclose()  # type: ignore[attr-defined]
    assert received == b"".join(item.wire for record in log.records if (item := frame(record)))
    assert len(hub) == 0
