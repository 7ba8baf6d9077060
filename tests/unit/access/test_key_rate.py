"""What one API key may ask: a minute's requests at once, then ten a second, for ever."""

from dataclasses import dataclass

from shared.access.key_rate import KEYS_MAX, REQUESTS_A_MINUTE, KeyRate

SECOND = 10**9


@dataclass
class Clock:
    now: int = 5_000 * SECOND

    def __call__(self) -> int:
        return self.now


def let_through(rate: KeyRate, key_id: str = "a", tries: int = 10_000) -> int:
    """Return how many requests in a row are let through."""
    return next((number for number in range(tries) if rate.wait_s(key_id)), tries)


def test_a_full_bucket_lets_600_through_and_not_one_more() -> None:
    rate = KeyRate(Clock())
    assert REQUESTS_A_MINUTE == 600
    assert let_through(rate) == 600
    assert rate.wait_s("a") == 1
    assert let_through(rate, "another") == 600


def test_one_more_is_let_through_every_tenth_of_a_second_until_it_is_full() -> None:
    clock = Clock()
    rate = KeyRate(clock)
    let_through(rate)
    clock.now += SECOND // 10 - 1
    assert rate.wait_s("a") == 1
    clock.now += 1
    assert let_through(rate) == 1
    clock.now += 7 * SECOND
    assert let_through(rate) == 70
    clock.now += 3600 * SECOND
    assert let_through(rate) == 600, "an idle hour is worth no more than a minute"


def test_who_is_refused_and_asks_on_waits_no_longer() -> None:
    clock = Clock()
    rate = KeyRate(clock)
    let_through(rate)
    for _ in range(1000):
        assert rate.wait_s("a") == 1
    clock.now += SECOND
    assert let_through(rate) == 10


def test_ten_a_second_go_through_for_ever() -> None:
    clock = Clock()
    rate = KeyRate(clock)
    for _ in range(3600 * 10):
        assert rate.wait_s("a") == 0
        clock.now += SECOND // 10


def test_so_many_keys_are_remembered_and_the_one_that_is_unused_the_longest_goes() -> None:
    rate = KeyRate(Clock())
    let_through(rate, "first")
    let_through(rate, "busy")
    for number in range(KEYS_MAX - 1):
        rate.wait_s(f"k{number}")
        assert rate.wait_s("busy") == 1
    assert len(rate) == KEYS_MAX
    assert let_through(rate, "first") == 600, "it was forgotten, and is full again"
