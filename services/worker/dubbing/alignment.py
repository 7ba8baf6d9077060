"""Laying text that has times of its own onto the segments of a transcript.

Lives here: which segment each clause of a recogniser's translation belongs to. Pure. Does not live here: making
the translation (`services.worker.stages.translate`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.worker.engines.sentences import sentences

_CLAUSE_END = re.compile(r"(?<=[,;:])\s+")


@dataclass(frozen=True)
class Timed:
    """A text and when it is said, in seconds from the start of the source."""

    start: float
    end: float
    text: str


def by_clause(chunks: Sequence[Timed]) -> list[Timed]:
    """Return the chunks cut after sentences and commas; each part gets time in proportion to its letters.

    Sentences alone are too coarse: a recogniser that translates likes to join two of them with a comma.
    """
    cut = []
    for chunk in chunks:
        parts = [clause for sentence in sentences(chunk.text) for clause in _CLAUSE_END.split(sentence)]
        letters = sum(map(len, parts))
        start = chunk.start
        for part in parts:
            end = start + (chunk.end - chunk.start) * len(part) / letters
            cut.append(Timed(start, end, part))
            start = end
    return cut


def onto_segments(chunks: Sequence[Timed], spans: Sequence[tuple[float, float]]) -> list[str]:
    """Return one text per span: every clause of the chunks goes to exactly one, in the order of the chunks.

    A clause goes to the span that it overlaps most, without overlap to the nearest; the earlier one wins a tie.
    A span that nothing falls on gets "". `spans` are (start, end) in seconds and must not be empty.
    """
    texts: list[list[str]] = [[] for _ in spans]
    for clause in by_clause(chunks):
        closeness = [_closeness(clause, start, end) for start, end in spans]
        texts[closeness.index(max(closeness))].append(clause.text)
    return [" ".join(parts) for parts in texts]


def _closeness(clause: Timed, start: float, end: float) -> float:
    """Return the overlap in seconds, or the gap as a negative number."""
    return min(clause.end, end) - max(clause.start, start)
