"""What goes wrong: a seeded deck of faults, dealt while jobs run.

Lives here: each fault, how long it lasts, and the record of it. Does not live here: the processes (`cluster`), and what
must still hold afterwards (`proof`).
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeVar

from tests.chaos.cluster import ACK_WAIT_S, Cluster, Node
from tests.chaos.small_disk import SmallDisk

Kind = Literal[
    "kill_worker", "kill_child", "kill_scheduler", "kill_library", "kill_ingest", "kill_broker",
    "stop_worker", "stop_scheduler", "blackhole", "half_open", "reset", "slow", "disk_full",
]  # fmt: skip

DECK: Mapping[Kind, int] = {
    "kill_worker": 4, "kill_child": 4, "kill_scheduler": 4, "kill_library": 2, "kill_ingest": 2, "kill_broker": 1,
    "stop_worker": 2, "stop_scheduler": 1, "blackhole": 1, "half_open": 1, "reset": 1, "slow": 1, "disk_full": 1,
}  # fmt: skip
"""How often each comes in 25 faults, so that even the shortest run has all of them."""

PAST_THE_LEASE_S = ACK_WAIT_S * 1.5
OUTAGE_S = (0.1, 2.0)
"""How long the broker stays away."""
DISK_FULL_S = 3.0
SLOW_S = 4.0
HALF_OPEN_S = 4.0
SLOW_DELAY_S, SLOW_PIECE = 0.02, 512
WITH_CHILD = 0.5
"""How often a worker is stopped together with the process that runs its stages."""
TARGET_WAIT_S = 30.0
"""A fault waits so long for a process to hit: the last one may be just restarting."""

WORKERS = ("worker-1", "worker-2")
SCHEDULERS = ("scheduler-1", "scheduler-2")
PROXIED = "worker-2"

T = TypeVar("T")


@dataclass
class Fault:
    """One fault that was injected; times are Unix seconds."""

    kind: Kind
    target: str
    began: float
    ended: float | None = None


def dealt(rng: random.Random, count: int) -> list[Kind]:
    """Return `count` faults: whole decks, each shuffled."""
    kinds: list[Kind] = []
    while len(kinds) < count:
        deck = [kind for kind, times in DECK.items() for _ in range(times)]
        rng.shuffle(deck)
        kinds += deck
    return kinds[:count]


@dataclass
class Chaos:
    """Injects faults into a cluster. `skipped` says why a kind of fault cannot be had here."""

    cluster: Cluster
    rng: random.Random
    disk: SmallDisk
    done: list[Fault] = field(default_factory=list)
    skipped: dict[Kind, str] = field(default_factory=dict)
    _busy: set[str] = field(default_factory=set)
    """Processes that are stopped, and the network and the disk while they fail: one fault at a time for each."""

    async def run(self, count: int, seconds: float) -> None:
        """Inject `count` faults, spread over `seconds`; return when all are healed."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with asyncio.TaskGroup() as faults:
            for number, kind in enumerate(dealt(self.rng, count)):
                at = start + seconds * (number + self.rng.random()) / count
                await asyncio.sleep(max(0.0, at - loop.time()))
                faults.create_task(self._inject(kind))

    def counts(self) -> dict[str, int]:
        return dict(Counter(fault.kind for fault in self.done).most_common())

    def left_out(self) -> dict[str, str]:
        return {str(kind): reason for kind, reason in self.skipped.items()}

    def record(self) -> str:
        """Return every fault as a line of JSON."""
        return "".join(json.dumps(asdict(fault)) + "\n" for fault in self.done)

    async def _inject(self, kind: Kind) -> None:
        if kind == "disk_full" and self.disk.trouble:
            self.skipped[kind] = self.disk.trouble
            kind = "kill_child"
        inject: dict[Kind, Callable[[], Awaitable[None]]] = {
            "kill_worker": lambda: self._kill("kill_worker", *WORKERS),
            "kill_child": self._kill_child,
            "kill_scheduler": lambda: self._kill("kill_scheduler", *SCHEDULERS),
            "kill_library": lambda: self._kill("kill_library", "library"),
            "kill_ingest": lambda: self._kill("kill_ingest", "ingest"),
            "kill_broker": self._kill_broker,
            "stop_worker": lambda: self._stop("stop_worker", *WORKERS),
            "stop_scheduler": lambda: self._stop("stop_scheduler", *SCHEDULERS),
            "blackhole": lambda: self._network("blackhole", PAST_THE_LEASE_S),
            "half_open": lambda: self._network("half_open", HALF_OPEN_S),
            "reset": lambda: self._network("reset", 0.0),
            "slow": lambda: self._network("slow", SLOW_S),
            "disk_full": self._disk_full,
        }
        await inject[kind]()

    @contextlib.contextmanager
    def _recorded(self, kind: Kind, target: str) -> Iterator[None]:
        fault = Fault(kind, target, time.time())
        self.done.append(fault)
        self._busy.add(target)
        try:
            yield
        finally:
            self._busy.discard(target)
            fault.ended = time.time()

    async def _kill(self, kind: Kind, *names: str) -> None:
        node = await self._hit(signal.SIGKILL, *names)
        with self._recorded(kind, node.name):
            pass

    async def _kill_child(self) -> None:
        def hit() -> str | None:
            found = [(name, pid) for name in WORKERS if (pid := self.cluster.stage_child(name))]
            if not found:
                return None
            name, pid = self.rng.choice(found)
            return name if _send(pid, signal.SIGKILL) else None

        with self._recorded("kill_child", await _soon(hit)):
            pass

    async def _kill_broker(self) -> None:
        away_s = self.cluster.nodes["nats"].downtime_s = self.rng.uniform(*OUTAGE_S)
        await self._hit(signal.SIGKILL, "nats")
        with self._recorded("kill_broker", "nats"):
            await asyncio.sleep(away_s)

    async def _stop(self, kind: Kind, *names: str) -> None:
        """SIGSTOP past the lease, then SIGCONT: a process that does not know that it was away."""
        node = await self._hit(signal.SIGSTOP, *names)
        with self._recorded(kind, node.name):
            stopped = [node.pid]
            if node.name in WORKERS and self.rng.random() < WITH_CHILD:
                stopped.append(self.cluster.stage_child(node.name))
                _send(stopped[-1], signal.SIGSTOP)
            try:
                await asyncio.sleep(PAST_THE_LEASE_S)
            finally:
                for pid in stopped:
                    _send(pid, signal.SIGCONT)

    async def _network(self, kind: Literal["blackhole", "half_open", "reset", "slow"], lasts_s: float) -> None:
        await _soon(lambda: "network" not in self._busy or None, timeout_s=60)
        proxy = self.cluster.proxy
        with self._recorded(kind, "network"):
            try:
                match kind:
                    case "blackhole":
                        proxy.blackhole()
                    case "half_open":
                        proxy.half_open()
                    case "reset":
                        proxy.reset()
                    case "slow":
                        proxy.slow(SLOW_DELAY_S, SLOW_PIECE)
                await asyncio.sleep(lasts_s)
            finally:
                proxy.heal()

    async def _disk_full(self) -> None:
        await _soon(lambda: "disk" not in self._busy or None, timeout_s=60)
        with self._recorded("disk_full", "disk"):
            await asyncio.to_thread(self.disk.fill)
            try:
                await asyncio.sleep(DISK_FULL_S)
            finally:
                await asyncio.to_thread(self.disk.free)

    async def _hit(self, number: signal.Signals, *names: str) -> Node:
        """Send a signal to one of these processes that runs and is not under another fault; return which it was."""

        def hit() -> Node | None:
            nodes = [self.cluster.nodes[name] for name in names if name not in self._busy]
            running = [node for node in nodes if node.pid]
            node = self.rng.choice(running) if running else None
            return node if node and _send(node.pid, number) else None

        return await _soon(hit)


def _send(pid: int | None, number: signal.Signals) -> bool:
    """Send a signal; False if there is no such process (any more)."""
    if pid is None:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


async def _soon(find: Callable[[], T | None], timeout_s: float = TARGET_WAIT_S) -> T:
    """Return the first thing that `find` gives. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while True:
            if (found := find()) is not None:
                return found
            await asyncio.sleep(0.02)
