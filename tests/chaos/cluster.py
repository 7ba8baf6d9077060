"""The processes under fire: the plan of `dubline up` with two schedulers and two workers, kept running.

Lives here: starting, restarting and finding them. Does not live here: what is done to them (`faults`).
The broker has its own configuration and one account per service, as in production; `worker-2` reaches it through a
proxy. There is no gateway: tests speak to the services.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import nats

from services.standalone.child import Child, RotatingLog
from services.standalone.plan import Plan, Service, make_plan
from shared.eventlog.jetstream import JetStreamEventLog
from shared.layout import Layout
from shared.settings import Settings, default_models_dir
from tests import local_http
from tests.broker import free_port
from tests.fault_proxy import FaultProxy, running_proxy

RESTART_S = 0.2
READY_S = 90.0
POLL_S = 0.05
STOP_GRACE_S = 20.0

CAPS: Mapping[str, int] = {
    "MAX_CONCURRENCY_GLOBAL": 4,
    "MAX_CONCURRENCY_TRANSCRIBE": 1,
    "MAX_CONCURRENCY_TTS": 1,
    "MAX_CONCURRENT": 4,
}
"""What the history must never exceed."""

ACK_WAIT_S = 3.0
KNOBS: Mapping[str, str] = {
    "DUBLINE_ACK_WAIT_S": f"{ACK_WAIT_S:g}",
    "DUBLINE_WORKER_THREADS": "1",
    "BACKPRESSURE_Q_MAX": "100",
    "MIN_FREE_GB": "0.02",
    "RETRY_BASE_SEC": "0.1",
    "RETRY_CAP_SEC": "1",
    "CB_COOLDOWN_SEC": "5",
    "DRAIN_TIMEOUT_SEC": "5",
}
"""Short leases and pauses, so that many faults fit into a minute. Backpressure has its own tests: it only waits."""


@dataclass
class Node:
    """One process over its restarts."""

    service: Service
    log: RotatingLog
    child: Child | None = None
    downtime_s: float = RESTART_S
    keeping: "asyncio.Task[None] | None" = None
    stopping: bool = False

    @property
    def name(self) -> str:
        return self.service.name

    @property
    def pid(self) -> int | None:
        return self.child.pid if self.child else None

    def launch(self) -> None:
        """Run the process, and again whenever it ends, until `stop`."""
        self.keeping = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Ask it to end, and see that it does."""
        self.stopping = True
        while self.keeping and not self.keeping.done():
            if self.child:
                await self.child.stop(STOP_GRACE_S)
            await asyncio.wait({self.keeping}, timeout=POLL_S)  # it may be just starting the process
        self.log.close()

    async def _keep(self) -> None:
        while not self.stopping:
            self.child = await Child.start(self.service.argv, self.service.environment, self.log)
            await self.child.wait()
            self.child = None
            await asyncio.sleep(self.downtime_s)
            self.downtime_s = RESTART_S


