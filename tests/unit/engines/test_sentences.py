"""How a segment is cut into the sentences that the neural translator takes one at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.engines.sentences import MAX_WORDS, sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \n ", []),
        ("One sentence only", ["One sentence only"]),
        ("Hello. How are you? Fine!", ["Hello.", "How are you?", "Fine!"]),
        ('He said "Go!" Then he left.', ['He said "Go!"', "Then he left."]),
        ("It costs 3.5 dollars. 20 is too much.", ["It costs 3.5 dollars.", "20 is too much."]),
        ("Mr. Smith met Dr. Jones in D.C. Yesterday.", ["Mr. Smith met Dr. Jones in D.C. Yesterday."]),
        ("Wait... what? no way", ["Wait... what? no way"]),
        ("Está bem. É tarde.", ["Está bem.", "É tarde."]),
    ],
)
def test_a_text_is_cut_where_a_sentence_ends(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_a_sentence_without_end_is_cut_after_a_comma() -> None:
    words = ["word"] * 40 + ["comma,"] + ["word"] * 40
    assert [len(piece.split()) for piece in sentences(" ".join(words))] == [41, 40]


@given(st.text(alphabet="ab A.!? ,\n\"'(É1", max_size=300))
def test_no_word_is_lost_added_or_moved(text: str) -> None:
    assert " ".join(sentences(text)).split() == text.split()


@given(st.lists(st.sampled_from(["word", "comma,", "End.", "Next"]), max_size=300))
def test_no_piece_is_longer_than_the_model_takes(words: list[str]) -> None:
    assert all(len(piece.split()) <= MAX_WORDS for piece in sentences(" ".join(words)))
