"""Ingest's connection to the broker.

Lives here: connecting in the background, so that health checks and refusals are answered while the broker is down,
asking and telling others. Does not live here: the log itself (`shared.eventlog`).
"""

import contextlib

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from shared.eventlog.connection import BrokerTooOldError, connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.eventlog.port import EventLog, LogUnavailableError
from shared.problems import Problem
from shared.settings import Settings

RETRY_AFTER_S = 5
NO_RESPONDERS = "503"

log = structlog.get_logger()


def unavailable() -> Problem:
    """Return the answer to a write that the log cannot take now."""
    detail = "The event log does not answer, so nothing was accepted. Try again in a few seconds."
    return Problem(503, "log_unavailable", detail, headers={"Retry-After": str(RETRY_AFTER_S)})


class Bus:
    """The connection of one process; `trouble` says why there is none, for the readiness check."""

    def __init__(self, settings: Settings) -> None:
        self.trouble = "not connected to the broker yet"
        self._settings = settings
        self._client: Client | None = None
        self._log: EventLog | None = None

    async def connect(self) -> None:
        """Connect, waiting for the broker as long as it takes."""
        try:
            client = await connect(self._settings, "ingest")
        except (BrokerTooOldError, NatsError, OSError) as error:
            self.trouble = str(error)
            log.error("broker_unusable", error=self.trouble)
            return
        self._log = JetStreamEventLog(client)
        self._client = client

    async def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(NatsError):
                await self._client.close()

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    def _connected(self) -> Client:
        if self._client is None or not self.connected:
            raise LogUnavailableError("not connected to the broker")
        return self._client

    @property
    def log(self) -> EventLog:
        """The event log. Raises LogUnavailableError at once while there is no connection: a publish would only wait."""
        if self._log is None or not self.connected:
            raise LogUnavailableError("not connected to the broker")
        return self._log

    async def ask(self, subject: str, payload: bytes, timeout_s: float) -> bytes | None:
        """Return the first answer to a request; None if nobody listens, or nobody answers in time.

        Raises LogUnavailableError.
        """
        try:
            return (await self._connected().request(subject, payload, timeout=timeout_s)).data
        except (NatsTimeout, NoRespondersError):
            return None
        except NatsError as error:
            raise LogUnavailableError("the broker did not answer") from error

    async def tell(self, subject: str, payload: bytes) -> None:
        """Publish what nobody stores. Raises LogUnavailableError."""
        client = self._connected()
        try:
            await client.publish(subject, payload)
            await client.flush()
        except (NatsError, NatsTimeout) as error:
            raise LogUnavailableError("the broker did not answer") from error

    async def ask_all(self, subject: str, first_s: float, more_s: float) -> list[bytes]:
        """Return every answer to an empty request: the first within `first_s` seconds, others `more_s` apart.

        Raises LogUnavailableError.
        """
        client = self._connected()
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
