"""The original goes down before the dub speaks, stays down between sentences, and comes back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.dubbing.ducking import DEPTH_DB, gain_envelope, merge_spans

RATE = 1_000
"""A low sample rate: sample indices read as milliseconds."""


def test_the_shape_of_one_duck() -> None:
    gain = gain_envelope([(2.0, 3.0)], 0, 5 * RATE, sample_rate=RATE)
    low = 10 ** (DEPTH_DB / 20)
    assert gain.dtype == np.float32
    assert gain[:1851] == pytest.approx(1.0)
    assert gain[1900:3001] == pytest.approx(low)
    assert gain[3351:] == pytest.approx(1.0)
    assert np.all(np.diff(gain[1850:1901]) < 0)
    assert np.all(np.diff(gain[3000:3351]) > 0)


def test_the_bed_does_not_pump_between_two_sentences() -> None:
    gain = gain_envelope([(1.0, 2.0), (2.55, 3.0)], 0, 4 * RATE, sample_rate=RATE)
    assert gain[1000:3000] == pytest.approx(10 ** (DEPTH_DB / 20))


def test_the_bed_comes_back_in_a_real_pause() -> None:
    gain = gain_envelope([(1.0, 2.0), (3.0, 4.0)], 0, 5 * RATE, sample_rate=RATE)
    assert gain[2400:2800] == pytest.approx(1.0)


def test_speech_at_the_very_start_is_ducked_from_the_first_sample() -> None:
    assert gain_envelope([(0.0, 1.0)], 0, 1, sample_rate=RATE)[0] == pytest.approx(10 ** (DEPTH_DB / 20))


def test_without_speech_nothing_is_ducked() -> None:
    assert np.array_equal(gain_envelope([], 7, 100, sample_rate=RATE), np.ones(100, dtype=np.float32))


def test_spans_are_merged_in_order_and_empty_ones_dropped() -> None:
    assert merge_spans([(5, 6), (1, 4), (2, 3), (4.5, 4.5), (4.2, 4.3)], gap_s=0.5) == [(1, 4.3), (5, 6)]


@pytest.mark.parametrize("wrong", [{"attack_s": 0.0}, {"attack_s": 0.2}, {"release_s": 0.0}, {"depth_db": 3.0}])
def test_impossible_ramps_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="attack_s"):
        gain_envelope([(0, 1)], 0, 10, sample_rate=RATE, **wrong)


spans = st.lists(st.tuples(st.floats(0, 9), st.floats(0.01, 3)).map(lambda span: (span[0], sum(span))), max_size=8)


@given(spans, st.lists(st.integers(1, 10_000), min_size=1, max_size=12))
def test_the_envelope_does_not_depend_on_the_blocks(shape: list[tuple[float, float]], sizes: list[int]) -> None:
    whole = gain_envelope(shape, 0, sum(sizes), sample_rate=8_000)
    firsts = np.cumsum([0, *sizes[:-1]])
    blocks = [
        gain_envelope(shape, int(first), size, sample_rate=8_000) for first, size in zip(firsts, sizes, strict=True)
    ]
    assert np.array_equal(np.concatenate(blocks), whole)


@given(spans)
def test_the_gain_stays_between_depth_and_one_and_is_down_under_all_speech(shape: list[tuple[float, float]]) -> None:
    gain = gain_envelope(shape, 0, 14 * RATE, sample_rate=RATE)
    low = 10 ** (DEPTH_DB / 20)
    assert gain.min() >= low - 1e-6
    assert gain.max() <= 1.0
    for start, end in shape:
        assert gain[int(np.ceil(start * RATE)) : int(end * RATE)] == pytest.approx(low, abs=1e-6)
    assert np.abs(np.diff(gain)).max() < 0.05, "a jump would click"
