"""Lines to dub: about a sentence, never a subtitle."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.dubbing.segmentation import (
    MAX_S,
    MAX_WORD_S,
    RecognisedRun,
    ends_sentence,
    repair_times,
    segment_words,
)
from shared.manifests import Segment, Word


def spoken(text: str, *, start: float = 0.0, word_s: float = 0.3, pause_s: float = 0.0) -> list[Word]:
    """Words as Whisper gives them for a spaced language: a leading space, evenly timed, a pause after full stops."""
    words = []
    for piece in text.split():
        words.append(Word(start=start, end=start + word_s, text=f" {piece}", probability=0.9))
        start += word_s + (pause_s if piece[-1] in ".!?" else 0.0)
    return words


def segmented(words: list[Word], *, logprob: float = -0.2, duration_s: float = 10_000.0) -> list[Segment]:
    return segment_words([RecognisedRun(words, logprob)], duration_s=duration_s)


def test_36_sentences_stay_36_lines_and_not_489() -> None:
    sentence = "The quick brown fox jumps over the lazy dog near the river bank today."
    lines = segmented(spoken(" ".join([sentence] * 36), pause_s=0.3))
    assert [line.text for line in lines] == [sentence] * 36
    assert [line.index for line in lines] == list(range(36))


def test_japanese_is_not_zero_words() -> None:
    sentences = ["今日はいい天気ですね。", "公園まで散歩に行きましょう。"]
    words, clock = [], 0.0
    for char in "".join(sentences):
        words.append(Word(start=clock, end=clock + 0.2, text=char, probability=0.9))
        clock += 0.2 if char != "。" else 0.8
    lines = segmented(words)
    assert [line.text for line in lines] == sentences
    assert sum(len(line.words) for line in lines) == len("".join(sentences))


def test_chinese_sentences_end_at_full_width_marks() -> None:
    text = "你今天过得怎么样？我很好，谢谢你！我们明天早上再见面吧。"  # noqa: RUF001 -- full-width marks are meant
    words = [Word(start=i * 0.3, end=i * 0.3 + 0.3, text=char, probability=1) for i, char in enumerate(text)]
    assert "".join(line.text for line in segmented(words)) == text
    assert all(line.text[-1] in "？！。" for line in segmented(words))  # noqa: RUF001 -- full-width marks are meant


def test_a_long_sentence_breaks_at_its_comma() -> None:
    text = (
        "When the rain had stopped at last and the sky was clear, we all went down to the old harbour to look at ships."
    )
    first, second = segmented(spoken(text, word_s=0.45))
    assert first.text.endswith("clear,")
    assert second.text.startswith("we all")


def test_speech_without_punctuation_breaks_at_its_pauses() -> None:
    words = spoken("so we went on and on for a while", word_s=0.4)
    words += spoken("then nobody said a word until we came home", start=words[-1].end + 0.8, word_s=0.4)
    assert [line.text for line in segmented(words)] == [
        "so we went on and on for a while",
        "then nobody said a word until we came home",
    ]


def test_a_line_does_not_talk_through_a_long_silence() -> None:
    words = spoken("I think that", word_s=0.4) + spoken("you should go.", start=3.5, word_s=0.4)
    assert len(segmented(words)) == 2


def test_a_one_word_answer_joins_its_neighbour() -> None:
    words = spoken("Yes. I will come with you tomorrow morning.", word_s=0.3)
    assert [line.text for line in segmented(words)] == ["Yes. I will come with you tomorrow morning."]


def test_a_decimal_number_and_a_contraction_are_not_torn() -> None:
    text = [" It", " costs", " about", " 3", ".5", " million", " and", " we", " don", "'t", " have", " that"] * 6
    words = [Word(start=i * 0.4, end=i * 0.4 + 0.4, text=piece, probability=1) for i, piece in enumerate(text)]
    lines = segmented(words)
    assert len(lines) > 1
    assert all(line.words[0].text.startswith(" ") for line in lines)


@pytest.mark.parametrize("word", [" end.", " what?", " ende.»", " 終わり。", " well…", ' done."', " no."])
def test_sentence_ends(word: str) -> None:
    assert ends_sentence(word)


@pytest.mark.parametrize("word", [" Dr.", " J.", " vs.", " word", " and,", " Sra.", " (Mr.", ""])
def test_abbreviations_and_commas_end_no_sentence(word: str) -> None:
    assert not ends_sentence(word)


def test_confidence_is_carried_from_the_runs_in_proportion_to_words() -> None:
    one = RecognisedRun(spoken("Good morning to all", word_s=0.3), -0.2)
    other = RecognisedRun(spoken("of you, dear friends.", start=1.2, word_s=0.3), -0.6)
    (line,) = segment_words([one, other], duration_s=5)
    assert line.avg_logprob == pytest.approx(-0.4)


def test_no_words_give_no_lines() -> None:
    assert segment_words([], duration_s=5) == []
    assert segmented([Word(start=0, end=1, text="  ", probability=0)]) == []


def test_a_file_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        segment_words([], duration_s=0)


def test_one_wild_time_stamp_does_not_move_the_others() -> None:
    words = spoken("one two three four five six")
    words[2] = words[2].model_copy(update={"start": 900.0, "end": 901.0})
    repaired = repair_times(words, duration_s=1_000)
    assert [word.start for word in repaired[3:]] == pytest.approx([word.start for word in words[3:]])
    assert words[1].start < repaired[2].start < words[3].start


def test_a_word_that_swallowed_the_silence_before_it_is_cut_back_to_its_end() -> None:
    words = [*spoken("well"), Word(start=0.3, end=8.0, text=" then", probability=1)]
    repaired = repair_times(words, duration_s=10)
    assert repaired[1].end == 8.0
    assert repaired[1].start == pytest.approx(8.0 - MAX_WORD_S)


times = st.floats(-5, 70) | st.sampled_from([0.0, 1.0, math.inf, -math.inf, math.nan])
absurd_words = st.lists(
    st.builds(
        Word,
        start=times,
        end=times,
        text=st.sampled_from([" a", " the", " end.", " so,", "です", "。", "-", "'s", " Well", "  ", " 3"]),
        probability=st.just(0.5),
    ),
    max_size=60,
)


@given(absurd_words)
def test_absurd_times_give_ordered_lines_and_lose_no_text(words: list[Word]) -> None:
    lines = segmented(words, duration_s=60.0)
    assert "".join(w.text for line in lines for w in line.words) == "".join(w.text for w in words if w.text.strip())
    clock = 0.0
    for line in lines:
        assert clock <= line.start <= line.end <= 60.0 + 1e-9
        assert line.end - line.start <= MAX_S + 1e-9
        assert line.text == "".join(word.text for word in line.words).strip()
        for word in line.words:
            assert clock <= word.start <= word.end <= line.end
            clock = word.end


@given(st.lists(st.tuples(st.floats(0.05, 1.0), st.floats(0.0, 0.5)), min_size=1, max_size=80))
def test_plausible_times_are_left_alone(lengths: list[tuple[float, float]]) -> None:
    words, clock = [], 0.0
    for length, pause in lengths:
        words.append(Word(start=clock, end=clock + length, text=" w", probability=1))
        clock += length + pause
    repaired = repair_times(words, duration_s=clock + 1)
    assert [w.start for w in repaired] == pytest.approx([w.start for w in words])
    assert [w.end for w in repaired] == pytest.approx([w.end for w in words])