@dataclass
class Cluster:
    """A running system on the data directory `data`."""

    data: Path
    plan: Plan
    proxy: FaultProxy
    nodes: dict[str, Node] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        return Layout(self.data)

    @property
    def temporary(self) -> Path:
        """TMPDIR of every process."""
        return self.data / "tmp"

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.plan.ports[service]}"

    async def start(self) -> None:
        """Start everything and return when it is ready. Raises TimeoutError."""
        async with asyncio.timeout(READY_S):
            await self._start(self.plan.broker)
            with contextlib.closing(self._log("init")) as log:
                init = await Child.start(self.plan.init_argv, self.plan.init_environment, log)
                assert await init.wait() == 0, f"init failed: see {self.layout.logs}"
            for service in self._services():
                self._launch(service)
            for node in self.nodes.values():
                await _answers(node.service.ready_url)

    async def stop(self) -> None:
        """End everything as an operator would: services first, the broker last."""
        broker = self.nodes.pop("nats", None)
        await asyncio.gather(*(node.stop() for node in self.nodes.values()))
        self.nodes.clear()
        if broker:
            await broker.stop()

    async def ready(self) -> None:
        """Return when every process runs and says that it is ready. Raises TimeoutError."""
        async with asyncio.timeout(READY_S):
            for node in self.nodes.values():
                await _answers(node.service.ready_url)

    def stage_child(self, worker: str) -> int | None:
        """Return the pid of the process that runs this worker's stages, if it has one now."""
        parent = self.nodes[worker].pid
        return next((pid for pid in children_of(parent) if "services.worker" in command_of(pid)), None)

    def process_ids(self) -> set[int]:
        """Return every process of this system, found by its environment, whoever its parent is."""
        mark = f"DUBLINE_DATA_DIR={self.data}\0".encode()
        return {pid for pid in all_pids() if mark in _proc(pid, "environ")}

    @contextlib.asynccontextmanager
    async def event_log(self) -> AsyncIterator[JetStreamEventLog]:
        """The log, read with the read-only account."""
        client = await nats.connect(
            f"nats://127.0.0.1:{self.plan.ports['nats']}",
            user="reader",
            password=(self.layout.secrets / "nats-reader").read_text().strip(),
            inbox_prefix=b"_INBOX_reader",
        )
        try:
            yield JetStreamEventLog(client)
        finally:
            await client.close()

    def _services(self) -> list[Service]:
        return [
            self._planned("ingest"),
            self._planned("library"),
            self._copy("scheduler", 1),
            self._copy("scheduler", 2),
            self._copy("worker", 1),
            self._copy("worker", 2, {"DUBLINE_NATS_URL": f"nats://127.0.0.1:{self.proxy.port}"}),
        ]

    def _planned(self, kind: str) -> Service:
        return next(service for service in self.plan.services if service.argv[-1] == f"services.{kind}")

    def _copy(self, kind: str, number: int, environment: Mapping[str, str] | None = None) -> Service:
        """Return one of several processes of a kind, with a name and a port of its own."""
        planned, name, port = self._planned(kind), f"{kind}-{number}", free_port()
        ready = "livez" if kind == "scheduler" else "readyz"  # the standby need not be ready
        own = {"DUBLINE_WORKER_ID": name, f"DUBLINE_{kind.upper()}_PORT": str(port)}
        return replace(
            planned,
            name=name,
            port=port,
            environment={**planned.environment, **own, **(environment or {})},
            ready_url=f"http://127.0.0.1:{port}/{ready}",
        )

    async def _start(self, service: Service) -> None:
        self._launch(service)
        await _answers(service.ready_url)

    def _launch(self, service: Service) -> None:
        node = Node(service, self._log(service.name))
        self.nodes[service.name] = node
        node.launch()

    def _log(self, name: str) -> RotatingLog:
        return RotatingLog(self.layout.logs / f"{name}.log", max_bytes=1 << 30)


async def _answers(url: str) -> None:
    async with local_http.async_client(timeout=5.0, trust_env=False) as client:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get(url)).status_code == 200:
                    return
            await asyncio.sleep(POLL_S)


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def children_of(parent: int | None) -> list[int]:
    """Return the direct children of a process."""
    if parent is None:
        return []
    text = _proc(parent, f"task/{parent}/children").decode()
    return [int(pid) for pid in text.split()]


def command_of(pid: int) -> str:
    return _proc(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace")


def _proc(pid: int, name: str) -> bytes:
    try:
        return (Path("/proc") / str(pid) / name).read_bytes()
    except OSError:  # it has just ended
        return b""


@contextlib.asynccontextmanager
async def running_cluster(data: Path) -> AsyncIterator[Cluster]:
    """Yield a system that is ready; it is stopped at the end. `data` is an absolute path."""
    temporary = data / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    caps = {name: str(cap) for name, cap in CAPS.items()}
    environ = {**os.environ, **KNOBS, **caps, "TMPDIR": str(temporary)}
    settings = Settings(data_dir=data, models_dir=default_models_dir(), port=free_port())
    plan = make_plan(settings, environ)
    async with running_proxy(plan.ports["nats"]) as proxy:
        cluster = Cluster(data, plan, proxy)
        try:
            await cluster.start()
            yield cluster
        finally:
            await cluster.stop()
