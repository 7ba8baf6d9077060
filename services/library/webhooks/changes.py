"""What an event does to the queue of deliveries. Pure values: a batch of them is one transaction of the queue.

Lives here: the types. Does not live here: the queue (`deliveries`).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Add:
    """A message for one webhook; one with the same id is there already if the batch came before."""

    id: str
    webhook: str
    seq: int
    type: str
    job_id: str | None
    body: bytes


@dataclass(frozen=True)
class SendAgain:
    """Somebody asked for a message to be sent again, whatever became of it."""

    id: str
    webhook: str


@dataclass(frozen=True)
class DropAll:
    """The webhook is gone, and its delivery log with it."""

    webhook: str


@dataclass(frozen=True)
class FailWaiting:
    """The webhook was disabled: what waits is not sent, tests excepted."""

    webhook: str
    why: str


@dataclass(frozen=True)
class SendWaitingNow:
    """The webhook has another URL, or was enabled again: its failures so far say nothing about it now."""

    webhook: str


Change = Add | SendAgain | DropAll | FailWaiting | SendWaitingNow
