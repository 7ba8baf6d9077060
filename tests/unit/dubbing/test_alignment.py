"""Laying a recogniser's English onto the segments of the transcript: by time, and without losing a word."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.worker.dubbing.alignment import Timed, by_clause, onto_segments

SPANS = [(0.0, 2.0), (2.0, 4.0), (5.0, 8.0)]


def test_a_chunk_goes_to_the_segment_that_it_overlaps_most() -> None:
    assert onto_segments([Timed(1.5, 4.0, "Hello there.")], SPANS) == ["", "Hello there.", ""]


def test_the_sentences_of_one_chunk_are_shared_out_by_their_length() -> None:
    assert onto_segments([Timed(0.0, 4.0, "One two three. Two three four.")], SPANS) == [
        "One two three.",
        "Two three four.",
        "",
    ]


def test_two_lines_that_came_back_as_one_sentence_are_cut_at_its_comma() -> None:
    said = [Timed(0.0, 4.0, "We visit my grandmother, the dog is in the garden.")]
    assert onto_segments(said, SPANS) == ["We visit my grandmother,", "the dog is in the garden.", ""]


def test_several_chunks_on_one_segment_keep_their_order() -> None:
    assert onto_segments([Timed(5.0, 6.0, "First."), Timed(6.0, 7.0, "Second.")], SPANS)[2] == "First. Second."


def test_a_chunk_in_a_pause_goes_to_the_nearest_segment() -> None:
    assert onto_segments([Timed(4.6, 4.7, "Near.")], SPANS) == ["", "", "Near."]
    assert onto_segments([Timed(90.0, 91.0, "Late.")], SPANS) == ["", "", "Late."]


def test_a_tie_goes_to_the_earlier_segment() -> None:
    assert onto_segments([Timed(1.0, 3.0, "Both.")], SPANS) == ["Both.", "", ""]


def test_a_chunk_without_length_or_text_is_no_obstacle() -> None:
    assert onto_segments([Timed(3.0, 3.0, "Now. Then."), Timed(0.0, 1.0, " ")], SPANS) == ["", "Now. Then.", ""]


def test_a_clause_gets_time_in_proportion_to_its_letters() -> None:
    parts = by_clause([Timed(0.0, 5.0, "Abc. Defghijklmnopqr.")])
    assert parts == [Timed(0.0, 1.0, "Abc."), Timed(1.0, 5.0, "Defghijklmnopqr.")]


seconds = st.floats(0.0, 60.0)
chunk_lists = st.lists(
    st.builds(
        lambda start, length, text: Timed(start, start + length, text),
        seconds,
        st.floats(0.0, 30.0),
        st.text(alphabet="abC .!?,", max_size=60),
    ),
    max_size=8,
)
span_lists = st.lists(seconds, min_size=2, max_size=10, unique=True).map(lambda cuts: list(pairwise(sorted(cuts))))


@given(chunk_lists, span_lists)
def test_every_word_goes_to_exactly_one_segment(chunks: list[Timed], spans: list[tuple[float, float]]) -> None:
    said = sorted(word for chunk in chunks for word in chunk.text.split())
    laid = onto_segments(chunks, spans)
    assert len(laid) == len(spans)
    assert sorted(word for text in laid for word in text.split()) == said
