"""The simulated event log: one store, and one port with faults of its own for every actor.

Lives here: what a broker and a network may do to an append, a read or a follower. The promises of the store itself
(order, expected sequences, recognising an id) are those of the contract tests.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from shared.eventlog.port import ConflictError, Expect, LogUnavailableError, Recorded
from shared.events.subjects import ALL_EVENTS, event_subject
from shared.events.types import Event
from tests.simulation.faults import Faults

ANSWER_TIMEOUT_S = 2.0
WHOLE = ".>"


@dataclass
class Actor:
    """A process: it can be frozen (SIGSTOP) until a time, and it can be dead."""

    name: str
    frozen_until: float = 0.0
    died_at: float = math.inf

    @property
    def dead(self) -> bool:
        return self.died_at < math.inf


class Store:
    """The records. `on_append` sees each one in the moment in which it is stored."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_append: Callable[[Recorded], None], *, encode: bool) -> None:
        self.records: list[Recorded] = []
        self.down_until = 0.0
        self.honours_expectations: Callable[[Expect], bool] = lambda _: True
        self._loop = loop
        self._encode = encode
        self._on_append = on_append
        self._ids: dict[str, int] = {}
        self._by_subject: dict[str, list[Recorded]] = {}
        self._waiting: list[asyncio.Future[None]] = []

    def append(self, event: Event, expect: Expect | None) -> int:
        """Store an event. Raises ConflictError."""
        if (known := self._ids.get(event.id)) is not None:
            return known
        if expect is not None and self.honours_expectations(expect):
            found = self.matching(expect.filter)
            if (found[-1].seq if found else 0) != expect.seq:
                raise ConflictError(f"{expect.filter} moved on from {expect.seq}")
        seq = len(self.records) + 1
        subject = event_subject(event)
        recorded = Recorded.of(seq, subject, event.encode()) if self._encode else Recorded(seq, subject, b"", event)
        assert recorded.event is not None, recorded.error
        self.records.append(recorded)
        self._ids[event.id] = seq
        self._by_subject.setdefault(subject, []).append(recorded)
        tokens = subject.split(".")
        if tokens[2] == "job":
            self._by_subject.setdefault(".".join(tokens[:4]) + WHOLE, []).append(recorded)
        self._on_append(recorded)
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()
        return seq

    def matching(self, subject: str) -> list[Recorded]:
        """Return all records of a subject, of one job, or of the log."""
        return self.records if subject == ALL_EVENTS else self._by_subject.get(subject, [])

    async def grown(self, after: int) -> None:
        """Return once there is a record above `after`."""
        while len(self.records) <= after:
            waiter = self._loop.create_future()
            self._waiting.append(waiter)
            await waiter


class Network:
    """Carries one actor's requests; each takes time, and may get lost on either way."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rng: Random, faults: Faults, store: Store) -> None:
        self.loop = loop
        self.rng = rng
        self.faults = faults
        self.store = store

    def travel(self) -> float:
        """Return how long one way takes."""
        if self.faults.slow and self.rng.random() < self.faults.slow:
            return self.rng.random() * ANSWER_TIMEOUT_S * 0.8
        return self.rng.random() * self.faults.latency_s

    async def ask(self, actor: Actor, work: Callable[[], Any], *, writes: bool) -> Any:  # noqa: C901 -- one turn, told in its order
        """Have the broker do `work`; what was sent is done even if the actor dies or sleeps meanwhile.

        Raises LogUnavailableError, and whatever `work` raises.
        """
        if actor.dead:
            raise asyncio.CancelledError
        loop, store = self.loop, self.store
        answer: asyncio.Future[Any] = loop.create_future()
        lost = self.faults.lost_answer and self.rng.random() < self.faults.lost_answer
        arrives = lost and writes and self.rng.random() < 0.6

        def give(result: Any, error: Exception | None) -> None:
            if actor.frozen_until > loop.time():
                loop.call_at(actor.frozen_until, give, result, error)
            elif not answer.done() and not actor.dead:
                if error is None:
                    answer.set_result(result)
                else:
                    answer.set_exception(error)

        def arrive() -> None:
            if actor.died_at < sent_at:
                return
            if store.down_until > loop.time():
                loop.call_later(ANSWER_TIMEOUT_S, give, None, LogUnavailableError("the broker is away"))
                if writes and self.rng.random() < 0.5:  # the client buffers it, and sends it when it is connected again
                    loop.call_at(store.down_until + self.travel(), quietly)
                return
            if lost:
                if arrives:
                    quietly()
                loop.call_later(ANSWER_TIMEOUT_S, give, None, LogUnavailableError("no answer"))
                return
            try:
                result = work()
            except ConflictError as error:
                loop.call_later(self.travel(), give, None, error)
            else:
                loop.call_later(self.travel(), give, result, None)

        def quietly() -> None:
            with contextlib.suppress(ConflictError):
                work()

        sent_at = max(loop.time(), actor.frozen_until)
        loop.call_at(sent_at + self.travel(), arrive)
        return await answer


class Port:
    """`shared.eventlog.port.EventLog`, as one actor sees it."""

    def __init__(self, network: Network, actor: Actor) -> None:
        self._network = network
        self._actor = actor

    async def append(self, event: Event, expect: Expect | None = None) -> int:
        store = self._network.store
        seq: int = await self._network.ask(self._actor, lambda: store.append(event, expect), writes=True)
        return seq

    async def read(self, subject: str = ALL_EVENTS, *, after: int = 0, limit: int = 256) -> list[Recorded]:
        def work() -> list[Recorded]:
            return [r for r in self._network.store.matching(subject) if r.seq > after][:limit]

        found: list[Recorded] = await self._network.ask(self._actor, work, writes=False)
        return found

    async def last(self, subject: str = ALL_EVENTS) -> Recorded | None:
        def work() -> Recorded | None:
            found = self._network.store.matching(subject)
            return found[-1] if found else None

        newest: Recorded | None = await self._network.ask(self._actor, work, writes=False)
        return newest

    async def follow(self, *, after: int = 0) -> AsyncIterator[list[Recorded]]:
        network, store, loop = self._network, self._network.store, self._network.loop
        while True:
            await store.grown(after)
            seen_at = loop.time() + network.rng.random() * network.faults.follow_lag_s
            while (pause := max(seen_at, store.down_until, self._actor.frozen_until) - loop.time()) > 0:  # noqa: ASYNC110 -- it has no event
                await asyncio.sleep(pause)
            if self._actor.dead:
                raise asyncio.CancelledError
            batch = store.records[after : after + network.rng.choice((1, 3, 256))]
            after = batch[-1].seq
            yield batch
