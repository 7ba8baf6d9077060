"""A worker's Prometheus metrics.

Lives here: what only the worker knows. Does not live here: stages and their times, which the scheduler counts from
the log, and the answer to a scrape (`health`).
"""

from collections.abc import Callable
from typing import Literal

from prometheus_client import Counter, Gauge

from shared.metrics import Registry

Command = Literal["claimed", "taken_over", "dropped", "unavailable"]
"""What became of a delivered command. `unavailable`: the log did not answer, the command comes again."""
Commit = Literal["committed", "lost"]
"""`lost`: another worker had taken the stage over, and this one's outcome was refused (E4)."""
Kill = Literal["canceled", "timeout", "drain"]


class WorkerMetrics:
    """All metrics of one worker, in a registry of their own."""

    def __init__(self, busy: Callable[[], bool]) -> None:
        self.registry = Registry()
        made = self.registry
        Gauge("dub_worker_busy", "1 while a stage is held.", registry=made).set_function(busy)
        self._commands = Counter("dub_worker_commands", "Commands that came.", ["outcome"], registry=made)
        self._commits = Counter("dub_worker_commits", "Outcomes that were appended.", ["result"], registry=made)
        self._kills = Counter("dub_worker_child_kills", "Children ended before their stage.", ["reason"], registry=made)
        self._leases = Counter("dub_worker_lease_errors", "Leases that could not be extended.", registry=made)

    def command(self, outcome: Command) -> None:
        self._commands.labels(outcome).inc()

    def commit(self, result: Commit) -> None:
        self._commits.labels(result).inc()

    def child_killed(self, reason: Kill) -> None:
        self._kills.labels(reason).inc()

    def lease_error(self) -> None:
        self._leases.inc()
