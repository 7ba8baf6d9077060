"""Cutting a text into sentences, for engines and alignments that work on one at a time.

Lives here: a cut by punctuation for languages that put a space after a sentence; any other text stays whole. Pure.
Does not live here: cutting speech into lines, which goes by pauses too (`services.worker.dubbing`).
"""

import re

MAX_WORDS = 60
"""A longer sentence is cut: the models were trained on single sentences and lose words of very long ones."""

_ABBREVIATION = re.compile(r"\W*(?:(?:[^\W\d_]\.)+|(?:Mr|Mrs|Ms|Dr|Dra|Sr|Sra|St|Jr|Prof|Gen|Rev|vs)\.)")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'\u201d\u2019)\]]*(\s+)(?=[\"'\u201c\u2018(\[¿¡-]*\s?[A-ZÀ-Þ0-9])")


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, each at most `MAX_WORDS` long; joined by spaces they are the text's words."""
    ends = [match.start(1) for match in _SENTENCE_END.finditer(text)]
    cuts = [end for end in ends if not _ABBREVIATION.fullmatch(text[:end].rsplit(maxsplit=1)[-1])]
    parts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return [piece for part in parts for piece in _pieces(part.split())]


def _pieces(words: list[str]) -> list[str]:
    """Return the words as texts of at most `MAX_WORDS`, cut after a comma in the second half where there is one."""
    pieces = []
    while len(words) > MAX_WORDS:
        commas = [i for i in range(MAX_WORDS // 2, MAX_WORDS) if words[i][-1] in ",;:"]
        cut = commas[-1] + 1 if commas else MAX_WORDS
        pieces.append(" ".join(words[:cut]))
        words = words[cut:]
    return [*pieces, " ".join(words)] if words else pieces
