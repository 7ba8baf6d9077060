"""Word times made exact where speech starts and stops.

Lives here: one pure correction. Whisper puts the first word after a pause up to a third of a second early (where the
padded audio begins) and the last word's end a quarter of a second early; the voice detector's regions are right within
some 50 ms (measured on synthetic lines with known onsets). Does not live here: either of the two (`whisper`).
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from services.worker.engines.protocols import Word

MAX_SHIFT_S = 0.5
"""A word further from the edge of a region than this is not the one that was spoken there."""

Region = tuple[float, float]
"""Start and end of uninterrupted speech, in seconds."""


def snap_words(words: Sequence[Word], regions: Sequence[Region]) -> list[Word]:
    """Return the words with the first start and the last end of each region's words at that region's edges.

    Words and regions are in order of time, regions apart from each other. A word belongs to the region that it overlaps
    most. Texts, order and all other times stay; no start moves by more than MAX_SHIFT_S, and no word ends after the
    next one starts.
    """
    ends = [end for _, end in regions]
    owners = [_owner(word, regions, ends) for word in words]
    snapped = list(words)
    for index, (word, owner) in enumerate(zip(words, owners, strict=True)):
        if owner is None:
            continue
        start, end = regions[owner]
        begins = index == 0 or owners[index - 1] != owner
        finishes = index == len(words) - 1 or owners[index + 1] != owner
        new_start = start if begins and _near(word.start, start) and start < word.end else word.start
        new_end = end if finishes and _near(word.end, end) and end > new_start else word.end
        snapped[index] = replace(word, start=new_start, end=new_end)
    for index, (word, following) in enumerate(pairwise(snapped)):
        if word.end > following.start > word.start:
            snapped[index] = replace(word, end=following.start)
    return snapped


def _near(time: float, edge: float) -> bool:
    return abs(time - edge) <= MAX_SHIFT_S


def _owner(word: Word, regions: Sequence[Region], ends: Sequence[float]) -> int | None:
    """Return the index of the region that the word overlaps most, None if it overlaps none."""
    best, most = None, 0.0
    for index in range(bisect_right(ends, word.start), len(regions)):
        start, end = regions[index]
        if start >= word.end:
            break
        overlap = min(word.end, end) - max(word.start, start)
        if overlap > most:
            best, most = index, overlap
    return best
