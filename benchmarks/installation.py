"""A Dubline of its own for a benchmark, and what a client does with it.

Lives here: starting it, submitting, waiting. Does not live here: any figure.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.signed_in import headers
from services.standalone import system
from shared.layout import Layout
from shared.settings import Settings

SAMPLE = Path(__file__).parents[1] / "samples" / "sense-and-sensibility.mp4"
JOB_TIMEOUT_S = 300.0
POLL_S = 0.1
TERMINAL = ("DONE", "FAILED", "CANCELED")


@dataclass(frozen=True)
class Installation:
    """A running system by its address and its files."""

    url: str
    layout: Layout

    def forget_takes(self) -> None:
        """Empty the cache of spoken lines."""
        shutil.rmtree(self.layout.takes, ignore_errors=True)

    def submit(self, video: Path) -> str:
        """Submit a video, English to Portuguese, and return the job's id. Raises httpx.HTTPError."""
        with video.open("rb") as file:
            form = {"tgt_lang": "pt", "src_lang": "en"}
            answer = httpx.post(
                f"{self.url}/api/jobs", data=form, files={"file": (video.name, file)}, headers=headers(), timeout=60
            )
        answer.raise_for_status()
        return str(answer.json()["id"])

    def finished(self, job_id: str) -> dict[str, Any]:
        """Return the finished job. Raises TimeoutError, RuntimeError if it is not DONE."""
        deadline = time.monotonic() + JOB_TIMEOUT_S
        while time.monotonic() < deadline:
            job: dict[str, Any] = httpx.get(f"{self.url}/api/jobs/{job_id}", headers=headers(), timeout=10).json()
            if job["state"] == "DONE":
                return job
            if job["state"] in TERMINAL:
                raise RuntimeError(f"job {job_id} is {job['state']}: {job['error']}")
            time.sleep(POLL_S)
        raise TimeoutError(job_id)


@contextmanager
def installed(directory: Path) -> Iterator[Installation]:
    """Yield a system on a data directory of its own; the environment's other settings apply."""
    os.environ["DUBLINE_DATA_DIR"] = str(directory / "data")
    os.environ.pop("DUBLINE_URL", None)
    settings = Settings()
    with system.running(settings, print) as running:
        yield Installation(running.url, settings.layout)


def variant(directory: Path, number: int) -> Path:
    """Return the sample with other bytes but the same picture and sound, so that no stage can be re-used."""
    path = directory / f"sample-{number}.mp4"
    path.write_bytes(SAMPLE.read_bytes() + b"\x00\x00\x00\x0cfree" + number.to_bytes(4, "big"))
    return path
