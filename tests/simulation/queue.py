"""The simulated work queue: redelivery after the ack wait, duplicates, reordering, lost acknowledgements.

Lives here: the broker's side of `shared.eventlog.port.CommandQueue`. A late acknowledgement deletes the message that it
belongs to, never a newer one under the same subject, as the broker's do.
"""

import asyncio
from dataclasses import dataclass

from shared.commands import StageCommand
from shared.events.names import Pool
from shared.events.subjects import command_subject
from tests.simulation.log import Actor, Network

ACK_WAIT_S = 6.0


@dataclass
class Message:
    command: StageCommand
    visible_at: float
    deliveries: int = 0


@dataclass
class SimulatedDelivery:
    """A command in one actor's hands."""

    command: StageCommand
    deliveries: int
    message: Message
    port: "QueuePort"

    async def in_progress(self) -> None:
        self.port.say(self.message, ACK_WAIT_S)

    async def ack(self) -> None:
        self.port.say(self.message, None)

    async def nak(self, delay_s: float = 0.0) -> None:
        self.port.say(self.message, delay_s)


class CommandBoard:
    """Every outstanding command, by subject."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.messages: dict[str, Message] = {}
        self._fetching: list[asyncio.Future[None]] = []

    def publish(self, command: StageCommand) -> bool:
        subject = command_subject(command.pool, command.job_id, command.stage, command.part)
        if subject in self.messages:
            return False
        self.messages[subject] = Message(command, self.network.loop.time())
        self.wake()
        return True

    def wake(self) -> None:
        """Let those who wait look again."""
        for waiter in self._fetching:
            if not waiter.done():
                waiter.set_result(None)
        self._fetching.clear()

    def take(self, pool: Pool) -> Message | None:
        """Return a command that nobody holds; now and then one that somebody does."""
        now, rng, faults = self.network.loop.time(), self.network.rng, self.network.faults
        again = faults.redelivery and rng.random() < faults.redelivery
        found = [m for m in self.messages.values() if m.command.pool == pool and (again or m.visible_at <= now)]
        if not found:
            return None
        message = rng.choice(found)
        message.deliveries += 1
        self.postpone(message, ACK_WAIT_S)
        return message

    def postpone(self, message: Message, pause_s: float) -> None:
        message.visible_at = self.network.loop.time() + pause_s

    def delete(self, message: Message) -> None:
        for subject, known in self.messages.items():
            if known is message:
                del self.messages[subject]
                return

    async def changed(self, pool: Pool, timeout_s: float) -> None:
        """Return when a command may be visible, or after the time-out."""
        loop = self.network.loop
        due = min((m.visible_at for m in self.messages.values() if m.command.pool == pool), default=None)
        pause = timeout_s if due is None else min(timeout_s, max(0.0, due - loop.time()) + 1e-6)
        waiter = loop.create_future()
        self._fetching.append(waiter)
        timer = loop.call_later(pause, lambda: waiter.done() or waiter.set_result(None))
        try:
            await waiter
        finally:
            timer.cancel()


class QueuePort:
    """The queue, as one actor sees it."""

    def __init__(self, board: CommandBoard, actor: Actor) -> None:
        self._board = board
        self._actor = actor

    async def publish(self, command: StageCommand) -> bool:
        queued: bool = await self._board.network.ask(self._actor, lambda: self._board.publish(command), writes=True)
        return queued

    async def next(self, pool: Pool, timeout_s: float) -> SimulatedDelivery | None:
        loop = self._board.network.loop
        deadline = loop.time() + timeout_s
        while True:
            message = await self._fetch(pool)
            if message is not None:
                return SimulatedDelivery(message.command, message.deliveries, message, self)
            if loop.time() >= deadline:
                return None
            await self._board.changed(pool, deadline - loop.time())

    async def _fetch(self, pool: Pool) -> Message | None:
        store, loop = self._board.network.store, self._board.network.loop
        while (pause := max(store.down_until, self._actor.frozen_until) - loop.time()) > 0:  # noqa: ASYNC110 -- it has no event
            await asyncio.sleep(pause)
        if self._actor.dead:
            raise asyncio.CancelledError
        return self._board.take(pool)

    def say(self, message: Message, postpone_s: float | None) -> None:
        """Acknowledge a message (None) or put its next delivery off; nobody waits for it, and it may get lost."""
        board, faults = self._board, self._board.network.faults
        loss = faults.lost_ack if postpone_s is None else faults.lost_sign_of_life
        if self._actor.dead or (loss and board.network.rng.random() < loss):
            return

        def arrive() -> None:
            if board.network.store.down_until > board.network.loop.time():
                return
            if postpone_s is None:
                board.delete(message)
            else:
                board.postpone(message, postpone_s)
                board.wake()

        loop = board.network.loop
        loop.call_at(max(loop.time(), self._actor.frozen_until) + board.network.travel(), arrive)
