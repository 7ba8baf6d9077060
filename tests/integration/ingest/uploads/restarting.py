"""An ingest that is killed and started again at the same address while clients upload to it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from shared.layout import Layout
from tests import local_http
from tests.broker import free_port
from tests.system import eventually


@dataclass
class Restarting:
    """`start` and `kill` as often as needed; what it logs goes beside the data directory."""

    data: Path
    nats_url: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def layout(self) -> Layout:
        return Layout(self.data)

    def start(self) -> None:
        """Start it, and return when it is ready."""
        env = {key: value for key, value in os.environ.items() if not key.startswith("DUBLINE_INGEST")} | {
            "DUBLINE_DATA_DIR": str(self.data),
            "DUBLINE_NATS_URL": self.nats_url,
            "DUBLINE_INGEST_PORT": str(self.port),
            "MIN_FREE_GB": "0.1",
        }
        with (self.data.parent / "ingest.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.ingest"], env=env, stdout=output, stderr=output
            )
        eventually("ingest is ready", self._ready)

    def _ready(self) -> bool:
        assert self.process
        assert self.process.poll() is None, (self.data.parent / "ingest.log").read_text()[-3000:]
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", trust_env=False, timeout=5).status_code == 200
        return False

    def kill(self) -> None:
        """kill -9."""
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def received(self) -> int:
        """Return the bytes on the disk of all uploads that are not a job's source."""
        return sum(path.stat().st_size for path in self.layout.uploads.glob("*.bytes"))

    def status(self, upload_id: str) -> dict[str, object]:
        """Return how an upload stands."""
        answer = local_http.get(f"{self.url}/api/uploads/{upload_id}", trust_env=False, timeout=30)
        answer.raise_for_status()
        return dict(answer.json())


@contextlib.contextmanager
def restarting(directory: Path, nats_url: str) -> Iterator[Restarting]:
    """Yield one that is ready; it is killed at the end."""
    data = directory / "data"
    data.mkdir(parents=True)
    ingest = Restarting(data, nats_url, free_port())
    ingest.start()
    try:
        yield ingest
    finally:
        ingest.kill()
