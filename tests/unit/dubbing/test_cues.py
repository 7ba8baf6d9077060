"""Subtitles that can be read: planned by one module, judged by another."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.worker.dubbing.captions import Cue, format_vtt, parse_vtt
from services.worker.dubbing.cue_check import Violation, violations
from services.worker.dubbing.cue_tokens import SpokenText
from services.worker.dubbing.cues import plan_cues
from services.worker.dubbing.reading import ARTICLES, limits_for, width
from shared.manifests import Word


def letters(text: str) -> str:
    return re.sub(r"\s", "", text)


def planned(*texts: SpokenText, language: str = "en", duration_s: float = 3_600.0) -> list[Cue]:
    cues = plan_cues(texts, language=language, duration_s=duration_s)
    assert letters("".join(cue.text for cue in cues)) == letters("".join(text.text for text in texts))
    return cues


def rules(cues: list[Cue], language: str = "en") -> set[str]:
    return {violation.rule for violation in violations(cues, language)}


def test_a_short_line_is_one_cue_on_one_line_with_its_speech() -> None:
    (cue,) = planned(SpokenText(1.0, 3.0, "I never said that to anyone."))
    assert cue == Cue(1.0, 3.0, "I never said that to anyone.")


def test_a_longer_line_breaks_after_its_comma() -> None:
    (cue,) = planned(SpokenText(0, 4.5, "If it rains in the afternoon, we shall stay at home and read."))
    assert cue.lines == ["If it rains in the afternoon,", "we shall stay at home and read."]


def test_a_line_breaks_before_a_conjunction_and_not_behind_an_article() -> None:
    (cue,) = planned(SpokenText(0, 4.5, "She opened the window of the kitchen and looked out at the garden."))
    assert cue.lines == ["She opened the window of the kitchen", "and looked out at the garden."]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Nobody at the meeting could remember the unbelievable announcement"),
        ("pt", "Ninguém na longa reunião de ontem se lembrava da coisa como a extraordinária proposta"),
        ("es", "Nadie en la reunión de ayer por la tarde recordaba bien la extraordinaria propuesta"),
        ("fr", "Personne dans cette longue réunion ne se souvenait de la extraordinaire proposition"),
        ("it", "Nessuno nella lunga riunione di ieri ricordava più bene la straordinaria proposta"),
    ],
)
def test_an_article_stays_with_its_noun(language: str, text: str) -> None:
    cues = planned(SpokenText(0, 6.5, text), language=language)
    last_words = {line.split()[-1].casefold() for cue in cues for line in cue.lines}
    assert not last_words & ARTICLES[language]
    assert not rules(cues, language)


def test_a_nine_second_sentence_becomes_cues_at_its_words_times() -> None:
    text = "This is a rather long sentence, spoken slowly and with care, so that it takes nine whole seconds to say it."
    pieces = text.split()
    words = [
        Word(start=i * 9 / len(pieces), end=(i + 1) * 9 / len(pieces), text=f" {piece}", probability=1)
        for i, piece in enumerate(pieces)
    ]
    cues = planned(SpokenText(0, 9, text, words))
    assert len(cues) == 2
    assert not rules(cues)
    opener = next(word for word in words[1:] if cues[1].text.startswith(word.text.strip()) and word.start > 2)
    assert cues[1].start == pytest.approx(opener.start, abs=1e-3)


def test_36_sentences_are_not_broken_into_489_cues() -> None:
    sentence = "The quick brown fox jumps over the lazy dog near the river bank today."
    cues = planned(*(SpokenText(i * 4.8, i * 4.8 + 4.4, sentence) for i in range(36)))
    assert len(cues) == 36
    assert not rules(cues)


def test_fast_speech_borrows_the_pause_behind_it() -> None:
    (cue, _) = planned(SpokenText(0, 2, "x" * 20 + " " + "y" * 20), SpokenText(6, 8, "Later."))
    assert cue.end == pytest.approx(41 / 17, abs=0.002)


def test_a_cue_does_not_linger_without_need() -> None:
    (first, _) = planned(SpokenText(0, 3, "Short and slow."), SpokenText(9, 12, "Much later."))
    assert first.end == 3.0


def test_a_small_gap_is_closed_to_two_frames() -> None:
    first, second = planned(SpokenText(0, 3, "This is the first one."), SpokenText(3.4, 6, "This is the second."))
    assert round((second.start - first.end) * 1000) == 83


def test_a_blink_of_a_word_stays_long_enough_to_be_seen() -> None:
    (cue, _) = planned(SpokenText(1, 1.2, "No."), SpokenText(4, 6, "I told you before."))
    assert cue.end - cue.start == pytest.approx(0.833)


def test_a_blink_of_a_word_without_a_pause_shares_a_cue() -> None:
    (cue,) = planned(SpokenText(1, 1.3, "No."), SpokenText(1.35, 3.5, "I told you before."))
    assert cue.text == "No. I told you before."


def test_a_blink_at_the_end_of_the_media_is_shown_early_enough() -> None:
    *_, last = planned(SpokenText(0, 2, "Good night to you."), SpokenText(4.7, 5.0, "Bye."), duration_s=5.0)
    assert last.end == 5.0
    assert last.end - last.start == pytest.approx(0.833)


def test_speech_too_fast_to_read_keeps_its_words_and_is_reported() -> None:
    cues = planned(SpokenText(0, 2, "word " * 40), SpokenText(2, 4, "word " * 40), duration_s=4)
    assert "too_fast" in rules(cues)
    assert rules(cues) <= {"too_fast", "too_short"}


@pytest.mark.parametrize(
    ("language", "text", "limit"),
    [
        ("ja", "昨日の会議では誰もその提案について話しませんでしたが、今日は皆がそれを知っています。", 13),
        ("zh", "昨天的会议上没有人谈到这个建议，但是今天每个人都已经知道了这件事情。", 16),  # noqa: RUF001 -- full-width marks are meant
        ("ko", "어제 회의에서는 아무도 그 제안에 대해 말하지 않았지만 오늘은 모두가 그것을 알고 있습니다.", 16),
    ],
)
def test_east_asian_lines_are_short_and_obey_kinsoku(language: str, text: str, limit: int) -> None:
    cues = planned(SpokenText(0, 9, text), language=language)
    assert cues
    assert not rules(cues, language)
    for cue in cues:
        for line in cue.lines:
            assert width(line, language) <= limit
            assert line[0] not in "、。，ょっー"  # noqa: RUF001 -- full-width marks are meant


def test_a_word_wider_than_a_line_is_cut_and_not_lost() -> None:
    cues = planned(SpokenText(0, 12, "https://example.org/" + "a" * 90), duration_s=20)
    assert "line_too_long" not in rules(cues)


def test_a_no_break_space_holds() -> None:
    (cue,) = planned(SpokenText(0, 5, "Sa pièce a coûté plus de deux cent mille\u00a0€ au printemps"), language="fr")
    assert any("mille\u00a0€" in line for line in cue.lines)


def test_nothing_said_gives_no_cues() -> None:
    assert planned() == []
    assert planned(SpokenText(0, 2, "  ")) == []


def test_texts_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="order"):
        plan_cues([SpokenText(2, 3, "b"), SpokenText(1, 2, "a")], language="en", duration_s=9)


def test_overlapping_lines_of_a_dub_do_not_overlap_as_cues() -> None:
    cues = planned(SpokenText(0, 5, "This one overruns a lot."), SpokenText(3, 6, "This one starts on time."))
    assert cues[1].start == 3.0
    assert not rules(cues)


@pytest.mark.parametrize(
    ("cues", "expected"),
    [
        ([Cue(0, 2, "ok")], []),
        ([Cue(0, 2, "x\n")], [Violation(0, "empty", 0, 1)]),
        ([Cue(0, 2, "x\ny\nz")], [Violation(0, "too_many_lines", 3, 2)]),
        ([Cue(0, 5, "x" * 43)], [Violation(0, "line_too_long", 43, 42)]),
        ([Cue(0, 0.7, "ok")], [Violation(0, "too_short", 700, 833)]),
        ([Cue(0, 7.001, "ok")], [Violation(0, "too_long", 7001, 7000)]),
        ([Cue(0, 1, "x" * 21)], [Violation(0, "too_fast", 21, 20)]),
        ([Cue(0, 1, "x" * 20)], []),
        ([Cue(0, 2, "a"), Cue(1.5, 3, "b")], [Violation(1, "overlap", -500, 83)]),
        ([Cue(0, 2, "a"), Cue(2.06, 3, "b")], [Violation(1, "gap_too_small", 60, 83)]),
        ([Cue(0, 2, "a"), Cue(2.083, 3, "b")], []),
        ([Cue(0, 2, "I saw the\nhouse")], [Violation(0, "article_split", 1, 0)]),
    ],
)
def test_the_checker_sees_each_broken_rule(cues: list[Cue], expected: list[Violation]) -> None:
    assert violations(cues, "en") == expected


def test_limits_follow_the_language_whatever_its_region() -> None:
    assert limits_for("zh-Hans").line_chars == limits_for("cmn").line_chars == 16
    assert limits_for("pt-BR") == limits_for("en") == limits_for("ar")
    assert width("日本 ab\u0301", "ja") == 3.5


vocabulary = [
    "the house",
    "a tree",
    "and",
    "we",
    "looked",
    "again,",
    "tomorrow.",
    "of the river",
    "because",
    "understanding",
]
sentences = st.lists(st.sampled_from(vocabulary), min_size=1, max_size=20).map(" ".join)
relaxed = st.lists(st.tuples(sentences, st.floats(0.1, 3.0), st.floats(9.0, 15.0)), min_size=1, max_size=6)


@settings(max_examples=60)
@given(relaxed)
def test_speech_slow_enough_to_read_obeys_every_rule(shape: list[tuple[str, float, float]]) -> None:
    texts: list[SpokenText] = []
    clock = 0.0
    for text, gap, cps in shape:
        length = max(len(text) / cps, 1.0)
        texts.append(SpokenText(clock, clock + length, text))
        clock += length + gap
    cues = planned(*texts, duration_s=clock)
    assert violations(cues, "en") == []
    assert [word for cue in cues for word in cue.text.split()] == [word for text in texts for word in text.text.split()]
    assert violations(parse_vtt(format_vtt(cues)), "en") == []


anything = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=120)
hard = st.lists(st.tuples(anything, st.floats(-0.5, 2.0), st.floats(0.0, 12.0)), max_size=5)


@settings(max_examples=80)
@given(hard, st.sampled_from(["en", "pt", "ja", "zh", "ko", "th", "ar"]))
def test_any_text_at_any_pace_keeps_its_letters_lines_and_order(
    shape: list[tuple[str, float, float]], language: str
) -> None:
    texts: list[SpokenText] = []
    clock = 1.0
    for text, gap, length in shape:
        start = max(clock + gap, texts[-1].start if texts else 0.0)
        texts.append(SpokenText(start, start + length, text))
        clock = start + length
    cues = planned(*texts, language=language, duration_s=clock)
    assert rules(cues, language) <= {"too_fast", "article_split"}
    assert all(earlier.end < later.start for earlier, later in pairwise(cues))
