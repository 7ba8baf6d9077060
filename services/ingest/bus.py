"""Ingest's connection to the broker.

Lives here: asking and telling others, and the answer while nobody can be reached. Does not live here: connecting
(`shared.eventlog.late`), the log itself (`shared.eventlog`).
"""

import contextlib
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from shared.eventlog.late import LateConnection
from shared.eventlog.port import LogUnavailableError
from shared.problems import Problem
from shared.settings import Settings

RETRY_AFTER_S = 5
NO_RESPONDERS = "503"
QUEUE_GROUP = "ingest"

Serve = Callable[[Msg], Awaitable[None]]


def unavailable() -> Problem:
    """Return the answer to a write that the log cannot take now."""
    detail = "The event log does not answer, so nothing was accepted. Try again in a few seconds."
    return Problem(503, "log_unavailable", detail, headers={"Retry-After": str(RETRY_AFTER_S)})


class Bus(LateConnection):
    """Ingest's connection, and what it asks of others over it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, "ingest")
        self._served: list[tuple[str, Serve]] = []

    def serve(self, subject: str, serve: Serve) -> None:
        """Let `serve` have every message of a subject that no other ingest gets; to be said before `connect`."""
        self._served.append((subject, serve))

    async def connect(self) -> bool:
        if not await super().connect():
            return False
        for subject, serve in self._served:
            await self.client.subscribe(subject, queue=QUEUE_GROUP, cb=serve)
        return True

    async def ask(self, subject: str, payload: bytes, timeout_s: float) -> bytes | None:
        """Return the first answer to a request; None if nobody listens, or nobody answers in time.

        Raises LogUnavailableError.
        """
        try:
            return (await self.client.request(subject, payload, timeout=timeout_s)).data
        except (NatsTimeout, NoRespondersError):
            return None
        except NatsError as error:
            raise LogUnavailableError("the broker did not answer") from error

    async def tell(self, subject: str, payload: bytes) -> None:
        """Publish what nobody stores. Raises LogUnavailableError."""
        client = self.client
        try:
            await client.publish(subject, payload)
            await client.flush()
        except (NatsError, NatsTimeout) as error:
            raise LogUnavailableError("the broker did not answer") from error

    async def ask_all(self, subject: str, first_s: float, more_s: float) -> list[bytes]:
        """Return every answer to an empty request: the first within `first_s` seconds, others `more_s` apart.

        Raises LogUnavailableError.
        """
        client = self.client
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        found: list[bytes] = []
        try:
            await client.publish(subject, b"", reply=inbox)
            while True:
                message = await answers.next_msg(more_s if found else first_s)
                if message.headers and message.headers.get("Status") == NO_RESPONDERS:
                    return found
                found.append(message.data)
        except (TimeoutError, NatsTimeout):
            return found
        except NatsError as error:
            raise LogUnavailableError("the broker did not answer") from error
        finally:
            with contextlib.suppress(NatsError):
                await answers.unsubscribe()
