"""The log and the queue in one process's memory.

Lives here: the reference implementation, used by unit tests and simulations; same contract tests as JetStream.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial

from shared.commands import StageCommand
from shared.eventlog.port import ConflictError, Expect, Recorded
from shared.events.names import Pool
from shared.events.subjects import ALL_EVENTS, command_subject, event_subject
from shared.events.types import Event


def subject_matches(subject: str, pattern: str) -> bool:
    """Return whether a subject matches a NATS pattern (`*` one token, `>` one or more at the end)."""
    tokens, wanted = subject.split("."), pattern.split(".")
    for position, want in enumerate(wanted):
        if want == ">":
            return len(tokens) > position
        if position >= len(tokens) or want not in ("*", tokens[position]):
            return False
    return len(tokens) == len(wanted)


class MemoryEventLog:
    """An event log that ends with its process."""

    def __init__(self) -> None:
        self.records: list[Recorded] = []
        self._ids: dict[str, int] = {}
        self._grown = asyncio.Condition()

    async def append(self, event: Event, expect: Expect | None = None) -> int:
        if event.id in self._ids:
            return self._ids[event.id]
        if expect is not None:
            last = await self.last(expect.filter)
            if (last.seq if last else 0) != expect.seq:
                raise ConflictError(f"{expect.filter} moved on from {expect.seq}")
        return await self.append_raw(event_subject(event), event.encode(), event.id)

    async def append_raw(self, subject: str, raw: bytes, event_id: str) -> int:
        """Store bytes as they are, as a foreign or newer publisher would."""
        seq = len(self.records) + 1
        self.records.append(Recorded.of(seq, subject, raw))
        self._ids[event_id] = seq
        async with self._grown:
            self._grown.notify_all()
        return seq

    async def read(self, subject: str = ALL_EVENTS, *, after: int = 0, limit: int = 256) -> list[Recorded]:
        found = [r for r in self.records[after:] if subject_matches(r.subject, subject)]
        return found[:limit]

    async def last(self, subject: str = ALL_EVENTS) -> Recorded | None:
        return next((r for r in reversed(self.records) if subject_matches(r.subject, subject)), None)

    def _has_after(self, seq: int) -> bool:
        return len(self.records) > seq

    async def follow(self, *, after: int = 0) -> AsyncIterator[list[Recorded]]:
        while True:
            async with self._grown:
                await self._grown.wait_for(partial(self._has_after, after))
            batch = self.records[after : after + 256]
            after = batch[-1].seq
            yield batch


@dataclass
class _Queued:
    command: StageCommand
    visible_at: float
    deliveries: int = 0


@dataclass
class MemoryDelivery:
    """A delivered command; acknowledgements of an expired delivery still delete the command, as the broker's do."""

    command: StageCommand
    deliveries: int
    queue: "MemoryCommandQueue"
    subject: str

    async def in_progress(self) -> None:
        self.queue.extend(self.subject)

    async def ack(self) -> None:
        self.queue.queued.pop(self.subject, None)

    async def nak(self, delay_s: float = 0.0) -> None:
        self.queue.extend(self.subject, delay_s)


@dataclass
class MemoryCommandQueue:
    """A work queue with redelivery after `ack_wait_s` on the injected clock."""

    ack_wait_s: float = 15.0
    clock: Callable[[], float] = time.monotonic
    queued: dict[str, _Queued] = field(default_factory=dict)

    def extend(self, subject: str, delay_s: float | None = None) -> None:
        """Postpone the next delivery of a command by `delay_s` (default: the ack wait)."""
        if item := self.queued.get(subject):
            item.visible_at = self.clock() + (self.ack_wait_s if delay_s is None else delay_s)

    async def publish(self, command: StageCommand) -> bool:
        subject = command_subject(command.pool, command.job_id, command.stage, command.part)
        if subject in self.queued:
            return False
        self.queued[subject] = _Queued(command, self.clock())
        return True

    async def next(self, pool: Pool, timeout_s: float) -> MemoryDelivery | None:
        deadline = self.clock() + timeout_s
        while True:
            for subject, item in self.queued.items():
                if item.command.pool == pool and item.visible_at <= self.clock():
                    item.deliveries += 1
                    self.extend(subject)
                    return MemoryDelivery(item.command, item.deliveries, self, subject)
            if self.clock() >= deadline:
                return None
            await asyncio.sleep(0.001)
