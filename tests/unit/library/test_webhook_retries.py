"""What follows an attempt: the schedule, what a receiver may ask for, and when it is over."""

from datetime import UTC, datetime

import pytest

from services.library.webhooks.retries import BACKOFF_S, DAY, HOUR, JITTER, Outcome, Schedule, judge
from services.library.webhooks.sender import retry_after_s

EXACT = Schedule(jitter=lambda: 1.0)
DOWN = Outcome(None, "ConnectError", 1)


def test_the_delays_are_the_documented_ones_and_then_it_is_given_up() -> None:
    delays = [judge(DOWN, tries, 0.0, EXACT).next_at for tries in range(1, len(BACKOFF_S) + 1)]
    assert delays == [5, 60, 300, 1800, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR]
    assert judge(DOWN, len(BACKOFF_S) + 1, 0.0, EXACT).state == "failed"


def test_delays_are_spread() -> None:
    delays = {judge(DOWN, 2, 0.0, Schedule()).next_at for _ in range(50)}
    assert len(delays) > 1
    assert all(60 * (1 - JITTER) <= (delay or 0) <= 60 * (1 + JITTER) for delay in delays)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_a_delivery(status: int) -> None:
    assert judge(Outcome(status, None, 1), 1, 0.0, EXACT).state == "delivered"


@pytest.mark.parametrize("status", [100, 199, 301, 302, 307, 400, 401, 404, 429, 500, 503])
def test_every_other_status_is_tried_again(status: int) -> None:
    assert judge(Outcome(status, "no", 1), 1, 0.0, EXACT).state == "pending"


def test_gone_is_the_end_and_a_test_is_sent_once() -> None:
    assert judge(Outcome(410, "gone", 1), 1, 0.0, EXACT).state == "failed"
    assert judge(DOWN, 1, 0.0, EXACT, once=True).state == "failed"


def test_a_receiver_may_ask_for_more_time_but_at_most_a_day() -> None:
    busy = Outcome(503, "busy", 1, retry_after_s=120)
    assert judge(busy, 1, 0.0, EXACT).next_at == 120
    assert judge(busy, 3, 0.0, EXACT).next_at == 300  # never sooner than the schedule
    assert judge(Outcome(503, "busy", 1, retry_after_s=1e9), 1, 0.0, EXACT).next_at == DAY


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None), ("", None), ("0", 0.0), (" 120 ", 120.0), ("9" * 400, 999999999.0), ("-1", None), ("1.5", None),
        ("soon", None), ("Fri, 02 Jan 2026 03:05:00 GMT", 60.0), ("Fri, 02 Jan 2026 03:03:00 GMT", 0.0),
        ("Fri, 02 Jan 2026 03:05:00 -0000", 60.0), ("\u0661", None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, datetime(2026, 1, 2, 3, 4, tzinfo=UTC)) == seconds
