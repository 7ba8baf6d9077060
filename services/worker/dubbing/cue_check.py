"""The independent check of subtitles against the reading rules.

Lives here: what is wrong with given cues, whoever made them; used by tests and by the qa stage. Does not live here:
planning (`cues`). Reports carry numbers only, never text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from services.worker.dubbing.captions import Cue
from services.worker.dubbing.reading import (
    ARTICLES,
    MAX_LINES,
    MAX_MS,
    MIN_GAP_MS,
    MIN_MS,
    limits_for,
    primary,
    width,
)

Rule = Literal[
    "empty",
    "too_many_lines",
    "line_too_long",
    "too_short",
    "too_long",
    "too_fast",
    "overlap",
    "gap_too_small",
    "article_split",
]


@dataclass(frozen=True)
class Violation:
    """A broken rule: the cue's index, what was measured and what is allowed (characters, ms, or characters/s)."""

    index: int
    rule: Rule
    measured: float
    limit: float


def violations(cues: Sequence[Cue], language: str) -> list[Violation]:
    """Return every broken rule, in order of cues; times are judged in whole milliseconds, as files store them.

    `overlap` and `gap_too_small` name the later of two cues; `article_split`, a line other than a cue's last one that
    ends with an article.
    """
    found = [
        violation
        for index, cue in enumerate(cues)
        for violation in (*_text_violations(index, cue, language), *_time_violations(index, cue, language))
    ]
    for index, (earlier, later) in enumerate(pairwise(cues), start=1):
        gap = _ms(later.start) - _ms(earlier.end)
        if gap < MIN_GAP_MS:
            found.append(Violation(index, "overlap" if gap < 0 else "gap_too_small", gap, MIN_GAP_MS))
    return sorted(found, key=lambda violation: violation.index)


def _text_violations(index: int, cue: Cue, language: str) -> list[Violation]:
    limit = limits_for(language).line_chars
    found: list[Violation] = []
    if not all(line.strip() for line in cue.lines):
        found.append(Violation(index, "empty", 0, 1))
    if len(cue.lines) > MAX_LINES:
        found.append(Violation(index, "too_many_lines", len(cue.lines), MAX_LINES))
    widest = max(width(line, language) for line in cue.lines)
    if widest > limit:
        found.append(Violation(index, "line_too_long", widest, limit))
    articles = ARTICLES.get(primary(language), frozenset())
    split = sum(line.split()[-1:] != [] and line.split()[-1].casefold() in articles for line in cue.lines[:-1])
    if split:
        found.append(Violation(index, "article_split", split, 0))
    return found


def _time_violations(index: int, cue: Cue, language: str) -> list[Violation]:
    duration = _ms(cue.end) - _ms(cue.start)
    if duration < MIN_MS:
        found = [Violation(index, "too_short", duration, MIN_MS)]
    elif duration > MAX_MS:
        found = [Violation(index, "too_long", duration, MAX_MS)]
    else:
        found = []
    chars, limit = width(cue.text, language), limits_for(language).max_cps
    if chars * 1000 > limit * max(duration, 0):
        found.append(Violation(index, "too_fast", chars * 1000 / max(duration, 1), limit))
    return found


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
