"""The parts of an installation that schedule and work, as real processes: broker, scheduler, workers that do nothing.

Lives here: starting and ending them, under the users and permissions of deploy/nats. Does not live here: any figure.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from services.standalone import ports
from services.standalone.binaries import BROKER, require
from services.standalone.broker_config import password_file, write_config
from services.standalone.deployment import deploy_dir
from services.standalone.plan import module
from shared.layout import Layout
from shared.settings import Settings

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.01

OPEN_CAPS: Mapping[str, str] = {
    "MAX_CONCURRENCY_GLOBAL": "8",
    "MAX_CONCURRENCY_TRANSCRIBE": "8",
    "MAX_CONCURRENCY_TTS": "8",
    "MAX_JOBS_HIGH": "1",
    "MAX_CONCURRENT": "8",
    "DAILY_PROCESSING_MINUTES": "0",
    "BACKPRESSURE_Q_MAX": "0",
    "MIN_FREE_GB": "0",
    "DRAIN_TIMEOUT_SEC": "1",
}
"""Caps are in force, each grant is paid for, but only that of high-mode jobs is met: it holds those back. Backpressure,
the daily quota and the disk floor are off, so that nothing but the queue's length decides."""

_RELAXED = """
listen: "127.0.0.1:{nats}"
http: "127.0.0.1:{monitor}"
jetstream {{
  store_dir: "{store}"
}}
accounts {{
  DUBLINE {{
    jetstream: enabled
    users: [ {{ user: init, password: "{password}" }} ]
  }}
}}
"""
"""The same store and account without fsync and without permissions: only to fill a log fast before the measurement."""


class Process:
    """A process in a session of its own whose output goes to a file."""

    def __init__(self, argv: tuple[str, ...], environment: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                argv, env=dict(environment), stdout=output, stderr=output, start_new_session=True
            )
        self._argv = argv
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """SIGTERM, then SIGKILL to its whole group."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def wait_ready(self, url: str) -> None:
        """Return when the address answers 200. Raises TimeoutError, RuntimeError if the process has ended."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        with httpx.Client(timeout=5.0, trust_env=False) as client:
            while time.monotonic() < deadline:
                if self._process.poll() is not None:
                    tail = self._log.read_bytes()[-2000:].decode(errors="replace")
                    raise RuntimeError(f"{self._argv} ended:\n{tail}")
                try:
                    if client.get(url).is_success:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(POLL_S)
        raise TimeoutError(f"{url} did not become ready")


class Stack:
    """One data directory with its broker and services, all ended with the context."""

    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory.resolve())
        self.logs = directory / "log"
        self._ports = ports.choose(["nats", "monitor", "scheduler"], {})
        self._exits = ExitStack()
        for path in (self.logs, self.layout.broker, self.layout.output):
            path.mkdir(parents=True, exist_ok=True)
        self._config = write_config(
            self.layout, listen=self._at("nats"), monitor=self._at("monitor"), store=self.layout.broker
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self._exits.close()

    def _at(self, name: str) -> str:
        return f"{ports.LOOPBACK}:{self._ports[name]}"

    @property
    def broker_url(self) -> str:
        return f"nats://{self._at('nats')}"

    def settings(self, user: str) -> Settings:
        """Return what a service with this user of the broker would read."""
        return Settings(
            data_dir=self.layout.data,
            nats_url=self.broker_url,
            nats_user=user,
            nats_password_file=password_file(self.layout, user),
        )

    def start_broker(self, *, relaxed: bool = False) -> Process:
        """Start the broker with the configuration of deploy/nats, or without fsync to fill its store."""
        config = self._config
        if relaxed:
            config = config.with_name("relaxed.conf")
            password = password_file(self.layout, "init").read_text().strip()
            chosen = {"nats": self._ports["nats"], "monitor": self._ports["monitor"]}
            config.write_text(_RELAXED.format(**chosen, store=self.layout.broker, password=password))
        broker = self.start(str(require(BROKER)), "-c", str(config), name="nats")
        broker.wait_ready(f"http://{self._at('monitor')}/healthz")
        return broker

    def create_streams(self) -> None:
        """Make the streams as every installation does. Raises CalledProcessError."""
        subprocess.run(module("shared.eventlog.streams"), env=self._as_user("init"), check=True)

    def start_scheduler(self, environment: Mapping[str, str] = OPEN_CAPS) -> Process:
        """Start a scheduler and return when it is ready, all of the log folded."""
        scheduler = self.start(*module("services.scheduler"), user="scheduler", environment=environment)
        scheduler.wait_ready(f"http://{self._at('scheduler')}/readyz")
        return scheduler

    def start_worker(self, name: str, trace: Path) -> Process:
        """Start a worker whose stages do nothing but note the time in `trace`."""
        environment = {**OPEN_CAPS, "DUBLINE_WORKER_ID": name, "BENCH_TRACE": str(trace)}
        argv = (sys.executable, "-m", "benchmarks.noop_worker")
        return self.start(*argv, user="worker", environment=environment, name=name)

    def start(
        self, *argv: str, user: str | None = None, environment: Mapping[str, str] | None = None, name: str = "services"
    ) -> Process:
        """Start a process that ends with this stack."""
        inherited = self._as_user(user) if user else dict(os.environ)
        process = Process(argv, {**inherited, **(environment or {})}, self.logs / f"{name}.log")
        self._exits.callback(process.stop)
        return process

    def _as_user(self, user: str) -> dict[str, str]:
        return {
            **os.environ,
            "DUBLINE_DATA_DIR": str(self.layout.data),
            "DUBLINE_NATS_URL": self.broker_url,
            "DUBLINE_NATS_USER": user,
            "DUBLINE_NATS_PASSWORD_FILE": str(password_file(self.layout, user)),
            "DUBLINE_SCHEDULER_HOST": ports.LOOPBACK,
            "DUBLINE_SCHEDULER_PORT": str(self._ports["scheduler"]),
            "LOG_LEVEL": "WARNING",
        }


def open_broker_config() -> str:
    """Return deploy/nats' configuration without its accounts: fsync and all the limits, for peers that bring no users.

    The values that it includes are to be put in front of it. Raises OSError, ValueError.
    """
    text = (deploy_dir() / "nats" / "nats.conf").read_text()
    open_part, accounts, _ = text.partition("system_account:")
    if not accounts or "sync_interval: always" not in open_part:
        raise ValueError("deploy/nats/nats.conf has another shape than the benchmark knows")
    return open_part.replace('include "settings.conf"', "")


def resident_mib(pid: int) -> float:
    """Return how much memory of a process is in RAM. Raises OSError."""
    status = Path(f"/proc/{pid}/status").read_text()
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(kib) / 1024
