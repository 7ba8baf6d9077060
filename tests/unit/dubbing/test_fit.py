"""The fit ladder: gap, engine rate, gentle stretch, hard stretch, flag; never the scissors."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.dubbing.fit import (
    COMFORTABLE_BORROW_S,
    GUARD_S,
    MAX_ENGINE_RATE,
    MAX_STRETCH,
    MIN_ENGINE_RATE,
    MIN_STRETCH,
    Slot,
    place,
    plan_rate,
    plan_slots,
)


def slot(original_s: float, room_s: float, start: float = 10.0) -> Slot:
    """A line of `original_s` whose dub must end after `room_s`."""
    (first, _) = plan_slots(
        [(start, start + original_s), (start + room_s + GUARD_S, start + room_s + 9)], duration_s=99
    )
    return first


def test_a_slot_ends_before_the_next_line_and_the_last_one_with_the_media() -> None:
    first, last = plan_slots([(1.0, 3.0), (4.0, 6.0)], duration_s=6.2)
    assert first == Slot(1.0, 3.0, 3.5, 3.95)
    assert last == Slot(4.0, 6.0, 6.2, 6.2)


def test_touching_lines_still_leave_the_guard() -> None:
    first, _ = plan_slots([(1.0, 3.0), (3.0, 5.0)], duration_s=9)
    assert first.end == pytest.approx(2.95)


def test_lines_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="order"):
        plan_slots([(2.0, 3.0), (1.0, 2.0)], duration_s=9)


def test_a_take_of_the_original_length_is_left_as_spoken() -> None:
    placed = place(2.0, slot(2.0, 2.5))
    assert (placed.start, placed.end, placed.stretch, placed.fits) == (10.0, 12.0, 1.0, True)


def test_a_slightly_longer_take_borrows_the_gap_before_anything_else() -> None:
    comfortable = slot(2.0, 5.0)
    assert plan_rate(2.0 + COMFORTABLE_BORROW_S, comfortable) == 1.0
    assert place(2.0 + COMFORTABLE_BORROW_S, comfortable).stretch == 1.0


def test_a_longer_take_asks_the_engine_first() -> None:
    assert plan_rate(2.75, slot(2.0, 5.0)) == pytest.approx(1.1)
    assert plan_rate(9.0, slot(2.0, 5.0)) == MAX_ENGINE_RATE


def test_a_gain_nobody_hears_is_not_worth_a_new_take() -> None:
    assert plan_rate(2.5 * 1.03, slot(2.0, 5.0)) == 1.0


def test_with_room_to_spare_speech_is_not_hurried_beyond_gentle() -> None:
    placed = place(4.0, slot(2.0, 6.0))
    assert placed.stretch == pytest.approx(1.15)
    assert placed.fits


def test_a_take_the_engine_already_hurried_borrows_the_pause_instead() -> None:
    placed = place(4.0, slot(2.0, 6.0), engine_rate=1.15)
    assert placed.stretch == 1.0
    assert placed.fits


def test_without_room_the_stretch_goes_up_to_its_hard_limit() -> None:
    placed = place(3.0, slot(2.0, 2.4))
    assert placed.stretch == pytest.approx(1.25)
    assert placed.end == pytest.approx(12.4)
    assert placed.fits


def test_what_does_not_fit_keeps_every_sample_and_is_flagged() -> None:
    placed = place(5.0, slot(2.0, 2.4))
    assert placed.stretch == MAX_STRETCH
    assert placed.end - placed.start == pytest.approx(5.0 / MAX_STRETCH)
    assert not placed.fits


def test_a_short_take_is_slowed_a_little_and_the_rest_stays_silence() -> None:
    assert place(1.84, slot(2.0, 3.0)).stretch == pytest.approx(0.92)
    assert place(1.0, slot(2.0, 3.0)).stretch == MIN_STRETCH
    assert place(1.95, slot(2.0, 3.0)).stretch == 1.0


def test_a_line_that_starts_after_the_end_of_the_media_is_flagged_and_not_lost() -> None:
    (late,) = plan_slots([(12.0, 13.0)], duration_s=10.0)
    assert plan_rate(1.0, late) == MAX_ENGINE_RATE
    placed = place(1.0, late)
    assert not placed.fits
    assert placed.end > placed.start


@pytest.mark.parametrize(("natural_s", "rate"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0)])
def test_lengths_and_rates_are_positive(natural_s: float, rate: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        place(natural_s, slot(2.0, 3.0), engine_rate=rate)


lines = st.lists(
    st.tuples(st.floats(0, 3), st.floats(0.05, 9), st.floats(0.05, 20), st.floats(0.9, 1.15)), min_size=1, max_size=20
)


@given(lines, st.floats(0, 3))
def test_placements_start_on_their_line_stay_in_bounds_and_overlap_only_when_flagged(
    shape: list[tuple[float, float, float, float]], tail: float
) -> None:
    spans, clock = [], 0.0
    for gap, length, _, _ in shape:
        spans.append((clock + gap, clock + gap + length))
        clock += gap + length
    slots = plan_slots(spans, duration_s=clock + tail)
    placed = [place(natural, room, engine_rate=rate) for (_, _, natural, rate), room in zip(shape, slots, strict=True)]
    for (start, _), (_, _, natural, _), room, one in zip(spans, shape, slots, placed, strict=True):
        assert one.start == start
        assert MIN_STRETCH <= one.stretch <= MAX_STRETCH
        assert (one.end - one.start) * one.stretch == pytest.approx(natural)
        assert plan_rate(natural, room) == 1.0 or MIN_ENGINE_RATE <= plan_rate(natural, room) <= MAX_ENGINE_RATE
        assert one.fits or one.stretch == MAX_STRETCH
        assert one.stretch <= 1.0 or natural > room.comfortable_end - room.start - 1e-9
    for earlier, later in pairwise(placed):
        assert not earlier.fits or earlier.end <= later.start - GUARD_S + 1e-5
    assert not placed[-1].fits or placed[-1].end <= clock + tail + 1e-5
