"""How long the scheduler thinks: one event folded and one plan made, with queues of several lengths.

Lives here: the measurement in this process, on the policy itself. Does not live here: carrying decisions out.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.history import canceled, started, submitted
from benchmarks.rows import Row
from services.scheduler.board import Board
from services.scheduler.limits import Limits
from services.scheduler.policy import ReleaseKey, StartJob, World, plan
from shared.events.subjects import event_subject
from shared.events.types import Event

LENGTHS = (10, 1_000, 10_000)
DECISIONS = 100
LIMITS = Limits(max_running=8, user_running=1, user_daily_minutes=0, backpressure_q_max=0, min_free_gb=0)


@dataclass(frozen=True)
class Queue:
    """Who queued the jobs, and whether one of them may start now."""

    name: str
    owner: Callable[[int], str]
    limits: Limits
    starts: bool


QUEUES = (
    Queue("one user at the cap", lambda _: "user-0", LIMITS, starts=False),
    Queue("many users", lambda n: f"user-{n}", LIMITS, starts=True),
    # Two sources of one byte each are more than each user may store.
    Queue("many users over a quota", lambda n: f"user-{n // 2}", replace(LIMITS, user_stored_bytes=1), starts=False),
)
INDEPENDENT = "<= 2"
"""The longest queue against the shortest one, a thousand times shorter."""


def rows(_directory: Path) -> Iterator[Row]:
    """Yield the median time of a decision for every length of the queue, and longest / shortest."""
    for queue in QUEUES:
        medians = {}
        for length in LENGTHS:
            medians[length] = statistics.median(_decisions(length, queue))
            yield Row(f"decision, {length:,} queued by {queue.name}, p50", 1000 * medians[length], "ms")
        grown = medians[LENGTHS[-1]] / medians[LENGTHS[0]]
        yield Row(f"decision, {queue.name}: longest / shortest queue", grown, "x", f"{LENGTHS[0]} queued", INDEPENDENT)


class _Folded:
    """A board with a job of user-0 running, a free slot, and as many jobs queued as asked."""

    def __init__(self, length: int, queue: Queue) -> None:
        self.board = Board(queue.limits)
        first = submitted("user-0")
        self.apply(first)
        self.apply(started(first))
        for number in range(length):
            self.apply(submitted(queue.owner(number)))

    def apply(self, event: Event) -> None:
        self.board.apply(self.board.seq + 1, event_subject(event), event)


def _decisions(length: int, queue: Queue) -> Iterator[float]:
    """Yield the seconds that each decision took: a submission is folded, then the next step planned."""
    folded = _Folded(length, queue)
    gc.collect()
    released: dict[ReleaseKey, datetime] = {}
    for _ in range(DECISIONS):
        event = submitted(queue.owner(0))
        begun = time.perf_counter()
        folded.apply(event)
        made = plan(folded.board, World(datetime.now(UTC), free_gb=1000.0), released)
        yield time.perf_counter() - begun
        starts = any(isinstance(decision, StartJob) for decision in made.decisions)
        assert starts == queue.starts, "the plan is not the one that is to be timed"
        folded.apply(canceled(event))  # the queue stays as long as it is
