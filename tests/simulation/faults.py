"""What goes wrong in one simulated run: everything is drawn from the seed.

Lives here: how often and how long. Does not live here: what a fault does (`log`, `queue`, `actors`).
"""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Faults:
    """Probabilities per operation, and seconds."""

    latency_s: float
    slow: float
    """An answer takes so many seconds instead of milliseconds."""
    lost_answer: float
    """The append was stored, or was not; the caller hears nothing."""
    follow_lag_s: float
    redelivery: float
    """A command is handed out again though somebody works on it."""
    lost_ack: float
    lost_sign_of_life: float
    unheard: float
    """A cancellation that a worker is not told of."""
    failing: float
    """A stage fails; most failures may be retried."""
    worker_crash: float
    worker_pause: float
    worker_drain: float
    scheduler_crashes: int
    scheduler_pauses: int
    outages: int

    @classmethod
    def of(cls, rng: Random) -> "Faults":
        """Return a calm system, or a mixture of faults."""
        level = rng.choice((0.0, 0.3, 1.0, 1.0, 2.0))

        def some(most: float) -> float:
            return level * most * rng.random() if rng.random() < 0.6 else 0.0

        return cls(
            latency_s=rng.choice((0.001, 0.01, 0.1)),
            slow=some(0.05),
            lost_answer=some(0.08),
            follow_lag_s=rng.choice((0.001, 0.02, 0.5)),
            redelivery=some(0.1),
            lost_ack=some(0.3),
            lost_sign_of_life=some(0.5),
            unheard=some(1.0),
            failing=some(0.2),
            worker_crash=some(0.15),
            worker_pause=some(0.15),
            worker_drain=some(0.1),
            scheduler_crashes=rng.choice((0, 1, 3)) if level and rng.random() < 0.5 else 0,
            scheduler_pauses=rng.choice((0, 1, 2)) if level and rng.random() < 0.4 else 0,
            outages=rng.choice((0, 1, 2)) if level and rng.random() < 0.4 else 0,
        )
