"""The library's Prometheus metrics: how far the projection is behind the log, and who listens.

Lives here: names and where their values come from, asked at each scrape. Does not live here: HTTP (`shared.metrics`).
"""

import asyncio
import shutil

from prometheus_client import Gauge

from services.library.jobstore.queries import read_quarantined
from services.library.library import Library
from services.library.webhooks.dispatcher import Dispatcher
from shared.eventlog.port import LogUnavailableError
from shared.metrics import Registry

ANSWER_TIMEOUT_S = 2.0
UNKNOWN = float("nan")


class LibraryMetrics:
    """All metrics of one library process, in a registry of their own. `refresh` sets them before a scrape."""

    def __init__(self, library: Library, webhooks: Dispatcher) -> None:
        self.registry = Registry()
        self._library = library
        self._webhooks = webhooks
        made = self.registry
        self._position = Gauge("dub_library_log_sequence", "Last sequence that jobs.db has.", registry=made)
        self._lag = Gauge("dub_library_projector_lag_events", "Events jobs.db is behind the log.", registry=made)
        self._quarantined = Gauge("dub_library_quarantined_events", "Events set aside in jobs.db.", registry=made)
        self._listeners = Gauge("dub_library_listeners", "Open event streams.", registry=made)
        self._free = Gauge("dub_library_disk_free_bytes", "Free space under the output.", registry=made)
        self._broker = Gauge("dub_library_broker_connected", "1 while the broker is reachable.", registry=made)
        self._attempts = Gauge(
            "dub_library_webhook_attempts", "Messages tried since the start.", ["result"], registry=made
        )
        self._deliveries = Gauge("dub_library_webhook_deliveries", "Messages by state.", ["state"], registry=made)

    async def refresh(self) -> None:
        """Ask the log, jobs.db and the disk."""
        library = self._library
        connected = library.connected()
        self._broker.set(connected)
        self._position.set(library.hub.position)
        self._lag.set(await self._behind() if connected else UNKNOWN)
        self._quarantined.set(await library.reader.run(read_quarantined))
        self._listeners.set(len(library.hub))
        if self._webhooks.opened:
            counts = await self._webhooks.counts()
            for result, number in counts.attempts.items():
                self._attempts.labels(result).set(number)
            for state, number in (
                ("delivered", counts.delivered),
                ("failed", counts.failed),
                ("pending", counts.pending),
            ):
                self._deliveries.labels(state).set(number)
        self._free.set((await asyncio.to_thread(shutil.disk_usage, library.layout.output)).free)

    async def _behind(self) -> float:
        try:
            last = await asyncio.wait_for(self._library.log.last(), ANSWER_TIMEOUT_S)
        except (LogUnavailableError, TimeoutError):
            return UNKNOWN
        return max(0, (last.seq if last else 0) - self._library.hub.position)
