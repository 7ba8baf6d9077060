"""A dub starts where the original voice starts, not where the recogniser heard it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.worker.dubbing.onset import MIN_SEGMENT_S, SAMPLE_RATE, WINDOW_S, frame_levels, refine_onsets
from shared.manifests import Segment, Word


def recording(*voiced: tuple[float, float], length_s: float = 10.0, noise: float = 1e-3) -> NDArray[np.float32]:
    """Noise with louder noise where somebody speaks."""
    source = np.random.default_rng(7).standard_normal(round(length_s * SAMPLE_RATE))
    level = np.full(source.shape, noise)
    for start, end in voiced:
        level[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = 0.1
    pcm: NDArray[np.float32] = (source * level).astype(np.float32)
    return pcm


def line(start: float, end: float, index: int = 0) -> Segment:
    middle = (start + end) / 2
    words = [
        Word(start=start, end=middle, text=" a", probability=1),
        Word(start=middle, end=end, text=" b.", probability=1),
    ]
    return Segment(index=index, start=start, end=end, text="a b.", words=words, avg_logprob=-0.1)


@pytest.mark.parametrize("error", [-0.3, -0.1, 0.0, 0.12, 0.3])
def test_start_and_end_snap_to_the_sound(error: float) -> None:
    (moved,) = refine_onsets([line(2.0 + error, 4.0 - error)], recording((2.0, 4.0)))
    assert moved.start == pytest.approx(2.0, abs=0.02)
    assert moved.end == pytest.approx(4.0, abs=0.02)
    assert (moved.words[0].start, moved.words[-1].end) == (moved.start, moved.end)
    assert all(moved.start <= word.start <= word.end <= moved.end for word in moved.words)


def test_digital_silence_is_a_floor_too() -> None:
    (moved,) = refine_onsets([line(2.2, 3.9)], recording((2.0, 4.0), noise=0.0))
    assert moved.start == pytest.approx(2.0, abs=0.02)


def test_an_edit_from_digital_silence_to_room_noise_is_no_onset() -> None:
    """Spliced recordings: the room begins before the reader does."""
    spliced = recording((2.0, 4.0), noise=5e-3)
    spliced[: round(1.75 * SAMPLE_RATE)] = 0.0
    (moved,) = refine_onsets([line(1.76, 3.9)], spliced)
    assert moved.start == pytest.approx(2.0, abs=0.02)


def test_the_pause_inside_a_plosive_is_no_onset() -> None:
    (moved,) = refine_onsets([line(2.2, 3.9)], recording((2.0, 2.2), (2.25, 4.0)))
    assert moved.start == pytest.approx(2.0, abs=0.02)


def test_a_click_is_no_onset() -> None:
    (moved,) = refine_onsets([line(2.0, 3.9)], recording((1.8, 1.82), (2.1, 4.0)))
    assert moved.start == pytest.approx(2.1, abs=0.02)


@pytest.mark.parametrize(
    "pcm",
    [recording(noise=0.1), recording((0.0, 10.0)), recording(noise=0.0), np.zeros(0, dtype=np.float32)],
    ids=["noise only", "unbroken speech", "silence", "no sound at all"],
)
def test_without_a_clear_onset_times_stay(pcm: NDArray[np.float32]) -> None:
    (same,) = refine_onsets([line(2.0, 4.0)], pcm)
    assert same.start == 2.0


def test_an_onset_too_far_away_is_not_taken() -> None:
    (same,) = refine_onsets([line(2.0, 5.0)], recording((2.0 + WINDOW_S + 0.1, 5.0)))
    assert same.start == 2.0


def test_touching_lines_share_the_pause_between_them() -> None:
    first, second = refine_onsets([line(1.0, 3.1), line(3.1, 5.0, 1)], recording((1.0, 2.9), (3.2, 5.0)))
    assert first.end == pytest.approx(2.9, abs=0.02)
    assert second.start == pytest.approx(3.2, abs=0.02)


def test_a_start_that_moves_back_takes_the_end_before_it_along() -> None:
    first, second = refine_onsets([line(1.0, 3.3), line(3.3, 5.0, 1)], recording((1.0, 2.7), (3.0, 5.0)))
    assert second.start == pytest.approx(3.0, abs=0.02)
    assert first.end <= second.start


def test_stereo_is_refused() -> None:
    with pytest.raises(ValueError, match="mono"):
        refine_onsets([], np.zeros((10, 2), dtype=np.float32))


def test_levels_are_decibels_of_full_scale_per_10_ms() -> None:
    levels = frame_levels(np.concatenate((np.full(160, 0.1), np.zeros(160), np.ones(80))).astype(np.float32))
    assert levels == pytest.approx([-20.0, -120.0], abs=1e-4)


@given(
    st.lists(st.tuples(st.floats(0.0, 0.6), st.floats(MIN_SEGMENT_S, 2.0)), min_size=1, max_size=5),
    st.lists(st.tuples(st.floats(0, 9), st.floats(0.05, 2)), max_size=6),
)
def test_lines_never_cross_and_starts_never_leave_the_window(
    shape: list[tuple[float, float]], sounds: list[tuple[float, float]]
) -> None:
    lines, clock = [], 0.0
    for index, (gap, length) in enumerate(shape):
        lines.append(line(clock + gap, clock + gap + length, index))
        clock += gap + length
    moved = refine_onsets(lines, recording(*((start, start + length) for start, length in sounds), length_s=13.5))
    clock = 0.0
    for before, after in zip(lines, moved, strict=True):
        assert clock <= after.start < after.end
        assert abs(after.start - before.start) <= WINDOW_S + 1e-9
        assert after.end <= before.end + WINDOW_S + 1e-9
        assert after.text == before.text
        clock = after.end
