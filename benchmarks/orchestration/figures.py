"""What a round of no-op jobs gives, and what is made of several rounds. Pure.

Lives here: the round, per-stage latencies out of a trace, ratios between two systems. Does not live here: measuring.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from shared.job.stages import GRAPH

Span = tuple[str, str, float, float]
"""Job, stage, and when its work began and ended."""


@dataclass(frozen=True)
class Round:
    """Jobs of one system, run without a break; `latencies` where they ran one after the other. Seconds."""

    jobs: int
    seconds: float
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of ours/theirs over rounds that were run side by side."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def stage_latencies(spans: Iterable[Span]) -> list[float]:
    """Return, for every job and stage but the first, the time from the end of the stage before to this one's end.

    The stages do nothing, so this is what the system costs: the outcome's append, the scheduler's decision and its
    grant, the command, the fetch and the claim. Stages of a job run one after the other here: the graph is a chain.
    """
    of_job: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        of_job[span[0]].append(span)
    latencies = []
    for job in of_job.values():
        if len(job) == len(GRAPH):
            ends = sorted(span[3] for span in job)
            latencies += [later - earlier for earlier, later in pairwise(ends)]
    return latencies
