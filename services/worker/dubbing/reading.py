"""What a reader can take in: subtitle limits by language, and how wide a text is.

Lives here: the numbers and word lists that the planner (`cues`) and its checker (`cue_check`) share. Does not live
here: any decision. Limits are Netflix's and Subtitle Edit's, from the reference on dub quality; those marked
(unverified) there are: the characters per line of zh, ja and ko, and their reading speeds from Netflix's guides.
"""

import unicodedata
from dataclasses import dataclass
from functools import cache

MIN_MS = 833
"""5/6 of a second."""
MAX_MS = 7_000
MIN_GAP_MS = 83
"""Two frames at 24 frames per second."""
CLOSE_GAP_MS = 500
"""Gaps up to this are closed to MIN_GAP_MS: a short blink between two cues distracts."""
MAX_LINGER_MS = 500
"""How long a cue may stay after the speech if nobody needs the time to read."""
MAX_LINES = 2


@dataclass(frozen=True)
class ReadingLimits:
    """Limits of one language: characters per line, and characters per second aimed at and allowed (see `width`)."""

    line_chars: int
    aim_cps: float
    max_cps: float


_DEFAULT = ReadingLimits(42, 17.0, 20.0)
_LIMITS = {
    "ja": ReadingLimits(13, 7.0, 10.0),
    "zh": ReadingLimits(16, 6.0, 9.0),
    "ko": ReadingLimits(16, 10.0, 12.0),
}
_ALIASES = {"cmn": "zh", "yue": "zh", "jpn": "ja", "kor": "ko", "zho": "zh"}


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


ARTICLES: dict[str, frozenset[str]] = {
    "en": _set("a an the"),
    "pt": _set("o a os as um uma uns umas"),
    "es": _set("el la los las un una unos unas"),
    "fr": _set("le la les un une des du"),
    "it": _set("il lo la i gli le un uno una"),
}
"""A line never ends with one of these: the noun would stand alone on the next line."""

CONJUNCTIONS: dict[str, frozenset[str]] = {
    "en": _set("and but or nor so because that which who when where while if although though than as"),
    "pt": _set("e mas ou nem porque que quem quando onde enquanto se embora porém pois como"),
    "es": _set("y e o u ni pero porque que quien cuando donde mientras si aunque sino pues como"),
    "fr": _set("et mais ou ni donc car parce que qui quand où lorsque si puisque comme dont"),
    "it": _set("e ed o oppure né ma però perché che chi quando dove mentre se sebbene anche come"),
}
"""A line may well begin with one of these."""

LEANING: dict[str, frozenset[str]] = {
    "en": _set("of to in on at by for from with into my your his her its our their this these those"),
    "pt": _set("de do da dos das em no na nos nas por pelo pela para com ao à meu minha seu sua este esta"),
    "es": _set("de del en por para con a al mi tu su mis tus sus este esta estos estas"),
    "fr": _set("de en dans par pour avec à au aux sur mon ma mes ton ta tes son sa ses ce cet cette ces"),
    "it": _set("di del della dei in nel nella per con a al alla su mio mia tuo tua suo sua questo questa"),
}
"""Prepositions and determiners: they belong to the word that follows."""

_UNSPACED_NAMES = (
    "CJK",
    "HIRAGANA",
    "KATAKANA",
    "IDEOGRAPHIC",
    "FULLWIDTH",
    "HALFWIDTH",
    "THAI",
    "LAO",
    "KHMER",
    "MYANMAR",
)


def primary(language: str) -> str:
    """Return the primary subtag of a BCP 47 tag in lower case, zh, ja and ko also for their three-letter codes."""
    subtag = language.replace("_", "-").split("-")[0].lower()
    return _ALIASES.get(subtag, subtag)


def limits_for(language: str) -> ReadingLimits:
    """Return the limits of a BCP 47 language; scripts without a rule of their own get the Latin one."""
    return _LIMITS.get(primary(language), _DEFAULT)


def width(text: str, language: str) -> float:
    """Count a text's characters as the limits do: no line breaks, marks or invisible controls.

    In zh, ja and ko a full-width character counts 1 and any other 0.5.
    """
    wide = primary(language) in _LIMITS
    return sum(_char_width(char, wide=wide) for char in text)


@cache
def _char_width(char: str, *, wide: bool) -> float:
    if char in "\r\n" or unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0.0
    return 0.5 if wide and unicodedata.east_asian_width(char) not in {"W", "F", "A"} else 1.0


@cache
def is_unspaced(char: str) -> bool:
    """Say whether a character belongs to a script that is written without spaces between words."""
    return unicodedata.name(char, "").startswith(_UNSPACED_NAMES)
