"""A worker without processes and without a broker: the log and queue in memory, and a runner that does as told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from nats.aio.msg import Msg

from services.worker.capabilities import Inventory
from services.worker.messages import CANCELED, Failed, Finished, Progressed, Warmed
from services.worker.runner import Tell
from services.worker.service import Worker
from services.worker.settings import WorkerSettings
from shared.capabilities import Capabilities, EngineStatus
from shared.commands import StageCommand
from shared.eventlog.memory import MemoryCommandQueue, MemoryEventLog, subject_matches
from shared.events.envelope import Value
from shared.events.subjects import event_subject
from shared.events.types import EngineUsed, Event, JobStarted, Timings
from shared.identity import uuid7
from tests.factories import command, event, submitted

Handler = Callable[[Msg], Awaitable[None]]
INVENTORY = Inventory(
    Capabilities(
        worker="w1",
        pools=["cpu"],
        engines=[
            EngineStatus(kind="asr", name="whisper", version="1", available=True),
            EngineStatus(kind="tts", name="coqui", version="1", available=False, reason="not installed"),
        ],
        pairs=[],
    ),
    "cpu",
    ("whisper-base",),
)


def finished() -> Finished:
    used = EngineUsed(name="e", version="1", device="cpu", digest="d")
    return Finished(key="k", outputs=[], engine=used, timings=Timings(), issues=[], facts={})


@dataclass
class MemoryBus:
    """Core NATS in this process."""

    sent: list[tuple[str, bytes]] = field(default_factory=list)
    subscribers: list[tuple[str, Handler]] = field(default_factory=list)

    async def publish(self, subject: str, payload: bytes = b"") -> None:
        self.sent.append((subject, payload))
        for pattern, handler in list(self.subscribers):
            if subject_matches(subject, pattern):
                await handler(Msg(_client=None, subject=subject, data=payload))  # type: ignore[arg-type]

    async def subscribe(self, subject: str, queue: str = "", cb: Handler | None = None) -> "Subscription":  # noqa: ARG002 -- no groups here
        assert cb is not None
        self.subscribers.append((subject, cb))
        return Subscription(self, (subject, cb))


@dataclass(frozen=True)
class Subscription:
    bus: MemoryBus
    entry: tuple[str, Handler]

    async def unsubscribe(self) -> None:
        self.bus.subscribers.remove(self.entry)


@dataclass
class ObedientRunner:
    """Works until it is released, asked to end, or killed; `deaf`: does not hear that it is asked to end."""

    deaf: bool = False
    loaded_engines: list[str] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    happened: list[str] = field(default_factory=list)
    outcome: Finished | Failed = field(default_factory=finished)
    renewals: int = 0

    async def start(self) -> None: ...

    async def run(self, command: StageCommand, tell: Tell) -> Finished | Failed:  # noqa: ARG002 -- all are alike
        self.happened.append("run")
        self.began.set()
        tell(Progressed(fraction=0.5))
        await self.release.wait()
        return self.outcome

    async def warm(self, settings: Mapping[str, Value]) -> Warmed:  # noqa: ARG002 -- as above
        self.happened.append("warm")
        return Warmed(loaded_engines=["whisper"])

    def renew(self, at: float) -> None:  # noqa: ARG002 -- only counted
        self.renewals += 1

    def ask_to_end(self) -> None:
        self.happened.append("ask_to_end")
        if not self.deaf:
            self.end("asked to end")

    async def kill(self) -> None:
        self.happened.append("kill")
        self.end("killed")

    def end(self, message: str) -> None:
        self.outcome = Failed(code=CANCELED, message=message, retryable=True)
        self.release.set()


@dataclass
class World:
    """One worker and all that is around it."""

    log: MemoryEventLog
    queue: MemoryCommandQueue
    bus: MemoryBus
    runner: ObedientRunner
    worker: Worker

    async def submit(self, **changes: Any) -> StageCommand:
        """Start a job and queue its first command."""
        job = uuid7()
        await self.log.append(submitted(job))
        version = await self.log.append(event(JobStarted, job, run=1))
        wanted = command(job, **({"version": version} | changes))
        await self.queue.publish(wanted)
        return wanted

    async def happens(self, item: Event, *, heard: bool = True) -> None:
        """Append an event; a broken connection can keep a worker from hearing of it."""
        await self.log.append(item)
        if heard:
            await self.bus.publish(event_subject(item), item.encode())

    def events(self, kind: type[Any]) -> list[Any]:
        return [record.event for record in self.log.records if isinstance(record.event, kind)]

    async def ended(self, kind: type[Any]) -> Any:
        """Return the event of this type once there is one."""
        async with asyncio.timeout(10):
            while not (found := self.events(kind)):  # noqa: ASYNC110 -- a log in memory tells nobody
                await asyncio.sleep(0.005)
        return found[0]


@asynccontextmanager
async def working(*, deaf: bool = False, ack_wait_s: float = 15.0, **settings: Any) -> AsyncIterator[World]:
    """Yield a worker that works; it is drained at the end."""
    log, bus, runner = MemoryEventLog(), MemoryBus(), ObedientRunner(deaf=deaf)
    queue = MemoryCommandQueue(ack_wait_s=ack_wait_s)
    chosen = WorkerSettings(worker_id="w1", ack_wait_s=ack_wait_s, **({"cancel_grace_s": 0.05} | settings))
    world = World(log, queue, bus, runner, Worker(chosen, bus, log, queue, runner, INVENTORY))
    running = asyncio.create_task(world.worker.run())
    try:
        yield world
    finally:
        world.worker.drain()
        world.worker.drain()
        await asyncio.wait_for(running, 10)
