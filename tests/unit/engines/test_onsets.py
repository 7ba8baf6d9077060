"""Words start and stop where the voice does."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.worker.engines.onsets import MAX_SHIFT_S, snap_words
from services.worker.engines.protocols import Word


def word(start: float, end: float, text: str = " x") -> Word:
    return Word(start, end, text, 1.0)


def times(words: list[Word]) -> list[tuple[float, float]]:
    return [(each.start, each.end) for each in words]


def test_the_edges_of_each_run_of_words_move_to_the_edges_of_its_speech():
    words = [word(2.74, 3.2), word(3.2, 4.5), word(5.36, 5.8), word(5.8, 6.84)]

    snapped = snap_words(words, [(3.04, 4.67), (5.44, 7.07)])

    assert times(snapped) == [(3.04, 3.2), (3.2, 4.67), (5.44, 5.8), (5.8, 7.07)]


def test_a_word_far_from_the_edge_stays():
    assert times(snap_words([word(5.0, 5.5)], [(3.0, 8.0)])) == [(5.0, 5.5)]


def test_a_word_outside_all_speech_stays():
    assert times(snap_words([word(1.0, 1.5)], [(3.0, 8.0)])) == [(1.0, 1.5)]
    assert times(snap_words([word(1.0, 1.5)], [])) == [(1.0, 1.5)]


def test_a_word_that_reaches_into_the_next_speech_ends_before_it():
    snapped = snap_words([word(1.0, 2.3), word(2.3, 3.0)], [(1.0, 1.6), (2.1, 3.0)])

    assert times(snapped) == [(1.0, 2.1), (2.1, 3.0)]


def intervals(count: int) -> st.SearchStrategy[list[tuple[float, float]]]:
    """Disjoint intervals in order, from gaps and lengths."""
    sizes = st.lists(st.tuples(st.floats(0.01, 2), st.floats(0.02, 3)), min_size=0, max_size=count)

    def lay(pairs: list[tuple[float, float]]) -> list[tuple[float, float]]:
        laid, at = [], 0.0
        for gap, length in pairs:
            laid.append((at + gap, at + gap + length))
            at += gap + length
        return laid

    return sizes.map(lay)


@given(intervals(12), intervals(8))
def test_whatever_comes_words_keep_their_text_order_and_length_above_zero(spans, regions):
    words = [word(start, end, f" {index}") for index, (start, end) in enumerate(spans)]

    snapped = snap_words(words, regions)

    assert [each.text for each in snapped] == [each.text for each in words]
    assert all(each.start < each.end for each in snapped)
    assert all(before.end <= after.start for before, after in pairwise(snapped))
    assert all(abs(new.start - old.start) <= MAX_SHIFT_S for new, old in zip(snapped, words, strict=True))
