"""Texts as the pieces that subtitles may be broken into, each with its time and the price of a break before it.

Lives here: tokens, their times, and where a reader likes a break. Does not live here: how tokens make cues (`cues`).
"""

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from services.worker.dubbing.reading import ARTICLES, CONJUNCTIONS, LEANING, is_unspaced, limits_for, primary, width
from services.worker.dubbing.segmentation import CLAUSE_ENDS, ends_sentence
from shared.manifests import Word

ARTICLE_COST = 10.0
"""As dear as a broken limit: the checker counts it as one."""
_COST_SENTENCE = 0.1
_COST_CLAUSE = 0.4
_COST_CONJUNCTION = 0.8
_COST_PHRASE = 0.8
_COST_PLAIN = 2.0
_COST_LEANING = 3.0

_SPACES = re.compile(r"[^\S\u00a0\u2007\u202f]+")
_STRIP = "\"'“”‘’«»()[]¿¡"  # noqa: RUF001 -- quotes around a word are meant
_MARKS_NEVER_FIRST = "、。，．！？：；・…—～」』）】》〉〕｝’”％,.!?:;)]}%"  # noqa: RUF001 -- full-width marks are meant
_LETTERS_NEVER_FIRST = "ーぁぃぅぇぉっゃゅょァィゥェォッャュョ々ะาำๅๆฯ"
_NEVER_FIRST = frozenset(_MARKS_NEVER_FIRST + _LETTERS_NEVER_FIRST)
"""Kinsoku: characters that may not begin a line (closing marks, small kana, Thai following vowels)."""
_NEVER_LAST = frozenset("「『（【《〈〔｛‘“([{เแโใไ")  # noqa: RUF001 -- as above
"""Characters that may not end a line (opening marks, Thai leading vowels)."""


@dataclass(frozen=True)
class SpokenText:
    """A text and when it is spoken, in seconds; `words` tell the times inside where they are known."""

    start: float
    end: float
    text: str
    words: Sequence[Word] = field(default=())


@dataclass(frozen=True)
class Token:
    """The smallest piece of a cue. Times in ms; `cost` is the price of a break before it; `opens` a spoken text."""

    text: str
    spaced: bool
    width: float
    start: int
    end: int
    cost: float
    opens: bool


def tokenise(texts: Sequence[SpokenText], language: str) -> list[Token]:
    """Cut texts into tokens in order; starts never go back, no token is wider than a line, and no character is lost.

    Texts come in order of start. Times are rounded to ms and cut off where the next text starts.
    Without words, or where they do not spell the text, time runs evenly over characters.
    """
    space = width(" ", language)
    tokens: list[Token] = []
    clock = 0
    for number, spoken in enumerate(texts, start=1):
        limit = texts[number].start if number < len(texts) else math.inf
        pieces = _pieces(spoken.text, language)
        ends = list(accumulate(_letters(piece) for piece, _ in pieces))
        times = _times(spoken, ends)
        for place, ((piece, spaced), (start, end)) in enumerate(zip(pieces, times, strict=True)):
            left = tokens[-1].text if tokens else ""
            joined = spaced if place else bool(left) and not (is_unspaced(left[-1]) and is_unspaced(piece[0]))
            cost = _break_cost(left, piece, language) if left else 0.0
            if place == 0 and cost < ARTICLE_COST:
                cost = 0.0
            clock = max(clock, round(min(start, limit) * 1000))
            until = max(clock, round(min(end, limit) * 1000))
            tokens.append(
                Token(piece, joined, width(piece, language) + space * joined, clock, until, cost, opens=place == 0)
            )
    return tokens


def _pieces(text: str, language: str) -> list[tuple[str, bool]]:
    """Cut a text into (piece, has a space before it)."""
    limit = limits_for(language).line_chars
    pieces: list[tuple[str, bool]] = []
    for chunk in _SPACES.split(text):
        if not chunk.strip():
            continue
        spaced = True
        for piece in _unspaced_pieces(chunk):
            for part in _within(piece, limit, language):
                pieces.append((part, spaced))
                spaced = False
    return pieces


def _unspaced_pieces(chunk: str) -> list[str]:
    """Cut a chunk without spaces wherever its script allows a line break; Latin and Hangul words stay whole."""
    cuts = [
        place
        for place, (left, right) in enumerate(pairwise(chunk), start=1)
        if (is_unspaced(left) or is_unspaced(right))
        and not (right in _NEVER_FIRST or left in _NEVER_LAST or width(right, "") == 0)
    ]
    return [chunk[first:last] for first, last in pairwise([0, *cuts, len(chunk)])]


def _within(piece: str, limit: int, language: str) -> list[str]:
    """Cut a piece wider than a line (a web address, a run of letters) into pieces that are not."""
    parts = [""]
    for char in piece:
        if parts[-1] and width(parts[-1] + char, language) > limit:
            parts.append("")
        parts[-1] += char
    return parts


def _letters(text: str) -> int:
    return sum(not char.isspace() for char in text)


def _times(spoken: SpokenText, ends: list[int]) -> list[tuple[float, float]]:
    """Return each piece's (start, end) in seconds; `ends` are the running counts of letters at the pieces' ends."""
    words = [(word.start, word.end, _letters(word.text)) for word in spoken.words if word.text.strip()]
    if not ends or sum(letters for _, _, letters in words) != ends[-1]:
        words = [(spoken.start, spoken.end, ends[-1] if ends else 1)]
    word_ends = list(accumulate(letters for _, _, letters in words))
    word_begins = [0, *word_ends[:-1]]

    def at(word: int, letter: int) -> float:
        start, end, letters = words[word]
        return start + (end - start) * (letter - word_begins[word]) / letters

    return [
        (at(bisect_right(word_begins, begin) - 1, begin), at(bisect_left(word_ends, end), end))
        for begin, end in pairwise([0, *ends])
    ]


def _break_cost(left: str, right: str, language: str) -> float:
    """Price a break between two neighbouring tokens."""
    code = primary(language)
    before = left.strip(_STRIP).casefold()
    if left.casefold() in ARTICLES.get(code, ()) or before in ARTICLES.get(code, ()):
        return ARTICLE_COST
    if ends_sentence(left):
        return _COST_SENTENCE
    bare = left.rstrip(_STRIP)
    if bare and bare[-1] in CLAUSE_ENDS:
        return _COST_CLAUSE
    if right.strip(_STRIP).casefold() in CONJUNCTIONS.get(code, ()):
        return _COST_CONJUNCTION
    if before in LEANING.get(code, ()):
        return _COST_LEANING
    return _japanese_cost(left[-1], right[0]) if code == "ja" else _COST_PLAIN


def _japanese_cost(left: str, right: str) -> float:
    """Price a break in Japanese: phrases mostly end in hiragana; one kanji or katakana run is mostly one word."""
    if _is_hiragana(left):
        return _COST_PLAIN if _is_hiragana(right) else _COST_PHRASE
    return _COST_LEANING


def _is_hiragana(char: str) -> bool:
    return "\u3041" <= char <= "\u309f"
