"""Keeping a claimed stage, and noticing that it is lost.

Lives here: the ticker that tells the queue that the command is being worked on. Each time it first reads the log: a
worker that was stopped (SIGSTOP, a frozen machine) or cut off for longer than the ack wait finds an heir's claim at the
head of the stage, or that its job ended unheard. Each success is passed on to the runner (`gate`). That no two outcomes
are committed does not depend on any of this, but on the fence.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from services.worker import gate
from services.worker.claims import Claim
from services.worker.runner import Runner
from services.worker.watch import JobWatch, Stop
from shared.eventlog.port import Delivery, EventLog, LogUnavailableError
from shared.events.subjects import lifecycle_subject

TICKS = 3
"""Signs of life within the ack wait, so that two may be lost."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Lease:
    """A claim, and the delivery that it came by."""

    events: EventLog
    claimed: Claim
    delivery: Delivery
    ack_wait_s: float
    alive_at: float
    """The time before the sign of life that preceded the claim."""

    async def keep(self, watch: JobWatch, runner: Runner, on_error: Callable[[], None]) -> Stop:
        """Extend the lease until it is found to be lost; meanwhile tell the watch what it may not have heard."""
        tick_s = self.ack_wait_s / TICKS
        alive_at = self.alive_at
        while True:
            await asyncio.sleep(tick_s)
            try:
                async with asyncio.timeout(tick_s):  # a slow broker must not hold back the next sign of life
                    if not await self.is_held():
                        return Stop("another worker has claimed the stage", kill=True, lost=True)
                    runner.renew(alive_at)  # the broker has answered, so the sign of life before reached it
                    last = await self.events.last(lifecycle_subject(self.claimed.command.job_id))
                if last is not None and last.event is not None:
                    watch.tell(last.event)
            except (LogUnavailableError, TimeoutError):
                log.warning("lease_not_checked", job_id=self.claimed.command.job_id)
            alive_at = gate.now()
            try:
                await self.delivery.in_progress()
            except Exception as error:  # noqa: BLE001 -- any client error here means only that the broker is away
                on_error()
                log.warning("lease_not_extended", error=type(error).__name__)

    async def is_held(self) -> bool:
        """Return whether the claim is the head of its stage. Raises LogUnavailableError."""
        head = await self.events.last(self.claimed.scope)
        return head is not None and head.seq == self.claimed.fence
