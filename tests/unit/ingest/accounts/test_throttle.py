"""Limits: who is refused, for how long, and that nobody is refused for ever."""

from dataclasses import dataclass

import pytest

from services.ingest.accounts import throttle
from services.ingest.accounts.throttle import (
    BATCH,
    LOGIN,
    REFRESH,
    SUBMIT,
    SWEEP_AT,
    TOTP,
    UPLOAD_CHUNK,
    UPLOAD_COMPLETE,
    UPLOAD_CREATE,
    Limit,
    Rate,
    Throttle,
)
from shared.problems import Problem

HERE, THERE = "192.0.2.7", "198.51.100.9"


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> Throttle:
    return Throttle(clock)


def refused_for(limits: Throttle, limit: Limit, *keys: str) -> int:
    """Return the Retry-After of the next try, 0 where it is let through."""
    try:
        limits.check(limit, *keys)
    except Problem as problem:
        refusal = problem
    else:
        return 0
    assert (refusal.status, refusal.code) == (429, "too_many_requests")
    assert refusal.headers is not None
    assert refusal.headers["Retry-After"] == str(refusal.extra["retry_after"])
    return int(refusal.headers["Retry-After"])


def let_through(limits: Throttle, limit: Limit, *keys: str, tries: int = 2000) -> int:
    """Return how many tries in a row are let through, up to `tries`."""
    return next((n for n in range(tries) if refused_for(limits, limit, *keys)), tries)


@pytest.mark.parametrize(
    ("limit", "per_user", "per_address"),
    [(SUBMIT, 10, 25), (BATCH, 5, 10), (UPLOAD_CREATE, 30, 60), (UPLOAD_CHUNK, 600, 1200), (UPLOAD_COMPLETE, 30, 60)],
)
def test_the_predecessors_limits_hold_for_a_user_and_for_an_address(
    limits: Throttle, limit: Limit, per_user: int, per_address: int
) -> None:
    assert let_through(limits, limit, "u_1", HERE) == per_user
    through = sum(let_through(limits, limit, f"u_{n}", HERE) for n in range(2, 20))
    assert through == per_address - per_user
    assert let_through(limits, limit, "u_1", THERE) == 0, "another address does not help a user"
    assert let_through(limits, limit, "u_99", THERE) == per_user


def test_a_moving_window_lets_one_in_for_each_that_leaves_it(limits: Throttle, clock: Clock) -> None:
    for _ in range(30):
        limits.check(REFRESH, HERE)
        clock.now += 1
    assert refused_for(limits, REFRESH, HERE) == 30
    clock.now += 30
    assert refused_for(limits, REFRESH, HERE) == 0
    assert refused_for(limits, REFRESH, HERE) == 1


def test_a_refused_try_is_not_counted(limits: Throttle, clock: Clock) -> None:
    assert let_through(limits, REFRESH, HERE) == 30
    for _ in range(100):
        assert refused_for(limits, REFRESH, HERE)
        clock.now += 0.5
    clock.now += 10
    assert let_through(limits, REFRESH, HERE) == 30


def test_failed_sign_ins_wait_longer_and_longer_up_to_15_minutes_and_never_for_ever(
    limits: Throttle, clock: Clock
) -> None:
    waits = []
    for _ in range(7):
        assert let_through(limits, LOGIN, "maria", HERE) == 5
        clock.now += 0.1
        waits.append(refused_for(limits, LOGIN, "maria", HERE))
        clock.now += waits[-1]
    assert waits == [60, 120, 240, 480, 900, 900, 900]
    clock.now += throttle.FORGIVEN_AFTER_S
    assert let_through(limits, LOGIN, "maria", HERE) == 5
    assert refused_for(limits, LOGIN, "maria", HERE) == 60, "who stayed away begins anew"


def test_nobody_is_locked_out_by_a_stranger_who_fails_elsewhere(limits: Throttle) -> None:
    assert let_through(limits, LOGIN, "maria", THERE) == 5
    assert refused_for(limits, LOGIN, "maria", THERE)
    assert refused_for(limits, LOGIN, "maria", HERE) == 0


def test_one_address_tries_20_passwords_a_minute_whatever_the_names(limits: Throttle) -> None:
    assert sum(let_through(limits, LOGIN, f"user{n}", HERE, tries=1) for n in range(100)) == 20


def test_many_addresses_try_20_passwords_of_one_name_a_minute(limits: Throttle) -> None:
    assert sum(let_through(limits, LOGIN, "maria", f"192.0.2.{n}", tries=1) for n in range(100)) == 20


def test_another_spelling_of_a_name_is_the_same_name(limits: Throttle) -> None:
    assert let_through(limits, LOGIN, "Maria", HERE) == 5
    assert refused_for(limits, LOGIN, "mARIA", HERE)


def test_an_ipv6_client_counts_as_its_network(limits: Throttle) -> None:
    assert sum(let_through(limits, REFRESH, f"2001:db8::{n:x}", tries=1) for n in range(100)) == 30
    assert refused_for(limits, REFRESH, "2001:db8:0:1::1") == 0


def test_who_succeeds_is_not_counted_at_the_address_and_starts_afresh(limits: Throttle) -> None:
    for _ in range(200):
        limits.check(LOGIN, "maria", HERE)
        limits.succeeded(LOGIN, "maria", HERE)
    for _ in range(4):
        limits.check(LOGIN, "maria", HERE)
    limits.check(LOGIN, "maria", HERE)
    limits.succeeded(LOGIN, "maria", HERE)
    assert let_through(limits, LOGIN, "maria", HERE) == 5


def test_ones_own_sign_ins_give_back_nothing_of_what_one_tried_on_others(limits: Throttle) -> None:
    tried = 0
    for n in range(100):
        tried += let_through(limits, LOGIN, f"victim{n}", HERE, tries=1)
        if refused_for(limits, LOGIN, "mallory", HERE) == 0:
            limits.succeeded(LOGIN, "mallory", HERE)
    assert tried == 20


def test_five_wrong_codes_are_all_that_a_stolen_password_is_good_for(limits: Throttle) -> None:
    assert sum(let_through(limits, TOTP, "u_1", f"192.0.2.{n}", tries=1) for n in range(50)) == 5
    assert refused_for(limits, TOTP, "u_1", HERE) == 60


def test_memory_is_bounded_and_what_is_idle_goes(limits: Throttle, clock: Clock) -> None:
    each = Limit("each", (Rate(1, (0,)),))
    for n in range(3 * SWEEP_AT):
        limits.check(each, f"k{n}")
        clock.now += 0.1
    assert len(limits) < 2 * SWEEP_AT


def test_names_that_are_refused_leave_nothing_behind(limits: Throttle) -> None:
    for n in range(1000):
        let_through(limits, LOGIN, f"name{n}", HERE, tries=1)
    assert len(limits) < 50


def test_past_the_bound_the_oldest_are_forgotten(limits: Throttle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "COUNTERS_MAX", 2 * SWEEP_AT)
    each = Limit("each", (Rate(1, (0,)),))
    for n in range(5 * SWEEP_AT):
        limits.check(each, f"k{n}")
    assert len(limits) <= 2 * SWEEP_AT
    assert refused_for(limits, each, f"k{5 * SWEEP_AT - 1}") == 60
