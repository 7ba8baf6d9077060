"""SubRip and WebVTT: strict in writing, tolerant in reading."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.worker.dubbing.captions import Cue, format_srt, format_vtt, parse_srt, parse_vtt

CUES = [Cue(0.5, 2.25, "Hello there,\nold friend."), Cue(3661.083, 3663.0, "Tom & Jerry <3 > 2")]


def test_srt_as_players_expect_it() -> None:
    assert format_srt(CUES) == (
        "1\n00:00:00,500 --> 00:00:02,250\nHello there,\nold friend.\n\n"
        "2\n01:01:01,083 --> 01:01:03,000\nTom & Jerry <3 > 2\n\n"
    )


def test_vtt_escapes_what_the_format_reserves() -> None:
    assert format_vtt(CUES) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:02.250\nHello there,\nold friend.\n\n"
        "01:01:01.083 --> 01:01:03.000\nTom &amp; Jerry &lt;3 &gt; 2\n\n"
    )


def test_no_cues_still_make_a_valid_file() -> None:
    assert format_srt([]) == ""
    assert format_vtt([]) == "WEBVTT\n\n"


def test_a_blank_line_inside_a_text_cannot_end_the_cue() -> None:
    assert parse_srt(format_srt([Cue(0, 1, "a\n\nb"), Cue(1, 2, " \n")])) == [Cue(0, 1, "a\nb")]


def test_srt_from_the_wild() -> None:
    wild = (
        "\ufeff1\r\n0:00:01.5 --> 00:00:02,5\r\n<i>Italic</i> {\\an8}<font color=red>red</font>\r\n\r\n"
        "00:00:03,000-->00:00:04,000 X1:10\r\nno number\r\n"
        "3\r\n00:00:05,000 --> 00:00:04,000\r\n42\r\n\r\n\r\n"
        "00:06,000 --> 00:00:07,000\r\na < b\r\n\r\nafter a blank line"
    )
    assert parse_srt(wild) == [
        Cue(1.5, 2.5, "Italic red"),
        Cue(3.0, 4.0, "no number"),
        Cue(5.0, 5.0, "42"),
        Cue(6.0, 7.0, "a < b\nafter a blank line"),
    ]


def test_vtt_from_the_wild() -> None:
    wild = (
        "WEBVTT - title\nKind: captions\n\nNOTE\n00:01 is no cue\n\nSTYLE\n::cue { color: red }\n\n"
        "intro\n00:01.000 --> 00:02.000 align:start position:10%\n<v Ann><c.loud>Hi</c> &amp; &lt;b&gt;</v>\n\n"
        "1:00:00,000 --> 1:00:01,000\nlate\n"
    )
    assert parse_vtt(wild) == [Cue(1.0, 2.0, "Hi & <b>"), Cue(3600.0, 3601.0, "late")]


@pytest.mark.parametrize("text", ["", "\ufeff", "WEBVTT", "not subtitles at all\n\n1\n2\n"])
def test_what_holds_no_cue_gives_none(text: str) -> None:
    assert parse_srt(text) == []
    assert parse_vtt(text) == []


def test_right_to_left_text_is_untouched() -> None:
    text = "\u200fשלום, עולם!\u200e\nمرحبا (123)"  # noqa: RUF001 -- other scripts are meant
    assert parse_vtt(format_vtt([Cue(0, 1, text)])) == parse_srt(format_srt([Cue(0, 1, text)])) == [Cue(0, 1, text)]


def test_a_cue_that_rounds_to_nothing_is_still_shown_and_does_not_overlap() -> None:
    shown = parse_srt(format_srt([Cue(1.0, 1.0001, "a"), Cue(1.0002, 1.0003, "b"), Cue(1.002, 2.0, "c")]))
    assert [cue.text for cue in shown] == ["a", "b", "c"]
    assert all(cue.end > cue.start for cue in shown)
    assert all(earlier.end <= later.start for earlier, later in pairwise(shown))


line = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"], exclude_characters="<>{}\ufeff"),
    min_size=1,
    max_size=12,
).filter(lambda text: not text.strip().isdecimal())
texts = st.lists(line, min_size=1, max_size=2).map("\n".join)
spaced = st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 10_000), texts), max_size=8)


@settings(max_examples=40)
@given(spaced)
def test_what_is_written_is_read_back(shape: list[tuple[int, int, str]]) -> None:
    cues, clock = [], 0
    for gap, length, text in shape:
        cues.append(Cue((clock + gap) / 1000, (clock + gap + length) / 1000, text))
        clock += gap + length
    assert parse_srt(format_srt(cues)) == cues
    assert parse_vtt(format_vtt(cues)) == cues


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1))
def test_vtt_carries_any_text(text: str) -> None:
    assert parse_vtt(format_vtt([Cue(0, 1, text)])) == [Cue(0, 1, text)]


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.001, 5)), max_size=20))
def test_rounding_never_makes_overlaps(shape: list[tuple[float, float]]) -> None:
    cues, clock = [], 0.0
    for gap, length in shape:
        cues.append(Cue(clock + gap, clock + gap + length, "x"))
        clock += gap + length
    shown = parse_srt(format_srt(cues))
    assert all(earlier.end <= later.start for earlier, later in pairwise(shown))
    assert all(cue.start < cue.end for cue in shown)
