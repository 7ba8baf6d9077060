"""The clock and the identifiers of a simulated run: virtual time, and randomness from the seed.

Lives here: replacing the places where the code under simulation takes them from the operating system. Its log lines,
of which a thousand runs would write a million, are dropped.
"""

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from logging import CRITICAL
from random import Random
from types import SimpleNamespace
from unittest.mock import patch

import structlog

import services.ingest.history
import services.worker.claims
import shared.identity


@contextlib.contextmanager
def seeded(rng: Random, now: Callable[[], datetime]) -> Iterator[None]:
    """Make ids and event times a function of the seed."""

    class VirtualTime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override] # noqa: ARG003 -- the signature of the real one
            return now()

    clock = SimpleNamespace(time=lambda: now().timestamp())
    logging = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(CRITICAL))
    ids = SimpleNamespace(token_bytes=rng.randbytes)
    with (
        patch.object(shared.identity, "time", clock),
        patch.object(shared.identity, "secrets", ids),
        patch.object(services.worker.claims, "datetime", VirtualTime),
        patch.object(services.ingest.history, "datetime", VirtualTime),
    ):
        try:
            yield
        finally:
            structlog.configure(**logging)
