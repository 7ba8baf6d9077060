"""How often somebody may try: moving windows in memory, and for guessable secrets a wait that grows.

Lives here: the limits, one constant each, and counting. Ingest is one process, so memory is enough; a restart forgets.
Does not live here: quotas of jobs and bytes (the scheduler's and the uploads').

Time is monotonic: a clock that is set back must not become a lock for ever, which it does with the `limits` library's
memory storage. That one also keeps every key that it ever saw, and cannot give back the try of one who succeeded.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from shared.problems import Problem

MINUTE_S = 60.0
BACKOFF_FIRST_S = 60.0
BACKOFF_LONGEST_S = 900.0
"""Never a permanent lock (reference: accounts and credentials): 1, 2, 4, 8, 15 minutes, and 15 again."""
FORGIVEN_AFTER_S = 3600.0
"""Who stays away for so long after a wait begins again with the shortest."""
COUNTERS_MAX = 50_000
SWEEP_AT = 4096
IPV6_SITE_BITS = 64
"""What one subscriber gets at least: single addresses of it cost nothing."""


@dataclass(frozen=True)
class Rate:
    """At most `amount` a minute for the same keys at these positions; `backoff`: past it, a wait that grows."""

    amount: int
    of: tuple[int, ...]
    backoff: bool = False


@dataclass(frozen=True)
class Limit:
    """What is limited. The keys that `Throttle.check` is given stand in the order that the rates count them in."""

    name: str
    rates: tuple[Rate, ...]


def _user_and_address(name: str, per_user: int, per_address: int) -> Limit:
    return Limit(name, (Rate(per_user, (0,)), Rate(per_address, (1,))))


def _address(name: str, amount: int) -> Limit:
    return Limit(name, (Rate(amount, (0,)),))


# The predecessor's values, a minute, unless a line says otherwise.

LOGIN = Limit("login", (Rate(5, (0, 1), backoff=True), Rate(20, (0,)), Rate(20, (1,))))
"""Keys: name as typed, address. The predecessor's 5 for either let anybody lock a name out; 5 for the pair do not. What
one address or one name may do altogether is 20 failures."""
CONFIRM = Limit("confirm", (Rate(5, (0,), backoff=True),))
"""Key: user, whose session is at hand already."""
TOTP = Limit("totp", (Rate(5, (0,), backoff=True), Rate(20, (1,))))
"""Keys: user, address. Who gets here knows the password, so six digits are all that is left to guess."""
SETUP = _address("setup", 5)
REFRESH = _address("refresh", 30)
"""The predecessor's 5 are too few for several programs behind one address; what is guessed here has 256 bits."""
QR_START = _address("qr.start", 10)
QR_POLL = _address("qr.poll", 60)
"""A waiting device asks 12 times a minute (RFC 8628's interval of 5 s); several may wait behind one address."""
QR_APPROVE = Limit("qr.approve", (Rate(10, (0,)),))
"""Key: the user who types the code."""
OIDC = _address("oidc", 20)
FACTORS = Limit("factors", (Rate(10, (0,)),))
"""Key: the user who begins a second factor or renews recovery codes, with their proof at hand."""
INVITE_CREATE = _user_and_address("invite.create", 20, 60)
INVITE_REDEEM = Limit("invite.redeem", (Rate(5, (0,)), Rate(10, (1,))))
"""Keys: the token's digest, address."""
KEY_CREATE = Limit("key.create", (Rate(10, (0,)),))
UPLOAD_CREATE = _user_and_address("upload.create", 30, 60)
UPLOAD_CHUNK = _user_and_address("upload.chunk", 600, 1200)
"""Of either protocol; in chunks of 5 MiB, 600 are 50 MB a second. A client of tus may send a whole film in one."""
UPLOAD_COMPLETE = _user_and_address("upload.complete", 30, 60)
SUBMIT = _user_and_address("submit", 10, 25)
ESTIMATE = _user_and_address("estimate", 30, 60)
"""Of a video that is there, each one costs a look into it."""
BATCH = _user_and_address("batch", 5, 10)


