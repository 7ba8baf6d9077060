"""Hearing that a stage is not wanted any more, while it runs.

Lives here: what an event of the job means for a running stage (`reason_to_stop`, pure), and the subscription. It begins
before the claim, so that no cancellation falls between the two. A message that a broken connection lost is found by
`lease`, which reads the log.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, Self

from nats.aio.msg import Msg
from pydantic import ValidationError

from shared.events.subjects import lifecycle_subject
from shared.events.types import Event, JobCanceled, JobCompleted, JobFailed, JobRequeued, JobStarted, decode


class Subscribed(Protocol):
    """A subscription that can be ended."""

    async def unsubscribe(self) -> None: ...


class Bus(Protocol):
    """What a worker needs of core NATS; `nats.aio.client.Client` is one."""

    async def publish(self, subject: str, payload: bytes = b"") -> None: ...

    async def subscribe(
        self, subject: str, queue: str = "", cb: Callable[[Msg], Awaitable[None]] | None = None
    ) -> Subscribed: ...


@dataclass(frozen=True)
class Stop:
    """The stage is to end; `kill`: at once, instead of at its next progress point. `lost`: another worker has it."""

    reason: str
    kill: bool = False
    lost: bool = False


def reason_to_stop(event: Event, run: int) -> Stop | None:
    """Return why a stage of this run ends, given an event of its job. A request to pause waits for the stage's end."""
    match event:
        case JobCanceled():
            return Stop("the job was cancelled", kill=event.data.kill)
        case JobFailed() | JobCompleted():
            return Stop("the job has ended")
        case JobRequeued():
            return Stop("the job was queued again")
        case JobStarted() if event.data.run != run:
            return Stop("the job was started again")
        case _:
            return None


class JobWatch:
    """Waits for the end of one job; an async context manager."""

    def __init__(self, bus: Bus, job_id: str, run: int) -> None:
        self._bus = bus
        self._job_id = job_id
        self._run = run
        self._changed = asyncio.Event()
        self._stop: Stop | None = None
        self._subscription: Subscribed | None = None

    async def __aenter__(self) -> Self:
        self._subscription = await self._bus.subscribe(lifecycle_subject(self._job_id), cb=self._on_lifecycle)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    async def stopped(self) -> Stop:
        """Return when the stage shall end."""
        await self._changed.wait()
        assert self._stop is not None
        return self._stop

    def tell(self, event: Event) -> None:
        """Take an event of the job into account, heard or read; the first that ends the stage counts."""
        stop = reason_to_stop(event, self._run)
        if stop is not None and self._stop is None:
            self._stop = stop
            self._changed.set()

    async def _on_lifecycle(self, message: Msg) -> None:
        try:
            event = decode(message.data)
        except ValidationError:  # E7: an event of a newer version ends nothing here
            return
        self.tell(event)
