"""/ws/jobs/{id}, over real sockets and with a real client of another make."""

import asyncio
import contextlib
import json
import signal
import sqlite3
from typing import Any

import pytest
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from services.library.committed import Committed
from services.library.hub import Hub
from services.library.live import LiveProgress
from services.library.routes import ws
from shared.access.current import PRINCIPAL
from shared.access.principal import local_principal
from shared.eventlog.memory import MemoryEventLog
from shared.events.library import JobDeleted
from shared.events.types import JobCanceled, JobStarted
from shared.identity import uuid7
from shared.telemetry import Progress
from tests import local_http
from tests.factories import claimed, event, submitted
from tests.integration.library.conftest import LibraryProcess, append_all, tell


def socket(library: LibraryProcess, job_id: str, headers: dict[str, str] | None = None, **more: Any) -> connect:
    shown = {"X-Api-Key": local_http.local_key()} | (headers or {})
    uri = f"ws://127.0.0.1:{library.port}/ws/jobs/{job_id}"
    return connect(uri, open_timeout=10, proxy=None, additional_headers=shown, **more)


async def heard(client: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(client.recv(), 10))


async def closing_code(client: ClientConnection) -> int | None:
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await client.recv()
    return client.close_code


async def test_the_row_comes_at_once_and_on_each_change_and_with_live_progress(library: LibraryProcess) -> None:
    job = uuid7()
    await asyncio.to_thread(library.append, submitted(job))
    async with socket(library, job) as client:
        assert (await heard(client))["state"] == "QUEUED"
        await append_all(library.broker, (submitted(uuid7()), event(JobStarted, job, run=1)))
        assert (await heard(client))["state"] == "RUNNING"
        (seq,) = await append_all(library.broker, (claimed(job, "tts"),))
        assert (await heard(client))["version"] == seq
        await tell(library.broker, Progress(job_id=job, stage="tts", attempt=1, fraction=0.5, message="line 2 of 4"))
        row = await heard(client)
        assert (row["progress"], row["message"]) == (0.855, "line 2 of 4")
        await client.send("what a client says is nothing to the library")
        await (await client.ping())


@pytest.mark.parametrize("job", ["0192f0c1-2b3c-7d4e-8f50-61728394a5b6", "no-job"])
async def test_an_unknown_job_closes_with_1008(library: LibraryProcess, job: str) -> None:
    async with socket(library, job) as client:
        assert await closing_code(client) == 1008


async def test_a_job_that_is_deleted_closes_with_1008_and_one_that_is_over_stays(library: LibraryProcess) -> None:
    job = uuid7()
    await asyncio.to_thread(library.append, submitted(job))
    async with socket(library, job) as client:
        await heard(client)
        await append_all(library.broker, (event(JobCanceled, job, kill=True),))
        assert (await heard(client))["state"] == "CANCELED"
        await append_all(library.broker, (event(JobDeleted, job, owner="local", base_dir="film", source=""),))
        assert await closing_code(client) == 1008


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
async def test_a_page_of_another_origin_opens_no_socket(library: LibraryProcess, headers: dict[str, str]) -> None:
    job = uuid7()
    await asyncio.to_thread(library.append, submitted(job))
    with pytest.raises(InvalidStatus) as refused:
        await socket(library, job, headers=headers)
    assert refused.value.response.status_code == 403
    assert b"cross_site_request" in refused.value.response.body


async def test_our_own_page_opens_one(library: LibraryProcess) -> None:
    job = uuid7()
    await asyncio.to_thread(library.append, submitted(job))
    headers = {"Sec-Fetch-Site": "same-origin"}
    async with socket(library, job, origin=library.url, headers=headers) as client:
        assert (await heard(client))["id"] == job


async def test_a_slow_client_is_told_the_newest_state_only() -> None:
    """In one process: whatever passes while nobody takes what was sent, the next message is the newest row."""
    hub, log, job = Hub(LiveProgress()), MemoryEventLog(), uuid7()
    may_send, sent, receives = asyncio.Event(), [], asyncio.Queue[Any]()

    async def publish(version: int) -> None:
        await log.append(submitted(job))
        hub.publish(Committed(log.records[-1:], rows={job: b'{"version":%d}' % version}))

    async def send(message: Any) -> None:
        if message["type"] == "websocket.send":
            await may_send.wait()
            sent.append(json.loads(message["text"])["version"])

    await publish(0)
    app = Starlette(routes=ws.router.routes)
    app.state.library = type("Parts", (), {"hub": hub, "log": log, "audiences": None})
    scope: dict[str, Any] = {
        "type": "websocket",
        "path": f"/ws/jobs/{job}",
        "headers": [],
        "query_string": b"",
        "subprotocols": [],
    }
    scope[PRINCIPAL] = local_principal()
    receives.put_nowait({"type": "websocket.connect"})
    running = asyncio.create_task(app(scope, receives.get, send))
    await asyncio.sleep(0)
    for version in range(1, 5000):
        await publish(version)
        if version % 1000 == 0:
            await asyncio.sleep(0)
    may_send.set()
    while 4999 not in sent:  # noqa: ASYNC110 -- an event of ours would change what is tested
        await asyncio.sleep(0)
    assert sent == [sent[0], 4999]
    receives.put_nowait({"type": "websocket.disconnect"})
    await asyncio.wait_for(running, 5)
    assert len(hub) == 0, "a client that has gone leaves nothing"


async def test_a_stop_of_the_service_closes_with_1001(fresh_library: LibraryProcess) -> None:
    library, job = fresh_library, uuid7()
    await asyncio.to_thread(library.append, submitted(job))
    async with socket(library, job) as client:
        await heard(client)
        assert library.process
        library.process.send_signal(signal.SIGTERM)
        assert await closing_code(client) == 1001
    assert await asyncio.to_thread(library.process.wait, 10) == 0


async def test_an_error_closes_with_1011() -> None:
    """In one process: a library whose jobs.db cannot be read."""

    class Reader:
        async def run(self, _query: object) -> bytes:
            raise sqlite3.OperationalError("disk I/O error")

    receives, sent = asyncio.Queue[Any](), []

    async def send(message: Any) -> None:
        sent.append((message["type"], message.get("code")))

    app = Starlette(routes=ws.router.routes)
    hub = Hub(LiveProgress())
    parts = {"hub": hub, "log": MemoryEventLog(), "reader": Reader(), "audiences": None}
    app.state.library = type("Parts", (), parts)
    receives.put_nowait({"type": "websocket.connect"})
    path = f"/ws/jobs/{uuid7()}"
    scope = {"type": "websocket", "path": path, "headers": [], "query_string": b"", PRINCIPAL: local_principal()}
    await app(scope, receives.get, send)
    assert sent == [("websocket.accept", None), ("websocket.close", 1011)]
    assert len(hub) == 0
    hub.close()