@dataclass
class _Counter:
    tries: deque[float] = field(default_factory=deque)
    strikes: int = 0
    blocked_until: float = 0.0

    def expire(self, now: float) -> None:
        while self.tries and self.tries[0] <= now - MINUTE_S:
            self.tries.popleft()
        if self.strikes and now >= self.blocked_until + FORGIVEN_AFTER_S:
            self.strikes = 0

    @property
    def idle(self) -> bool:
        return not self.tries and not self.strikes

    def wait_s(self, rate: Rate, now: float) -> float:
        """Return how long until another try; a try too many begins a longer wait where the rate says so."""
        if now < self.blocked_until:
            return self.blocked_until - now
        if len(self.tries) < rate.amount:
            return 0.0
        if not rate.backoff:
            return self.tries[0] + MINUTE_S - now
        self.strikes += 1
        wait_s: float = min(BACKOFF_FIRST_S * 2 ** (self.strikes - 1), BACKOFF_LONGEST_S)
        self.blocked_until = now + wait_s
        self.tries.clear()
        return wait_s


class Throttle:
    """Counts tries. `clock` is monotonic seconds. May be asked from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counters: dict[tuple[str, ...], _Counter] = {}
        self._sweep_at = SWEEP_AT
        self._lock = threading.Lock()

    def check(self, limit: Limit, *keys: str) -> None:
        """Count a try, or refuse it: before any hashing or reading, so that a refusal costs nothing.

        Raises Problem 429 `too_many_requests` with Retry-After. A refused try is not counted, so waiting is enough.
        """
        now = self._clock()
        counted = list(_keys(limit, keys))
        with self._lock:
            wait_s = max(self._wait_s(rate, key, now) for rate, key in counted)
            if wait_s <= 0:
                for _, key in counted:
                    self._made(key, now).tries.append(now)
                return
        seconds = math.ceil(wait_s)
        detail = f"Too many requests. Try again in {seconds} seconds."
        headers = {"Retry-After": str(seconds)}
        raise Problem(429, "too_many_requests", detail, headers=headers, limit=limit.name, retry_after=seconds)

    def succeeded(self, limit: Limit, *keys: str) -> None:
        """Give back the try of one who proved who they are, and end their growing waits: only failures count."""
        with self._lock:
            for rate, key in _keys(limit, keys):
                counter = self._counters.get(key)
                if counter is not None and rate.backoff:
                    del self._counters[key]
                elif counter is not None and counter.tries:
                    counter.tries.pop()

    def __len__(self) -> int:
        """How many keys are remembered now."""
        return len(self._counters)

    def _wait_s(self, rate: Rate, key: tuple[str, ...], now: float) -> float:
        counter = self._counters.get(key)
        if counter is None:
            return 0.0
        counter.expire(now)
        return counter.wait_s(rate, now)

    def _made(self, key: tuple[str, ...], now: float) -> _Counter:
        if key not in self._counters and len(self._counters) >= self._sweep_at:
            self._sweep(now)
        return self._counters.setdefault(key, _Counter())

    def _sweep(self, now: float) -> None:
        for key, counter in list(self._counters.items()):
            counter.expire(now)
            if counter.idle:
                del self._counters[key]
        while len(self._counters) > COUNTERS_MAX // 2:
            del self._counters[next(iter(self._counters))]  # the one that was made first
        self._sweep_at = max(SWEEP_AT, 2 * len(self._counters))


def _keys(limit: Limit, keys: tuple[str, ...]) -> Iterator[tuple[Rate, tuple[str, ...]]]:
    for rate in limit.rates:
        yield rate, (limit.name, *(f"{at}:{_site(keys[at])}" for at in rate.of))


def _site(key: str) -> str:
    """Return what a key counts as: an IPv6 address as its network, a name without regard to case."""
    if ":" not in key:
        return key.casefold()
    try:
        address = ip_address(key)
    except ValueError:
        return key.casefold()
    return key if address.version == 4 else str(ip_network((address, IPV6_SITE_BITS), strict=False))
