"""Simulated workers: the real worker over a simulated log, queue and bus, with a runner whose work only takes time.

Lives here: one worker's life, and what kills or stops it. The processes and pipes of real ones are not simulated.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from services.worker.capabilities import Inventory
from services.worker.messages import CANCELED, Failed, Finished, Warmed
from services.worker.runner import Tell
from services.worker.service import Worker
from services.worker.settings import WorkerSettings
from shared.artifacts import Artifact
from shared.capabilities import Capabilities
from shared.commands import StageCommand
from shared.eventlog.port import Recorded
from shared.events.envelope import Value
from shared.events.types import EngineUsed, Timings
from tests.simulation.log import Actor, Network, Port
from tests.simulation.queue import ACK_WAIT_S, CommandBoard, QueuePort

SETTINGS = WorkerSettings(ack_wait_s=ACK_WAIT_S, drain_timeout_s=5.0)
FAILURES = (
    Failed(code="engine_failed", message="it broke", retryable=True, engine="a"),
    Failed(code="engine_failed", message="it broke", retryable=True, engine="b"),
    Failed(code="out_of_memory", message="no memory", retryable=True, engine="a"),
    Failed(code="disk_full", message="no space", retryable=True),
    Failed(code="child_died", message="it died", retryable=True),
    Failed(code="bad_media", message="it is no film", retryable=False),
)
KILLED = Failed(code="child_died", message="it was killed", retryable=True)
ENDED = Failed(code=CANCELED, message="it was asked to end", retryable=True)


def finished(stage: str) -> Finished:
    return Finished(
        key=f"key-{stage}",
        outputs=[Artifact(name=stage, path=f"film/work/{stage}", size=3, sha256="cd" * 32)],
        engine=EngineUsed(name="a", version="1", device="cpu", digest="d"),
        timings=Timings(engine_s=1.0, total_s=1.0),
        issues=[],
        facts={},
    )


FINISHED = {stage: finished(stage) for stage in ("audio", "transcribe", "translate", "tts", "mix", "mux")}

Heard = Callable[[Any], Awaitable[None]]


@dataclass
class Bus:
    """Core NATS: tells workers what happens to the job that they work on, unless the message gets lost."""

    network: Network
    listeners: dict[str, list["Subscription"]] = field(default_factory=dict)

    def tell(self, recorded: Recorded) -> None:
        """Carry a stored event to those who listen."""
        network = self.network
        for subscription in self.listeners.get(recorded.subject, ()):
            if not network.faults.unheard or network.rng.random() >= network.faults.unheard:
                network.loop.call_later(network.travel(), subscription.hear, recorded)

    async def publish(self, subject: str, payload: bytes = b"") -> None:
        """Nobody listens to heartbeats and progress here."""

    async def subscribe(self, subject: str, queue: str = "", cb: Heard | None = None) -> "Subscription":  # noqa: ARG002 -- the signature of the real one
        assert cb is not None
        subscription = Subscription(self, subject, cb)
        self.listeners.setdefault(subject, []).append(subscription)
        return subscription


@dataclass(eq=False)
class Subscription:
    bus: Bus
    subject: str
    callback: Heard

    def hear(self, recorded: Recorded) -> None:
        assert recorded.event is not None
        if self in self.bus.listeners[self.subject]:
            self.bus.network.loop.create_task(self.callback(SimpleNamespace(data=recorded.event.encode())))

    async def unsubscribe(self) -> None:
        self.bus.listeners[self.subject].remove(self)


class SimulatedRunner:
    """Takes time, and fails as often as the seed says; a stopped process does not get on meanwhile."""

    loaded_engines: list[str] = []

    def __init__(self, network: Network, actor: Actor) -> None:
        self._network = network
        self._actor = actor
        self._ending: asyncio.Future[Failed] | None = None

    async def start(self) -> None:
        """There is nothing to start."""

    async def run(self, command: StageCommand, tell: Tell) -> Finished | Failed:  # noqa: ARG002 -- the signature of the real one
        rng, faults, loop = self._network.rng, self._network.faults, self._network.loop
        self._ending = loop.create_future()
        await asyncio.wait({self._ending}, timeout=rng.choice((0.0, 0.3, 2.0, 10.0)) * rng.random())
        while (pause := self._actor.frozen_until - loop.time()) > 0:  # noqa: ASYNC110 -- it has no event
            await asyncio.sleep(pause)
        if self._ending.done():
            return self._ending.result()
        failing = faults.failing and rng.random() < faults.failing
        return rng.choice(FAILURES) if failing else FINISHED[command.stage]

    async def warm(self, settings: Mapping[str, Value]) -> Warmed:  # noqa: ARG002 -- the signature of the real one
        return Warmed(loaded_engines=[])

    def renew(self, at: float) -> None:
        """Its work leaves no files that an heir could mind."""

    def ask_to_end(self) -> None:
        self._end(ENDED)

    async def kill(self) -> None:
        self._end(KILLED)

    def _end(self, how: Failed) -> None:
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(how)


class UnluckyQueue(QueuePort):
    """Each command that a worker gets may be the one with which it dies, freezes or is asked to go."""

    worker: "SimulatedWorker"

    async def next(self, pool: Any, timeout_s: float) -> Any:
        delivery = await super().next(pool, timeout_s)
        if delivery is not None:
            self.worker.plan_misfortune()
        return delivery


class SimulatedWorker:
    """One worker process; `crash` ends it wherever it is."""

    def __init__(self, network: Network, commands: CommandBoard, bus: Bus, name: str) -> None:
        self.actor = Actor(name)
        self._network = network
        queue = UnluckyQueue(commands, self.actor)
        queue.worker = self
        settings = SETTINGS.model_copy(update={"worker_id": name})
        nothing = Inventory(Capabilities(worker=name, pools=["cpu"], engines=[], pairs=[]))
        runner = SimulatedRunner(network, self.actor)
        self._worker = Worker(settings, bus, Port(network, self.actor), queue, runner, nothing)

    async def live(self) -> None:
        """Return when it has ended."""
        self._task = self._network.loop.create_task(self._worker.run())
        try:
            await asyncio.wait({self._task})
        finally:
            self._task.cancel()
        if not self._task.cancelled():
            self._task.result()

    def crash(self) -> None:
        """SIGKILL."""
        if not self.actor.dead:
            self.actor.died_at = self._network.loop.time()
            self._task.cancel()

    def freeze(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after some time."""
        self.actor.frozen_until = self._network.loop.time() + seconds

    def plan_misfortune(self) -> None:
        """Decide what happens to it while it has the command that it just got."""
        loop, rng, faults = self._network.loop, self._network.rng, self._network.faults
        if faults.worker_crash and rng.random() < faults.worker_crash:
            loop.call_later(rng.random() * rng.choice((0.1, 3.0)), self.crash)
        if faults.worker_pause and rng.random() < faults.worker_pause:
            loop.call_later(rng.random() * 2.0, self.freeze, rng.uniform(2.0, 3 * ACK_WAIT_S))
        if faults.worker_drain and rng.random() < faults.worker_drain:
            loop.call_later(rng.random() * 3.0, self._worker.drain)
