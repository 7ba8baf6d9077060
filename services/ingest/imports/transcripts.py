"""A transcript as JSON, as a submission brings it: `{"language": "en", "segments": [{"start", "end", "text"}]}`.

Lives here: a strict reader. Dubline's own `transcript.json` is one; what else a member has (words, probabilities) is
not taken over. Does not live here: what a job makes of it (`reading`). Pure.
"""

import json
from typing import Any, NoReturn

from services.ingest.imports.subtitles import CUE_CHARS_MAX, CUES_MAX, Line, UnreadableError, clean

MAX_S = 1e6


def read_transcript(text: str) -> tuple[str | None, list[Line]]:
    """Return the language, if it tells one, and the lines in order, none overlapping. Raises UnreadableError."""
    try:
        raw = json.loads(text.removeprefix("\ufeff"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        line = f"line {error.lineno}: " if isinstance(error, json.JSONDecodeError) else ""
        raise UnreadableError(f"{line}it is not JSON") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("segments"), list):
        raise UnreadableError("it is no object with a list named segments")
    language = raw.get("language")
    if language is not None and not isinstance(language, str):
        raise UnreadableError("its language is not a text")
    if len(raw["segments"]) > CUES_MAX:
        raise UnreadableError(f"it has more than {CUES_MAX} segments")
    found: list[Line] = []
    for number, segment in enumerate(raw["segments"], start=1):
        said = _line(number, segment)
        if said is None:
            continue
        if found and said.start < found[-1].end:
            raise UnreadableError(f"segment {number}: it begins before the one before it has ended")
        found.append(said)
    if not found:
        raise UnreadableError("it has no segment with a text")
    return language, found


def _line(number: int, segment: Any) -> Line | None:
    if not isinstance(segment, dict) or not isinstance(segment.get("text"), str):
        raise UnreadableError(f"segment {number}: it is no object with a text")
    start, end = (_second(number, segment.get(name)) for name in ("start", "end"))
    if end <= start:
        raise UnreadableError(f"segment {number}: it ends before it begins")
    text = clean(segment["text"], is_vtt=False)
    if len(text) > CUE_CHARS_MAX:
        raise UnreadableError(f"segment {number}: its text is longer than {CUE_CHARS_MAX} characters")
    return Line(start, end, text, number) if text else None


def _second(number: int, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_S:
        raise UnreadableError(f"segment {number}: start and end are seconds from the video's beginning")
    return float(value)


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)
