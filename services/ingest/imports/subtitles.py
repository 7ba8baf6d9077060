"""Subtitle files as a submission brings them: SubRip and WebVTT, told apart by their content.

Lives here: a strict reader. Whoever brings a wrong file hears which line of it is wrong; nothing is repaired or left
out but formatting tags, notes and cues without text. Does not live here: what a job makes of the cues (`reading`), and
the forgiving reader of subtitles in the wild (the worker's). Pure, and linear in the size of the text.
"""

import html
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

CUES_MAX = 20_000
"""Ten hours of a cue every two seconds."""
CUE_CHARS_MAX = 2000

_TIMING = re.compile(
    r"(?:(\d{1,3}):)?([0-5]?\d):([0-5]?\d)[,.](\d{3})[ \t]+-->[ \t]+"
    r"(?:(\d{1,3}):)?([0-5]?\d):([0-5]?\d)[,.](\d{3})(?:[ \t].*)?"
)
_NUMBER = re.compile(r"\d{1,9}")
_SRT_TAG = re.compile(r"</?(?:i|b|u|s|font|c|v|ruby|rt|lang)\b[^<>]*>|\{\\[^{}]*\}", re.IGNORECASE)
_VTT_TAG = re.compile(r"<[^<>]*>")
_ARROW = "-->"
_BOM = "\ufeff"


class Line(NamedTuple):
    """One subtitle: shown from `start` to `end`, seconds; `text` may have several lines. `at` is where it was read."""

    start: float
    end: float
    text: str
    at: int


class UnreadableError(ValueError):
    """What is wrong with a file, as a sentence that names its line."""


def read_subtitles(text: str) -> list[Line]:
    """Return the cues in order, none overlapping another. Raises UnreadableError."""
    text = text.removeprefix(_BOM).replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise UnreadableError("it has a character 0, so it is not a text")
    is_vtt = re.match(r"WEBVTT(?:[ \t\n]|$)", text) is not None
    found: list[Line] = []
    for at, block in _blocks(text):
        if is_vtt and (at == 1 or re.match(r"(?:NOTE|STYLE|REGION)(?:[ \t]|$)", block[0])):
            continue
        cue = _cue(at, block, is_vtt=is_vtt)
        if cue is None:
            continue
        if found and cue.start < found[-1].end:
            raise UnreadableError(f"line {cue.at}: this cue begins before the one of line {found[-1].at} has ended")
        found.append(cue)
        if len(found) > CUES_MAX:
            raise UnreadableError(f"line {cue.at}: it has more than {CUES_MAX} cues")
    if not found:
        raise UnreadableError("it has no cue with a text")
    return found


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield what stands between blank lines, with the number of its first line."""
    block: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if line.strip(" \t"):
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []


def _cue(at: int, block: list[str], *, is_vtt: bool) -> Line | None:
    """Return a block's cue, None for one without text. An identifier may stand before its times."""
    place = 0
    if _ARROW not in block[0] and (is_vtt or _NUMBER.fullmatch(block[0].strip())):
        place = 1
    timing = _TIMING.fullmatch(block[place].strip()) if place < len(block) else None
    if timing is None:
        wrong = at + min(place, len(block) - 1)
        raise UnreadableError(f"line {wrong}: times such as 00:00:01,000 --> 00:00:02,500 are expected here")
    at += place
    start, end = _seconds(*timing.groups()[:4]), _seconds(*timing.groups()[4:])
    if end <= start:
        raise UnreadableError(f"line {at}: the cue ends before it begins")
    for number, line in enumerate(block[place + 1 :], start=at + 1):
        if _ARROW in line:
            raise UnreadableError(f"line {number}: a blank line is missing before these times")
    text = clean("\n".join(block[place + 1 :]), is_vtt=is_vtt)
    if len(text) > CUE_CHARS_MAX or _ARROW in text:
        raise UnreadableError(f"line {at}: the text of this cue is too long, or has an arrow in it")
    return Line(start, end, text, at) if text else None


def clean(text: str, *, is_vtt: bool) -> str:
    """Return a text without tags, control characters and blank lines."""
    bare = html.unescape(_VTT_TAG.sub("", text)) if is_vtt else _SRT_TAG.sub("", text)
    lines = ("".join(_shown(char) for char in line).strip() for line in re.split(r"\r\n|[\r\n]", bare))
    return "\n".join(line for line in lines if line)


def _shown(char: str) -> str:
    if char == "\t":
        return " "
    return "" if unicodedata.category(char) in {"Cc", "Cs"} else char


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> float:
    whole = (int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)
    return (whole * 1000 + int(fraction)) / 1000
