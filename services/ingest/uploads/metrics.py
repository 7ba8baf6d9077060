"""Uploads in Prometheus' words: begun, refused, received, completed, ended, and how many are open.

Lives here: names, and how a refusal is counted. Does not live here: who is counted (`uploads`), and what becomes of
submissions (`services.ingest.metrics`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import Counter, Gauge

from shared.eventlog.port import LogUnavailableError
from shared.metrics import Registry
from shared.problems import Problem

How = Literal["used", "terminated", "expired"]


class UploadMetrics:
    """Counters from the start of the process on; `opened` returns how many uploads are open, and their bytes."""

    def __init__(self, registry: Registry, opened: Callable[[], tuple[int, int]]) -> None:
        self._begun = Counter("dub_ingest_uploads_begun", "Uploads that were begun.", registry=registry)
        self._refused = Counter(
            "dub_ingest_uploads_refused", "Uploads that were not begun, by reason.", ["reason"], registry=registry
        )
        self._completed = Counter("dub_ingest_uploads_completed", "Uploads that arrived whole.", registry=registry)
        self._ended = Counter(
            "dub_ingest_uploads_ended", "Uploads that are open no more, by how.", ["how"], registry=registry
        )
        self._bytes = Counter("dub_ingest_upload_bytes", "Bytes of uploads that arrived and count.", registry=registry)
        number = Gauge("dub_ingest_uploads_open", "Uploads that are neither used nor gone.", registry=registry)
        number.set_function(lambda: opened()[0])
        size = Gauge("dub_ingest_uploads_open_bytes", "What these will take when all has arrived.", registry=registry)
        size.set_function(lambda: opened()[1])

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """Count an upload that is begun in the block, or why it is not: the quota that refuses, or else the code."""
        try:
            yield
        except Problem as problem:
            self._refused.labels(problem.extra.get("quota", problem.code)).inc()
            raise
        except LogUnavailableError:
            self._refused.labels("log_unavailable").inc()
            raise
        self._begun.inc()

    def received(self, size: int) -> None:
        self._bytes.inc(size)

    def completed(self) -> None:
        self._completed.inc()

    def ended(self, how: How) -> None:
        self._ended.labels(how).inc()
