"""A connection to the broker that may come later: its process answers health checks, and refuses, meanwhile.

Lives here: connecting in the background and saying how it stands. Does not live here: the connection's own settings
(`connection`), and what is asked over it (the services).
"""

import contextlib
from collections.abc import AsyncIterator

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from shared.eventlog.connection import BrokerTooOldError, connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.eventlog.port import EventLog, Expect, LogUnavailableError, Recorded
from shared.events.subjects import ALL_EVENTS
from shared.events.types import Event
from shared.settings import Settings

log = structlog.get_logger()


class LateConnection:
    """The connection of one process; `trouble` says why there is none, for the readiness check."""

    def __init__(self, settings: Settings, service: str) -> None:
        self.trouble = "not connected to the broker yet"
        self._settings = settings
        self._service = service
        self._client: Client | None = None
        self._log: EventLog | None = None

    async def connect(self) -> bool:
        """Connect, waiting for the broker as long as it takes; False if it cannot be used at all."""
        try:
            client = await connect(self._settings, self._service)
        except (BrokerTooOldError, NatsError, OSError) as error:
            self.trouble = str(error)
            log.error("broker_unusable", error=self.trouble)
            return False
        self._log = JetStreamEventLog(client)
        self._client = client
        return True

    async def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(NatsError):
                await self._client.close()

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    @property
    def client(self) -> Client:
        """The connection. Raises LogUnavailableError while there is none."""
        if self._client is None or not self.connected:
            raise LogUnavailableError("not connected to the broker")
        return self._client

    @property
    def log(self) -> EventLog:
        """The event log. Raises LogUnavailableError at once while there is no connection: a publish would only wait."""
        if self._log is None or not self.connected:
            raise LogUnavailableError("not connected to the broker")
        return self._log


class LateLog:
    """The event log of a late connection, for parts that are made before it: a call fails at once until it is there."""

    def __init__(self, connection: LateConnection) -> None:
        self._connection = connection

    async def append(self, event: Event, expect: Expect | None = None) -> int:
        return await self._connection.log.append(event, expect)

    async def read(self, subject: str = ALL_EVENTS, *, after: int = 0, limit: int = 256) -> list[Recorded]:
        return await self._connection.log.read(subject, after=after, limit=limit)

    async def last(self, subject: str = ALL_EVENTS) -> Recorded | None:
        return await self._connection.log.last(subject)

    def follow(self, *, after: int = 0) -> AsyncIterator[list[Recorded]]:
        return self._connection.log.follow(after=after)
