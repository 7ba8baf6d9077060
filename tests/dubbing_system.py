"""A whole Dubline and what a user does with it: submit, watch, fetch. Starting it is `tests.system`'s.

Tests use only what a user has: the CLI, HTTP, files, and `run.json`.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import nats

from shared.eventlog.jetstream import JetStreamEventLog
from shared.ffmpeg import Ffmpeg
from shared.settings import default_models_dir
from tests import local_http
from tests.system import StandaloneSystem
from tests.system import running_system as running_standalone

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "samples" / "sense-and-sensibility.mp4"
DUBLINE = Path(sys.executable).parent / "dubline"
JOB_TIMEOUT_S = 280.0
TERMINAL = ("DONE", "FAILED", "CANCELED")
ACK_WAIT_S = "4"
"""A killed worker's command comes again after so long; 15 s in production."""


@dataclass(frozen=True)
class System:
    """A running installation."""

    standalone: StandaloneSystem

    @property
    def url(self) -> str:
        return self.standalone.url

    @property
    def data(self) -> Path:
        return self.standalone.data

    @property
    def output(self) -> Path:
        return self.standalone.layout.output

    def get(self, path: str) -> Any:
        """GET a JSON answer, waiting out a service that is being restarted."""
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = local_http.get(self.url + path, timeout=10)
                if answer.status_code < 500:
                    answer.raise_for_status()
                    return answer.json()
            if time.monotonic() > deadline:
                raise TimeoutError(path)
            time.sleep(0.1)

    def submit(self, target: str, video: Path = SAMPLE, **fields: str) -> str:
        form = {"tgt_lang": target, **fields}
        with video.open("rb") as file:
            answer = local_http.post(f"{self.url}/api/jobs", data=form, files={"file": (video.name, file)}, timeout=60)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def until(self, job_id: str, reached: Callable[[dict[str, Any]], bool], timeout_s: float = JOB_TIMEOUT_S) -> Any:
        """Poll a job until a condition holds; its last state is in the error otherwise."""
        deadline = time.monotonic() + timeout_s
        while not reached(job := self.get(f"/api/jobs/{job_id}")):
            if time.monotonic() > deadline:
                raise TimeoutError(json.dumps(job)[:2000])
            time.sleep(0.05)
        return job

    def finished(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self.until(job_id, lambda job: job["state"] in TERMINAL)
        return job

    def dub(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [DUBLINE, "dub", *map(str, arguments), "--server", self.url]
        return subprocess.run(command, capture_output=True, text=True, timeout=JOB_TIMEOUT_S, check=False)

    @property
    def reader_password(self) -> str:
        return (self.data / "secrets" / "nats-reader").read_text().strip()

    @property
    def broker_port(self) -> int:
        return self.standalone.state.ports["nats"]

    @contextlib.asynccontextmanager
    async def event_log(self) -> AsyncIterator[JetStreamEventLog]:
        """The log, read with the read-only account."""
        client = await nats.connect(
            f"nats://127.0.0.1:{self.broker_port}",
            user="reader",
            password=self.reader_password,
            inbox_prefix=b"_INBOX_reader",
        )
        try:
            yield JetStreamEventLog(client)
        finally:
            await client.close()

    def base_dir(self, job_id: str) -> Path:
        return Path((self.output / "jobs" / job_id / "target.txt").read_text().strip())


@contextlib.contextmanager
def running_system(data: Path) -> Iterator[System]:
    """Yield an installation that is ready."""
    environment = {"DUBLINE_MODELS_DIR": str(default_models_dir()), "DUBLINE_ACK_WAIT_S": ACK_WAIT_S}
    with running_standalone(data, environment) as standalone:
        yield System(standalone)


def excerpt(directory: Path, number: int, seconds: float = 12.0) -> Path:
    """The beginning of the sample, for tests to which a job's stages matter and not how long it speaks."""
    copy = directory / f"excerpt {number}.mp4"
    comment = f"comment={number}"
    Ffmpeg.find().run(
        ["-i", f"file:{SAMPLE}", "-t", f"{seconds}", "-c", "copy", "-metadata", comment, "-f", "mp4", f"file:{copy}"]
    )
    return copy


def another_copy(directory: Path, number: int) -> Path:
    """The sample with other bytes but the same picture and sound: nothing of an earlier job can be re-used."""
    copy = directory / f"copy {number}.mp4"
    copy.write_bytes(SAMPLE.read_bytes() + b"\x00\x00\x00\x0cfree" + number.to_bytes(4, "big"))
    return copy
