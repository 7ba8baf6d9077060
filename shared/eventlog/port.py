"""What every service knows of the log and the queue.

Lives here: the two protocols and their errors. Two implementations exist: `memory` (tests, simulation) and
`jetstream`; one set of contract tests runs against both.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from pydantic import ValidationError

from shared.commands import StageCommand
from shared.events.names import Pool
from shared.events.subjects import ALL_EVENTS
from shared.events.types import Event, decode


@dataclass(frozen=True)
class Recorded:
    """A stored event: `seq` orders the whole log. `event` is None where the bytes do not decode (E7)."""

    seq: int
    subject: str
    raw: bytes
    event: Event | None
    error: str = ""

    @classmethod
    def of(cls, seq: int, subject: str, raw: bytes) -> "Recorded":
        """Decode `raw`; what does not decode is kept, with the reason, and blocks nobody."""
        try:
            return cls(seq, subject, raw, decode(raw))
        except ValidationError as error:
            where = "; ".join(".".join(map(str, e["loc"])) + ": " + e["type"] for e in error.errors())
            return cls(seq, subject, raw, None, where)


@dataclass(frozen=True)
class Expect:
    """Append only if the last event that matches `filter` has this sequence; 0 means that there is none (E2)."""

    filter: str
    seq: int


class ConflictError(Exception):
    """The expectation did not hold: somebody else appended. Read again and decide again."""


class LogUnavailableError(Exception):
    """The broker gave no answer in time. The append may or may not be stored: never read this as "not published"."""


class EventLog(Protocol):
    """An append-only, totally ordered log."""

    async def append(self, event: Event, expect: Expect | None = None) -> int:
        """Store an event durably and return its sequence.

        Repeating an append whose answer was lost returns the first one's sequence (E3).
        Raises ConflictError, LogUnavailableError.
        """
        ...

    async def read(self, subject: str = ALL_EVENTS, *, after: int = 0, limit: int = 256) -> list[Recorded]:
        """Return up to `limit` events that match `subject` with a sequence above `after`, in order.

        Raises LogUnavailableError.
        """
        ...

    async def last(self, subject: str = ALL_EVENTS) -> Recorded | None:
        """Return the newest event that matches `subject`. Raises LogUnavailableError."""
        ...

    def follow(self, *, after: int = 0) -> AsyncIterator[list[Recorded]]:
        """Yield every event above `after` in order and without gaps, for ever; survives broker restarts."""
        ...


class Delivery(Protocol):
    """A command in a worker's hands until `ack`; silence for the queue's ack wait hands it to another worker."""

    @property
    def command(self) -> StageCommand: ...
    @property
    def deliveries(self) -> int: ...
    async def in_progress(self) -> None: ...
    async def ack(self) -> None:
        """Say that the command is dealt with. It leaves the queue soon after, or comes again if this gets lost."""
        ...

    async def nak(self, delay_s: float = 0.0) -> None: ...


class CommandQueue(Protocol):
    """The work queue: at most one outstanding command per (job, stage, part)."""

    async def publish(self, command: StageCommand) -> bool:
        """Queue a command; False if one for the same stage is outstanding already. Raises LogUnavailableError."""
        ...

    async def next(self, pool: Pool, timeout_s: float) -> Delivery | None:
        """Return the next command of a pool, or None after `timeout_s` seconds without one."""
        ...
