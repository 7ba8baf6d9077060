"""The child's side of the lease: work that may have an heir waits before it goes on.

Lives here: the clock and the check, which the child makes at every progress point, right before each rename that makes
a file visible (`shared.artifacts.set_rules`), and when it is continued after a stop. Does not live here: the parent's
reading of the log (`lease`), whose every success comes here as a time.

What holds: a queue hands a command to an heir no sooner than one ack wait after the last sign of life that reached it.
The parent passes on the time before a sign of life only once the broker has answered something later on the same
connection. So while that time is younger than the ack wait there is no heir, and what the child publishes lies in
nobody's way. What remains: a process that stands still without a signal (a suspended machine, a cgroup freezer)
between the check and the rename that follows it, some microseconds, and goes on; a rename that hangs in a network file
system; a broker that restarts and redelivers early. Each can leave a file whose checksum is not the one that the heir
recorded. The zombie's event is refused by the fence in any case.
"""

import time
from collections.abc import Callable

POLL_S = 0.05


class StageCanceledError(BaseException):
    """The stage was asked to end. No Exception: no engine or stage may swallow it."""


def now() -> float:
    """Return seconds on a clock that all processes of this machine share, and that a suspended machine moves on."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Gate:
    """Written by signal handlers and another thread, so it has no locks: plain values, read again until they suit."""

    def __init__(self, ack_wait_s: float, clock: Callable[[], float] = now) -> None:
        self._ack_wait_s = ack_wait_s
        self._clock = clock
        self._ours_at = 0.0
        self._asked = False
        self._running = False

    def start(self, at: float) -> None:
        """A stage begins; it was this worker's at that time, which may be long ago if this process was busy."""
        self._asked = False
        self._ours_at = at
        self._running = True

    def end(self) -> None:
        """No stage runs."""
        self._running = False

    def renew(self, at: float) -> None:
        """The stage was this worker's at that time."""
        self._ours_at = max(self._ours_at, at)

    def ask_to_end(self) -> None:
        """The stage shall end at its next check."""
        self._asked = True

    def check(self) -> None:
        """Return once the running stage may go on. Raises StageCanceledError."""
        while self._running:
            if self._asked:
                raise StageCanceledError
            if self._clock() - self._ours_at <= self._ack_wait_s:
                return
            time.sleep(POLL_S)
