"""Units of dubbing from a stream of recognised words.

Lives here: where one spoken line ends and the next begins, and the repair of the recogniser's word times.
Does not live here: subtitle cues (`cues`), which obey reading rules that would shred speech (the 17-cps rule broke 36
sentences into 489 pieces in a peer), nor the snapping of line starts to the sound (`onset`).
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.worker.dubbing.reading import is_unspaced
from shared.manifests import Segment, Word

TARGET_S = 4.5
"""Length that a line should have at most where the text leaves a choice (dub-unit practice of the peers)."""
MAX_S = 9.0
"""Length that no line exceeds: longer ones drift against the picture and cannot be re-timed."""
SHORT_S = 1.5
"""Below this a line is better spoken together with its neighbour: engines lack context for a prosody."""
LONG_PAUSE_S = 0.7
"""A pause that separates two lines about as well as a full stop does."""
SPLITTING_PAUSE_S = 1.5
"""A pause that always separates two lines: a dub that talks through it would be seen."""

MIN_WORD_S = 0.02
"""Length and spacing that a zero-length word is given; one ASR time step."""
MAX_WORD_S = 3.0
"""Longer words are a recogniser's mistake: it lets a word swallow the silence beside it."""
UNTRUSTED_WORD_S = 0.5
"""Length given to a word whose times contradict its neighbours'."""

SENTENCE_ENDS = frozenset(".!?…。！？．｡؟۔।")  # noqa: RUF001 -- full-width and Arabic marks are meant
CLAUSE_ENDS = frozenset(",;:—–、，；：،؛")  # noqa: RUF001 -- as above
_CLOSERS = "\"'”’»)]}」』）】》〉"  # noqa: RUF001 -- as above
_ABBREVIATIONS = frozenset(
    {"mr", "mrs", "ms", "dr", "prof", "sr", "sra", "srta", "dra", "st", "vs", "e.g", "i.e", "vol", "mme", "mlle", "sig"}
    | {"dott", "ing", "ud", "uds", "núm", "pág", "pp", "cf", "dept", "capt", "lt"}
)
"""Words whose full stop ends no sentence, however the next word is written; "no." mostly is a whole sentence."""

# Costs of the search below, in one arbitrary unit. Their order is what matters: a sentence end is free, a pause or a
# comma is cheap, a bare word boundary is dear, and the inside of a word is paid for only to stay below MAX_S.
_COST_CLAUSE = 1.0
_COST_ASR_BOUNDARY = 1.5
_COST_WORD = 3.0
_COST_INSIDE_WORD = 100.0
_COST_SENTENCE_END_INSIDE = 0.4
_COST_PAUSE_INSIDE_PER_S = 1.0
_COST_TOO_SHORT = 1.5
_COST_BELOW_TARGET = 0.3
_COST_ABOVE_TARGET = 2.0


@dataclass(frozen=True)
class RecognisedRun:
    """One segment as the recogniser gave it: its words in reading order, and its mean log-probability per token.

    Word texts are Whisper's: they carry a leading space where the language writes one, and none where it does not.
    """

    words: Sequence[Word]
    avg_logprob: float


@dataclass(frozen=True)
class _Stream:
    """The whole file's words with repaired times; `logprobs` and `opens_run` have one entry per word."""

    words: list[Word]
    logprobs: list[float]
    opens_run: list[bool]


def segment_words(runs: Sequence[RecognisedRun], *, duration_s: float) -> list[Segment]:
    """Group the words of a whole file into lines to dub; indices count from 0.

    Lines prefer to end at sentence ends, then at long pauses, then at commas; none is longer than MAX_S, none begins
    inside a word, and none continues through SPLITTING_PAUSE_S of silence. The text of every word is kept. Absurd word
    times (zero-length, overlapping, going back, beyond the file, not finite) are repaired, in seconds in
    [0, duration_s]. A line's `avg_logprob` is the mean of its words' runs. Raises ValueError if `duration_s` <= 0.
    """
    if not duration_s > 0:
        raise ValueError("duration_s must be positive")
    stream = _stream(runs, duration_s)
    return [_segment(index, stream, first, last) for index, (first, last) in enumerate(_best_spans(stream))]


def _segment(index: int, stream: _Stream, first: int, last: int) -> Segment:
    """Build the line of the words [first, last)."""
    words = stream.words[first:last]
    return Segment(
        index=index,
        start=words[0].start,
        end=words[-1].end,
        text="".join(word.text for word in words).strip(),
        words=words,
        avg_logprob=sum(stream.logprobs[first:last]) / len(words),
    )


def _stream(runs: Sequence[RecognisedRun], duration_s: float) -> _Stream:
    """Flatten the runs, leave out words without text, and repair the times."""
    words: list[Word] = []
    logprobs: list[float] = []
    opens_run: list[bool] = []
    for run in runs:
        spoken = [word for word in run.words if word.text.strip()]
        words += spoken
        logprobs += [run.avg_logprob] * len(spoken)
        opens_run += [place == 0 for place in range(len(spoken))]
    return _Stream(repair_times(words, duration_s=duration_s), logprobs, opens_run)


def repair_times(words: Sequence[Word], *, duration_s: float) -> list[Word]:
    """Return the same words with times that rise, do not overlap, and lie in [0, duration_s] seconds.

    Reading order wins over times: the longest run of starts that never goes back is trusted, other words are spread
    between their trusted neighbours, so that one wild time stamp does not move the rest of the file.
    """
    if not words:
        return []
    count = len(words)
    step = min(MIN_WORD_S, duration_s / count)
    raw = np.array([word.start for word in words], dtype=np.float64)
    trusted = _trusted(raw, duration_s)
    places = np.arange(count, dtype=np.float64)
    starts = np.interp(places, places[trusted], raw[trusted]) if trusted.any() else np.zeros(count)
    # Subtracting place * step turns "at least one step apart" into "not falling", which a running maximum enforces.
    slack = np.clip(starts - places * step, 0.0, duration_s - count * step)
    starts = np.maximum.accumulate(slack) + places * step
    limits = np.append(starts[1:], duration_s)
    return [
        _bounded(word, float(start), float(limit), step=step, trusted=bool(sure))
        for word, start, limit, sure in zip(words, starts, limits, trusted, strict=True)
    ]


