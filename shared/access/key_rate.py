"""How much one API key may ask of a service: 600 requests a minute.

Lives here: the bucket of each key. Does not live here: refusing (`guard`), and what routes count besides (`throttle`
of ingest's accounts). Each process counts for itself, and a restart forgets: this stops a program that has run wild;
quotas stop what is dear.
"""

import math
import time
from collections.abc import Callable

REQUESTS_A_MINUTE = 600
KEYS_MAX = 4096
"""Only keys that exist are counted, and nobody has so many in use at once; past it, the one unused the longest goes."""

_MINUTE_NS = 60 * 10**9


class KeyRate:
    """A bucket for each key: a full one lets a minute's requests through at once, and one more every tenth of a second.

    Kept of a bucket is when it will be full again, in whole nanoseconds: 600 sums of 0.1 are not 60.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._full_at: dict[str, int] = {}
        """The key used last is the last one."""

    def wait_s(self, key_id: str) -> int:
        """Count a request and return 0, or return after how many seconds one counts again; a refused one costs none."""
        now = self._clock()
        full_at = max(self._full_at.pop(key_id, now), now)
        after = full_at + _MINUTE_NS // REQUESTS_A_MINUTE
        over_ns = after - now - _MINUTE_NS
        self._full_at[key_id] = full_at if over_ns > 0 else after
        if len(self._full_at) > KEYS_MAX:
            del self._full_at[next(iter(self._full_at))]
        return math.ceil(max(0, over_ns) / 10**9)

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._full_at)
