"""The process itself: both HTTP parsers, a broker that goes away, clients that hang up, addresses, signals."""

# ruff: noqa: ASYNC240 -- a test may wait for a small file or a quick answer

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from services.ingest.intents import Intent, record
from shared.eventlog.jetstream import JetStreamEventLog
from tests import local_http
from tests.broker import BinaryBroker, free_port, running_broker
from tests.integration.ingest import videos
from tests.integration.ingest.conftest import make_streams
from tests.integration.ingest.service import (
    Ingest,
    all_events,
    answering_worker,
    in_thread,
    running_ingest,
)


def raw_exchange(ingest: Ingest, request: bytes) -> bytes:
    """Send bytes and return everything up to the end of the connection."""
    port = httpx.URL(ingest.url).port
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request)
        answer = bytearray()
        while block := connection.recv(65536):
            answer += block
    return bytes(answer)


@pytest.mark.parametrize("parser", ["h11", "httptools"])
@pytest.mark.usefixtures("worker")
async def test_v2_v3_every_answer_is_whole_under_both_parsers(
    own_broker: BinaryBroker, video: Path, tmp_path: Path, parser: str
) -> None:
    """Predecessor faults V2 (an empty body behind its headers) and V3 (a header that only one parser lets through)."""
    with running_ingest(tmp_path / "data", own_broker.url, DUBLINE_INGEST_HTTP=parser) as ingest:
        assert (await in_thread(ingest.submit, video)).status_code == 202
        unknown = "/api/jobs/0192f0c1-2b3c-7d4e-8f50-61728394a5b6"
        for method, path in [
            ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/api/languages"), ("GET", "/api/ingest.json"),
            ("GET", "/nowhere"), ("POST", "/api/jobs"), ("PUT", "/api/jobs"), ("POST", f"{unknown}/cancel"),
        ]:  # fmt: skip
            start = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{local_http.raw_header()}"
            request = f"{start}Content-Length: 0\r\nConnection: close\r\n\r\n"
            head, _, body = (await asyncio.to_thread(raw_exchange, ingest, request.encode())).partition(b"\r\n\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            assert len(body) == int(headers[b"content-length"]) > 0, (method, path)


def test_v12_a_service_that_starts_also_stays(ingest: Ingest) -> None:
    assert ingest.process.poll() is None
    with ingest.client() as client:
        assert client.get("/livez").json() == {"status": "ok"}
        document = client.get("/api/ingest.json").json()
    assert {"/api/jobs", "/api/jobs/{job_id}/cancel", "/api/languages"} <= set(document["paths"])
    assert set(document["paths"]["/api/jobs"]["post"]["requestBody"]["content"]) == {
        "multipart/form-data",
        "application/json",
    }


def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    env = os.environ | {"DUBLINE_INGEST_HOST": "0.0.0.0", "DUBLINE_DATA_DIR": str(tmp_path / "data")}
    env["DUBLINE_INGEST_PORT"] = str(free_port())
    done = subprocess.run(
        [sys.executable, "-m", "services.ingest"], env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 78
    assert "127.0.0.1" in done.stderr


async def test_without_any_worker_nothing_is_promised(
    own_broker: BinaryBroker, log: JetStreamEventLog, video: Path, tmp_path: Path
) -> None:
    before = await all_events(log)
    with running_ingest(tmp_path / "data", own_broker.url) as ingest:
        for answer in (
            await in_thread(ingest.submit, video),
            local_http.get(f"{ingest.url}/api/languages", trust_env=False),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "no_worker")
            assert int(answer.headers["retry-after"]) > 0
        assert ingest.leftovers() == []
        async with answering_worker(own_broker.url):
            await asyncio.sleep(1.2)
            assert (await in_thread(ingest.submit, video)).status_code == 202
        answer = await in_thread(ingest.submit, video)
        assert answer.status_code == 202, "what a worker reported is remembered while it restarts"
    assert len(await all_events(log)) == len(before) + 2


async def test_while_the_broker_is_down_writes_are_refused_and_later_they_work(tmp_path: Path, video: Path) -> None:
    with running_broker(tmp_path) as broker:
        await make_streams(broker.url)
        with running_ingest(tmp_path / "data", broker.url) as ingest:
            async with answering_worker(broker.url):
                first = await in_thread(ingest.submit, video, key="first")
                assert first.status_code == 202
                broker.kill()
                there = ingest.leftovers()
                await asyncio.sleep(0.3)
                refusals = [
                    await in_thread(ingest.submit, video, key="second"),
                    local_http.post(f"{ingest.url}{first.json()['url']}/cancel", trust_env=False),
                    local_http.get(f"{ingest.url}/readyz", trust_env=False),
                ]
                assert [r.status_code for r in refusals] == [503, 503, 503]
                assert [r.json()["code"] for r in refusals[:2]] == ["log_unavailable"] * 2
                assert refusals[0].headers["retry-after"] == "5"
                assert local_http.get(f"{ingest.url}/livez", trust_env=False).status_code == 200
                assert ingest.leftovers() == there
                broker.start()
                await asyncio.to_thread(ingest.wait_until_ready)
                assert (await in_thread(ingest.submit, video, key="second")).status_code == 202
                again = await in_thread(ingest.submit, video, key="first")
                assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


async def test_it_may_start_before_the_broker(tmp_path: Path, video: Path) -> None:
    port = free_port()
    with running_ingest(tmp_path / "data", f"nats://127.0.0.1:{port}", ready=False) as ingest:
        assert (await in_thread(ingest.submit, video)).status_code == 503
        assert ingest.leftovers() == []
        broker = BinaryBroker(tmp_path, port)
        broker.start()
        try:
            await make_streams(broker.url)
            await asyncio.to_thread(ingest.wait_until_ready)
            async with answering_worker(broker.url):
                assert (await in_thread(ingest.submit, video)).status_code == 202
        finally:
            broker.stop()


def upload_head(length: int) -> bytes:
    return (
        f"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n{local_http.raw_header()}"
        "Content-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {length}\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    ).encode()


def until(condition: object, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_a_client_that_hangs_up_leaves_no_file(ingest: Ingest, log: JetStreamEventLog) -> None:
    before, there = await all_events(log), ingest.leftovers()
    with socket.create_connection(("127.0.0.1", httpx.URL(ingest.url).port), 10) as connection:
        connection.sendall(upload_head(50 << 20) + bytes(4 << 20))
        until(lambda: list(ingest.layout.uploads.glob("*.part")))
    await asyncio.to_thread(until, lambda: ingest.leftovers() == there)
    assert await all_events(log) == before


@pytest.mark.usefixtures("worker")
async def test_a_client_that_hangs_up_during_the_media_check_ends_it(
    ingest: Ingest, log: JetStreamEventLog, video: Path
) -> None:
    before, there = await all_events(log), ingest.leftovers()
    form = videos.other_bytes(video.read_bytes()) + b"\r\n--b--\r\n"
    head = upload_head(0)
    intro = head.split(b"\r\n\r\n", 1)[1]
    head = upload_head(len(intro) + len(form))
    children = Path(f"/proc/{ingest.process.pid}/task")

    def checking() -> bool:
        return any((task / "children").read_text() for task in children.iterdir())

    def hang_up() -> None:
        with socket.create_connection(("127.0.0.1", httpx.URL(ingest.url).port), 10) as connection:
            connection.sendall(head + form)
            until(checking)

    await asyncio.to_thread(hang_up)
    await asyncio.to_thread(until, lambda: not checking() and ingest.leftovers() == there)
    assert await all_events(log) == before


async def test_sigterm_in_the_middle_of_an_upload(own_broker: BinaryBroker, tmp_path: Path) -> None:
    with (
        running_ingest(tmp_path / "data", own_broker.url) as ingest,
        socket.create_connection(("127.0.0.1", httpx.URL(ingest.url).port), 10) as connection,
    ):
        connection.sendall(upload_head(50 << 20) + bytes(4 << 20))
        await asyncio.to_thread(until, lambda: list(ingest.layout.uploads.glob("*.part")))
        began = time.monotonic()
        ingest.process.terminate()
        assert await asyncio.to_thread(ingest.process.wait, 15) == 0
        assert time.monotonic() - began < 10
        assert ingest.leftovers() == []


async def test_an_upload_that_stalls_is_dropped(own_broker: BinaryBroker, tmp_path: Path) -> None:
    with running_ingest(tmp_path / "data", own_broker.url, DUBLINE_BODY_IDLE_S="0.5") as ingest:
        answer = await asyncio.to_thread(raw_exchange, ingest, upload_head(50 << 20) + bytes(1000))
        assert answer.startswith(b"HTTP/1.1 408")
        assert ingest.leftovers() == []


async def test_what_a_crash_left_is_settled_by_the_log(
    own_broker: BinaryBroker, log: JetStreamEventLog, video: Path, tmp_path: Path
) -> None:
    """kill -9 between the intent and the event, and between the event and the pointer."""
    with running_ingest(tmp_path / "data", own_broker.url) as ingest:
        async with answering_worker(own_broker.url):
            job = (await in_thread(ingest.submit, video)).json()["id"]
    layout = ingest.layout
    source = next(layout.uploads.glob("up_*.mp4"))
    stored = Intent(upload_id=source.stem, job_id=job, base_dir="film", source=source.name, title="film.mp4")
    (layout.output / "lost").mkdir()
    lost = Intent(upload_id="up_lost", job_id="0192f0c1-2b3c-7d4e-8f50-61728394a5b6", base_dir="lost",
                  source="up_lost.mp4", title="lost.mp4")  # fmt: skip
    layout.upload_file("up_lost", "mp4").write_bytes(b"x")
    layout.upload_part("up_dead").write_bytes(b"x")
    for pointer_file in layout.pointer(job).iterdir():
        pointer_file.unlink()
    long_ago = time.time() - 7200
    for intent in (stored, lost):
        record(layout, intent)
        os.utime(layout.upload_intent(intent.upload_id), (long_ago, long_ago))
    os.utime(layout.upload_part("up_dead"), (long_ago, long_ago))
    with running_ingest(tmp_path / "data", own_broker.url):
        await asyncio.to_thread(until, lambda: len(list(layout.uploads.iterdir())) == 1, 45)
    assert source.exists()
    assert not (layout.output / "lost").exists()
    assert (layout.output / "film").is_dir()
    assert {path.name for path in layout.pointer(job).iterdir()} == {"target.txt", "job_id.txt", "video.txt"}
    with contextlib.suppress(FileNotFoundError):
        assert not list(layout.pointer(lost.job_id).iterdir())