def _bounded(word: Word, start: float, limit: float, *, step: float, trusted: bool) -> Word:
    """Give one word its repaired start and an end in [start + step, limit]."""
    end = word.end if trusted and math.isfinite(word.end) else start + UNTRUSTED_WORD_S
    end = max(min(max(end, start + step), limit), start)
    if end - start > MAX_WORD_S:
        # A word before a pause swallows the silence after it; any other one, the silence before it.
        if ends_sentence(word.text):
            end = start + MAX_WORD_S
        else:
            start = end - MAX_WORD_S
    return word.model_copy(update={"start": start, "end": end})


def _trusted(starts: NDArray[np.float64], duration_s: float) -> NDArray[np.bool_]:
    """Mark a longest non-falling subsequence of the finite starts within the file (patience sorting)."""
    tails: list[float] = []
    tail_places: list[int] = []
    before: list[int] = []
    for place, start in enumerate(starts.tolist()):
        before.append(-1)
        if not (math.isfinite(start) and 0.0 <= start <= duration_s):
            continue
        pile = bisect_right(tails, start)
        before[place] = tail_places[pile - 1] if pile else -1
        tails[pile : pile + 1] = [start]
        tail_places[pile : pile + 1] = [place]
    marks = np.zeros(len(starts), dtype=np.bool_)
    place = tail_places[-1] if tail_places else -1
    while place >= 0:
        marks[place] = True
        place = before[place]
    return marks


def ends_sentence(text: str) -> bool:
    """Say whether a word closes a sentence; abbreviations and initials ("Dr.", "J.") do not."""
    bare = text.strip().rstrip(_CLOSERS)
    if not bare or bare[-1] not in SENTENCE_ENDS:
        return False
    if bare[-1] != "." or bare.endswith(".."):
        return True
    stem = bare[:-1].lstrip(_CLOSERS + "¿¡«“‘([").lower()  # noqa: RUF001 -- opening quotes are meant
    initial = len(stem) == 1 and stem.isalpha() and stem not in "aiouyeéàó"
    return not (initial or stem in _ABBREVIATIONS)


def _inside_word(left: str, right: str) -> bool:
    """Say whether a break between two of the recogniser's words would fall inside a written one ("3" + ".5")."""
    return not (right[0].isspace() or left[-1].isspace() or is_unspaced(left[-1]) or is_unspaced(right[0]))


def _break_cost(left: Word, right: Word, *, asr_boundary: bool) -> float:
    """Price a line break between two words."""
    if _inside_word(left.text, right.text):
        return _COST_INSIDE_WORD
    if _full_stop(left, right):
        return 0.0
    bare = left.text.strip().rstrip(_CLOSERS)
    if bare and bare[-1] in CLAUSE_ENDS:
        base = _COST_CLAUSE
    elif asr_boundary:
        base = _COST_ASR_BOUNDARY
    else:
        base = _COST_WORD
    return base * max(0.2, 1.0 - (right.start - left.end) / LONG_PAUSE_S)


def _full_stop(left: Word, right: Word) -> bool:
    """Say whether a sentence ends between two words: the next one must not go on in lower case."""
    return ends_sentence(left.text) and not right.text.strip()[:1].islower()


def _line_cost(length_s: float) -> float:
    """Price a line's length: free at TARGET_S, dear when too short to sound natural or near MAX_S."""
    off_target = (length_s - TARGET_S) / TARGET_S
    cost = (_COST_ABOVE_TARGET if off_target > 0 else _COST_BELOW_TARGET) * off_target**2
    if length_s < SHORT_S:
        cost += _COST_TOO_SHORT * (1.0 - length_s / SHORT_S) ** 2
    return cost


def _best_spans(stream: _Stream) -> list[tuple[int, int]]:
    """Find the cheapest division into [first, last) spans: exact, by dynamic programming over at most MAX_S back."""
    words = stream.words
    breaks = [0.0]  # breaks[k]: cost of a line break before word k
    forced = [True]
    inside = [0.0]  # inside[k]: running cost of keeping the joints before word k within lines
    for place, (left, right) in enumerate(pairwise(words), start=1):
        cost = _break_cost(left, right, asr_boundary=stream.opens_run[place])
        pause = right.start - left.end
        breaks.append(cost)
        forced.append(pause >= SPLITTING_PAUSE_S and cost < _COST_INSIDE_WORD)
        kept = _COST_SENTENCE_END_INSIDE if _full_stop(left, right) else 0.0
        inside.append(inside[-1] + kept + _COST_PAUSE_INSIDE_PER_S * pause)
    best = [0.0]
    came_from = [0]
    for last in range(1, len(words) + 1):
        lowest, origin = math.inf, last - 1
        for first in range(last - 1, -1, -1):
            length = words[last - 1].end - words[first].start
            if length > MAX_S and first < last - 1:
                break
            cost = best[first] + breaks[first] + _line_cost(length) + inside[last - 1] - inside[first]
            if cost < lowest:
                lowest, origin = cost, first
            if forced[first]:
                break
        best.append(lowest)
        came_from.append(origin)
    spans: list[tuple[int, int]] = []
    last = len(words)
    while last > 0:
        spans.append((came_from[last], last))
        last = came_from[last]
    return spans[::-1]
