"""The real ingest process in front of a real broker, and what a test may ask of both.

Lives here: starting it and looking at what it left. Does not live here: media files (`videos`).
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.capabilities import Capabilities, EngineStatus, LanguagePair
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.events.subjects import WORKERS_DESCRIBE
from shared.layout import Layout
from shared.settings import Settings
from tests import local_http
from tests.broker import free_port, wait_for_port

CAPABILITIES = Capabilities(
    worker="w1",
    pools=["cpu"],
    engines=[EngineStatus(kind="mt", name="bergamot", version="1", available=True, languages=["en", "pt"])],
    pairs=[
        LanguagePair(source="en", target="pt", route=["bergamot"]),
        LanguagePair(source="pt", target="en", route=["bergamot"]),
    ],
)


@dataclass
class Ingest:
    """A running service: its address, its data directory and its process."""

    url: str
    layout: Layout
    process: subprocess.Popen[bytes]

    def client(self, **options: object) -> httpx.Client:
        return local_http.client(base_url=self.url, timeout=60, trust_env=False, **options)  # type: ignore[arg-type]

    def submit(
        self, video: bytes | Path, name: str = "film.mp4", key: str | None = None, **fields: str
    ) -> httpx.Response:
        content = video if isinstance(video, bytes) else video.read_bytes()
        headers = {"Idempotency-Key": key} if key else {}
        with self.client() as client:
            return client.post(
                "/api/jobs", files={"file": (name, content)}, data={"tgt_lang": "pt"} | fields, headers=headers
            )

    def leftovers(self) -> list[str]:
        """Everything below the data directory that a submission could have made, but for the fixed directories."""
        fixed = {self.layout.input, self.layout.uploads, self.layout.output, self.layout.state}
        found = (path for path in self.layout.data.rglob("*") if path not in fixed)
        return sorted(str(path) for path in found if not self._is_of_accounts(path))

    def _is_of_accounts(self, path: Path) -> bool:
        secrets = self.layout.secrets
        return path == secrets or secrets in path.parents or path.name.startswith(self.layout.auth_db.name)

    def wait_until_ready(self, timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        with self.client() as client:
            while client.get("/readyz").status_code != 200:
                assert time.monotonic() < deadline, "ingest does not get ready"
                time.sleep(0.05)


@contextlib.contextmanager
def running_ingest(
    directory: Path, nats_url: str, *, ready: bool = True, port: int | None = None, **environment: str
) -> Iterator[Ingest]:
    """Yield a started service; it must end with exit code 0 on SIGTERM."""
    port = port or free_port()
    env = {key: value for key, value in os.environ.items() if not key.startswith("DUBLINE_")} | {
        "DUBLINE_DATA_DIR": str(directory),
        "DUBLINE_NATS_URL": nats_url,
        "DUBLINE_INGEST_PORT": str(port),
        local_http.VARIABLE: os.environ[local_http.VARIABLE],
        "MIN_FREE_GB": "0.01",
        "LOG_LEVEL": "INFO",
        **environment,
    }
    directory.mkdir(parents=True, exist_ok=True)
    with (directory.parent / f"{directory.name}.log").open("ab") as output:
        process = subprocess.Popen([sys.executable, "-m", "services.ingest"], env=env, stdout=output, stderr=output)
    ingest = Ingest(f"http://127.0.0.1:{port}", Layout(directory), process)
    try:
        wait_for_port(port, 30)
        if ready:
            ingest.wait_until_ready()
        yield ingest
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert code == 0


@contextlib.asynccontextmanager
async def answering_worker(nats_url: str) -> AsyncIterator[None]:
    """Answer as one worker would, also with a reply that no service can read."""
    client = await connect(Settings(nats_url=nats_url), "test-worker")

    async def describe(message: Msg) -> None:
        if not message.reply:  # a scheduler that starts asks for a heartbeat, not for words
            return
        await message.respond(b"not capabilities")
        await message.respond(CAPABILITIES.model_dump_json().encode())

    await client.subscribe(WORKERS_DESCRIBE, cb=describe)
    await client.flush()
    try:
        yield
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def event_log(nats_url: str) -> AsyncIterator[JetStreamEventLog]:
    client: Client = await connect(Settings(nats_url=nats_url), "test")
    try:
        yield JetStreamEventLog(client)
    finally:
        await client.close()


async def all_events(log: JetStreamEventLog) -> list[str]:
    """Return the type of every event in the log."""
    found: list[str] = []
    after = 0
    while batch := await log.read(after=after):
        found += [record.event.type for record in batch if record.event]
        after = batch[-1].seq
    return found


async def in_thread(function: object, *args: object, **options: object) -> httpx.Response:
    """Call the synchronous client without stopping the test's own loop, which answers as the worker."""
    return await asyncio.to_thread(function, *args, **options)  # type: ignore[arg-type]
