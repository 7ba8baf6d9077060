"""Ingest's Prometheus metrics: what became of submissions, how long they took, and the room for more.

Lives here: names and how an ending is counted. Does not live here: HTTP (`shared.metrics`) and who is counted
(`submission`).
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from prometheus_client import Counter, Gauge, Histogram
from starlette.requests import ClientDisconnect

from shared.eventlog.port import LogUnavailableError
from shared.layout import Layout
from shared.metrics import Registry
from shared.problems import Problem

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Ending:
    """How one submission ended; the caller says so, exceptions say it by their type."""

    result = "accepted"


class IngestMetrics:
    """All metrics of one ingest process, in a registry of their own."""

    def __init__(self, layout: Layout, connected: Callable[[], bool]) -> None:
        self.registry = Registry()
        made = self.registry
        self._submissions = Counter("dub_ingest_submissions", "Received videos, by result.", ["result"], registry=made)
        self._seconds = Histogram(
            "dub_ingest_submit_seconds", "From received to in the log.", buckets=BUCKETS, registry=made
        )
        self._bytes = Counter("dub_ingest_accepted_bytes", "Bytes of the videos that made a job.", registry=made)
        connection = Gauge("dub_ingest_broker_connected", "1 while the broker is reachable.", registry=made)
        connection.set_function(connected)
        free = Gauge("dub_ingest_disk_free_bytes", "Free space for uploads.", registry=made)
        free.set_function(lambda: shutil.disk_usage(layout.data).free if layout.data.is_dir() else 0)

    @contextmanager
    def submission(self, size: int) -> Iterator[Ending]:
        """Count one submission of `size` bytes by how the block ends."""
        started = monotonic()
        ending = Ending()
        try:
            yield ending
        except BaseException as error:
            ending.result = _result_of(error)
            raise
        finally:
            self._submissions.labels(ending.result).inc()
            if ending.result == "accepted":
                self._seconds.observe(monotonic() - started)
                self._bytes.inc(size)


def _result_of(error: BaseException) -> str:
    match error:
        case Problem():
            return "refused"
        case LogUnavailableError():
            return "unavailable"
        case ClientDisconnect():
            return "left"
        case _:
            return "failed"
