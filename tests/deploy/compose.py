"""The system of docker-compose.yml for tests: brought up on its own project name and port, and taken away again.

Lives here: running Compose, and asking over HTTP what a user would, with the installation's own key. Does not live
here: the image (`image`).
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from tests.broker import free_port

ROOT = Path(__file__).resolve().parents[2]
UP_TIMEOUT_S = 240
JOB_TIMEOUT_S = 400.0
OUTSIDE = ROOT / "deploy" / "compose.outside.yml"
PUBLIC_URL = "https://dubbing.example"
TERMINAL = ("DONE", "FAILED", "CANCELED")


def compose_binary() -> str:
    """Return the pinned Compose of this environment, else the one on PATH. Raises FileNotFoundError."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    found = shutil.which("docker-compose", path=path)
    if found is None:
        raise FileNotFoundError("docker-compose is not in this environment: run `make setup`")
    return found


def compose(
    *arguments: str, timeout_s: float = 60, environment: dict[str, str] | None = None, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run Compose on the project's file with nothing of our environment but PATH and what is given.

    `given` is the program's input.
    """
    return subprocess.run(
        [compose_binary(), "--file", ROOT / "docker-compose.yml", *arguments],
        env={"PATH": os.environ.get("PATH", os.defpath), **(environment or {})},
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


def described(*, compose_files: tuple[Path, ...] = (), **environment: str) -> dict[str, Any]:
    """Return the project as Compose understands it, anchors, variables and short forms resolved, with further files."""
    files = [argument for file in compose_files for argument in ("--file", str(file))]
    done = compose(*files, "--profile", "*", "config", "--format", "json", environment=environment)
    assert done.returncode == 0, done.stderr
    project: dict[str, Any] = json.loads(done.stdout)
    return project


@dataclass
class Composition:
    """A running project."""

    name: str
    port: int
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, *arguments: str, timeout_s: float = 60, given: str = "") -> subprocess.CompletedProcess[str]:
        arguments = ("--project-name", self.name, *arguments)
        return compose(*arguments, timeout_s=timeout_s, environment=self.environment, given=given)

    def python(self, service: str, code: str) -> subprocess.CompletedProcess[str]:
        """Run code inside a running service."""
        return self.run("exec", "-T", service, "python", "-c", code)

    def read(self, service: str, path: str) -> str:
        """Return a file as a running service sees it."""
        done = self.run("exec", "-T", service, "cat", path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @cached_property
    def as_operator(self) -> dict[str, str]:
        """The header with the installation's own key, which is in ingest's secrets."""
        return {"X-Api-Key": self.read("ingest", "/data/secrets/local-key").strip()}

    def submit(self, video: Path, target: str) -> str:
        with video.open("rb") as file:
            answer = httpx.post(
                f"{self.url}/api/jobs",
                data={"tgt_lang": target},
                files={"file": (video.name, file)},
                headers=self.as_operator,
                timeout=60,
            )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def finished(self, job_id: str) -> dict[str, Any]:
        """Poll a job until it ends. Raises TimeoutError with its last state."""
        deadline = time.monotonic() + JOB_TIMEOUT_S
        while (job := self.get(f"/api/jobs/{job_id}"))["state"] not in TERMINAL:
            if time.monotonic() > deadline:
                raise TimeoutError(json.dumps(job)[:2000])
            time.sleep(0.5)
        return job

    def get(self, path: str) -> dict[str, Any]:
        answer = httpx.get(self.url + path, headers=self.as_operator, timeout=10)
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body


@contextlib.contextmanager
def running_composition(docker_host: str, image: str, models: Path) -> Iterator[Composition]:
    """Yield the project when all its services are healthy; containers, networks and volumes go afterwards."""
    port = free_port()
    environment = {
        "DOCKER_HOST": docker_host,
        "DUBLINE_IMAGE": image,
        "DUBLINE_PORT": str(port),
        "DUBLINE_MODELS_DIR": str(models),
        "DUBLINE_HEALTH_INTERVAL": "2s",
        "PUBLIC_BASE_URL": PUBLIC_URL,
        # Uploads are encrypted; outputs are not, and so handed off to the gateway.
        "ENCRYPT_AT_REST": "1",
        "ENCRYPT_CLASSES": "uploads",
    }
    composition = Composition(f"dubline-test-{os.getpid()}", port, environment)
    try:
        made = composition.run("run", "--rm", "-T", "secrets", "dubline", "encryption-key", "create")
        assert made.returncode == 0, made.stderr
        up = composition.run("up", "--detach", "--no-build", "--wait", timeout_s=UP_TIMEOUT_S)
        if up.returncode:
            logs = composition.run("logs", "--no-color", "--tail", "20").stdout
            raise AssertionError(f"{up.stderr[-1500:]}\n{logs[-6000:]}")
        yield composition
    finally:
        down = composition.run("down", "--volumes", "--timeout", "10", timeout_s=120)
        assert down.returncode == 0, down.stderr
