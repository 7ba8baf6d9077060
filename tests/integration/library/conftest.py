"""The library as a process of its own on free ports, with a broker of its own."""

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import nats
import pytest

from shared.artifacts import Artifact
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.eventlog.streams import create_streams
from shared.events.subjects import progress_subject
from shared.events.types import JobCompleted, JobEvent, JobStarted, StageEvent
from shared.identity import uuid7
from shared.job.stages import GRAPH
from shared.layout import Layout
from shared.settings import Settings
from shared.telemetry import Progress
from tests import local_http
from tests.broker import BinaryBroker, free_port, running_broker
from tests.factories import claimed, completed, event, submitted

START_TIMEOUT_S = 60.0
CONTENTS = {"dub.mkv": b"matroska" * 200_000, "dub.mp4": bytes(range(256)) * 4, "pt.vtt": b"WEBVTT\n", "pt.srt": b"1\n"}


@dataclass
class LibraryProcess:
    """`python -m services.library`, started, killed and asked as a user would."""

    data: Path
    broker: BinaryBroker
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def layout(self) -> Layout:
        return Layout(self.data)

    def start(self) -> None:
        environment = os.environ | {
            "DUBLINE_DATA_DIR": str(self.data),
            "DUBLINE_NATS_URL": self.broker.url,
            "DUBLINE_LIBRARY_PORT": str(self.port),
        }
        with (self.data / "library.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.library"], env=environment, stderr=output, stdout=output
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.data / "library.log").read_text()
            with contextlib.suppress(httpx.TransportError):
                if local_http.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            time.sleep(0.05)
        raise TimeoutError((self.data / "library.log").read_text())

    def end(self, number: signal.Signals) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(10)

    def append(self, *events: JobEvent | StageEvent) -> list[int]:
        """Append to the log as another service would, and wait until the library has projected it."""
        sequences = asyncio.run(append_all(self.broker, events))
        self.wait_for_position(sequences[-1])
        return sequences

    def wait_for_position(self, seq: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while local_http.get(f"{self.url}/readyz", timeout=5).json()["position"] < seq:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def finished_job(self, stem: str = "film", title: str = "film.mp4") -> str:
        """Append a whole job whose files are on disk."""
        job_id = uuid7()
        base = self.layout.claim_base_dir(job_id, stem)
        paths = self.layout.job(job_id, base, stem)
        names = {paths.dub_mkv: "dub.mkv", paths.dub_mp4: "dub.mp4"}
        names |= {paths.subtitle("pt", "vtt"): "pt.vtt", paths.subtitle("pt", "srt"): "pt.srt"}
        outputs = []
        for path, content in names.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(CONTENTS[content])
            digest = hashlib.sha256(CONTENTS[content]).hexdigest()
            size = len(CONTENTS[content])
            outputs.append(Artifact(name=path.name, path=paths.relative(path), size=size, sha256=digest))
        story: list[JobEvent | StageEvent] = [submitted(job_id, stem=stem, base_dir=base, title=title)]
        story.append(event(JobStarted, job_id, run=1))
        for stage in GRAPH:
            story.append(claimed(job_id, stage))
            story.append(completed(job_id, stage, outputs=outputs) if stage == "mux" else completed(job_id, stage))
        self.append(*story, event(JobCompleted, job_id, run=1))
        return job_id


async def append_all(broker: BinaryBroker, events: tuple[JobEvent | StageEvent, ...]) -> list[int]:
    client = await connect(Settings(nats_url=broker.url), "test")
    try:
        log = JetStreamEventLog(client)
        return [await log.append(what) for what in events]
    finally:
        await client.close()


async def prepare(broker: BinaryBroker) -> None:
    client = await connect(Settings(nats_url=broker.url), "init")
    await create_streams(client, 15.0)
    await client.close()


async def tell(broker: BinaryBroker, progress: Progress) -> None:
    """Publish live progress as a worker does."""
    client = await nats.connect(broker.url)
    await client.publish(progress_subject(progress.job_id), progress.model_dump_json().encode())
    await client.drain()


@contextlib.contextmanager
def running_library(directory: Path) -> Iterator[LibraryProcess]:
    with running_broker(directory) as broker:
        asyncio.run(prepare(broker))
        (directory / "data").mkdir()
        library = LibraryProcess(directory / "data", broker)
        library.start()
        try:
            yield library
        finally:
            if library.process and library.process.poll() is None:
                library.process.kill()
                library.process.wait()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibraryProcess]:
    with running_library(tmp_path_factory.mktemp("library")) as running:
        yield running


@pytest.fixture
def fresh_library(tmp_path: Path) -> Iterator[LibraryProcess]:
    """One that a test may kill."""
    with running_library(tmp_path) as running:
        yield running
