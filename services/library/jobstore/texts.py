"""How a text that a person types becomes a search, safe for any text. Pure.

Lives here: quoting for the full text and for LIKE, and letter case. Does not live here: SQL of lists (`plans`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

TRIGRAM = 3
"""The full text knows runs of three characters; a shorter text is compared with every job's."""

LONGEST = 4_000
"""A longer text is in no job: it is more than id, title, project and 20 tags have together."""

ESCAPE = "\\"


@dataclass(frozen=True)
class TextSearch:
    """`phrase`: for MATCH; None: too short for it. `patterns`: for LIKE, any may match; none: LIKE would miss some."""

    phrase: str | None
    patterns: Sequence[str]


def search_for(text: str) -> TextSearch | None:
    """Return how to search for a text, in any case, or None if no job can have it."""
    if len(text) > LONGEST or _unheard_of(text):
        return None
    if len(text) < TRIGRAM:
        return TextSearch(None, [contains(spelled) for spelled in _spellings(text)])
    phrase = '"' + text.replace('"', '""') + '"'
    return TextSearch(phrase, [contains(text)] if text.isascii() else [])


def contains(text: str) -> str:
    """Return a LIKE pattern that finds this text anywhere, none of its characters having a meaning."""
    for special in (ESCAPE, "%", "_"):
        text = text.replace(special, ESCAPE + special)
    return f"%{text}%"


def _unheard_of(text: str) -> bool:
    """Whether it has what ends a text in C, what parts those of a job, or what no encoding has."""
    return any(character in "\0\n" or "\ud800" <= character <= "\udfff" for character in text)


def _spellings(text: str) -> list[str]:
    """Return a short text in every case: LIKE itself knows the case of ASCII alone."""
    return ["".join(parts) for parts in product(*(sorted({c, c.lower(), c.upper()}) for c in text))]
