"""Subtitle files: SubRip and WebVTT as text.

Lives here: the `Cue`, and writing and reading of both formats. Does not live here: when cues show and how their lines
break (`cues`), nor files on disk. Text in right-to-left scripts, bidi marks included, passes through untouched.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[,.](\d{1,9}))?"
_TIMING = re.compile(rf"\s*{_TIME}\s*-+>\s*{_TIME}(?:\s.*)?$")
_SRT_TAG = re.compile(r"</?(?:i|b|u|s|font|c|v|ruby|rt|lang)\b[^<>]*>|\{\\[^{}]*\}", re.IGNORECASE)
_VTT_TAG = re.compile(r"<[^<>]*>")
_INDEX = re.compile(r"\s*\d+\s*$")
_BOM = "\ufeff"


@dataclass(frozen=True)
class Cue:
    """One subtitle: shown from `start` to `end`, in seconds of the media; lines are split by newlines."""

    start: float
    end: float
    text: str

    @property
    def lines(self) -> list[str]:
        """The lines as shown."""
        return self.text.split("\n")


def format_srt(cues: Sequence[Cue]) -> str:
    """Write SubRip; cues without text are left out, blank lines inside a text (they would end the cue) too."""
    return "".join(
        f"{number}\n{_stamp(start, ',')} --> {_stamp(end, ',')}\n{text}\n\n"
        for number, (start, end, text) in enumerate(_printable(cues), start=1)
    )


def format_vtt(cues: Sequence[Cue]) -> str:
    """Write WebVTT; `&`, `<` and `>` are escaped, otherwise as `format_srt`."""
    return "WEBVTT\n\n" + "".join(
        f"{_stamp(start, '.')} --> {_stamp(end, '.')}\n{html.escape(text, quote=False)}\n\n"
        for start, end, text in _printable(cues)
    )


def parse_srt(text: str) -> list[Cue]:
    """Read SubRip as found in the wild: BOM, any line ends, dots for commas, missing numbers and blank lines.

    Formatting tags are stripped. Text outside of any cue is ignored; an end before its start becomes that start.
    """
    cues: list[Cue] = []
    times: tuple[float, float] | None = None
    body: list[str] = []
    for line in _lines(text.removeprefix(_BOM)):
        found = _TIMING.match(line)
        if found is None:
            body.append(line)
            continue
        if body and _INDEX.match(body[-1]):
            body.pop()
        _collect(cues, times, _SRT_TAG.sub("", "\n".join(body)))
        times, body = _times(found), []
    _collect(cues, times, _SRT_TAG.sub("", "\n".join(body)))
    return cues


def parse_vtt(text: str) -> list[Cue]:
    """Read WebVTT, also without its header or with commas; notes, styles, identifiers and settings are dropped.

    Tags are stripped, then character references decoded. An end before its start becomes that start.
    """
    cues: list[Cue] = []
    for block in re.split(r"\n[ \t]*\n", "\n".join(_lines(text.removeprefix(_BOM)))):
        lines = block.strip("\n").split("\n")
        for place, line in enumerate(lines[:2]):  # the timing may follow an identifier
            found = _TIMING.match(line)
            if found is not None:
                _collect(cues, _times(found), html.unescape(_VTT_TAG.sub("", "\n".join(lines[place + 1 :]))))
                break
    return cues


def _lines(text: str) -> list[str]:
    """Split at the line ends that the formats know, and at no other (not `str.splitlines`: U+2028 is text here)."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _times(found: re.Match[str]) -> tuple[float, float]:
    start, end = _seconds(*found.groups()[:4]), _seconds(*found.groups()[4:])
    return start, max(start, end)


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str | None) -> float:
    whole = (int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)
    return (whole * 1000 + int((fraction or "").ljust(3, "0")[:3])) / 1000


def _collect(cues: list[Cue], times: tuple[float, float] | None, text: str) -> None:
    """Append a cue if it has times and text; its lines are stripped, its blank lines dropped."""
    kept = _tidy(text)
    if times is not None and kept:
        cues.append(Cue(*times, kept))


def _tidy(text: str) -> str:
    return "\n".join(line.strip(" \t") for line in _lines(text) if line.strip())


def _printable(cues: Sequence[Cue]) -> list[tuple[int, int, str]]:
    """Return (start, end, text) in whole milliseconds.

    Rounding keeps order, so cues that did not overlap still do not. A cue that would vanish is given one millisecond,
    unless the next one starts there; then it begins one earlier.
    """
    kept = [(round(cue.start * 1000), round(cue.end * 1000), _tidy(cue.text)) for cue in cues]
    kept = [cue for cue in kept if cue[2]]
    printed: list[tuple[int, int, str]] = []
    free_from = 0
    for place, (start, end, text) in enumerate(kept):
        follows = kept[place + 1][0] if place + 1 < len(kept) else None
        if end <= start:
            end = start + 1  # noqa: PLW2901 -- repaired in place
            if follows == start and start > free_from:
                start, end = start - 1, start  # noqa: PLW2901 -- repaired in place
        printed.append((start, end, text))
        free_from = end
    return printed


def _stamp(milliseconds: int, separator: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{separator}{rest:03d}"
