"""RFC 9110 sections 13 and 14: conditional requests and byte ranges. Pure.

Lives here: what a request's headers ask of a file of known size and validators. Does not live here: the file.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from services.library.http_dates import parse_http_date

MAX_RANGES = 16
"""More are not a player's: the header is ignored (allowed by section 14.2) and the whole file sent."""

_SPEC = re.compile(r"(?P<first>\d{0,4000})-(?P<last>\d{0,4000})", re.ASCII)
"""Numbers may be of any length (section 14.1.1); longer ones than these are ignored, because `int` refuses them."""

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_WHITE = " \t"


@dataclass(frozen=True)
class Validators:
    """`etag` as sent, quotes (and W/) included; `modified` in whole seconds, UTC."""

    etag: str
    modified: datetime

    @property
    def strong(self) -> bool:
        return not self.etag.startswith("W/")


class UnsatisfiableRangeError(Exception):
    """Nothing of what was asked for exists: 416."""


def combined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the fields of a request by lower-case name, the lines of one name joined (section 5.3).

    Two lines of a field that has one value only (a date, Range) become one that does not parse, and so is ignored.
    """
    found: dict[str, str] = {}
    for name, value in fields:
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def parse_ranges(header: str, size: int) -> list[tuple[int, int]] | None:
    """Return (first, last) byte positions, inclusive, or None where the whole file is to be sent.

    None for an unknown unit, anything malformed, too many ranges, and ranges that overlap to more than the file
    (sections 14.1.1, 14.2, 17.15). Raises UnsatisfiableRangeError.
    """
    unit, _, specs = header.partition("=")
    if unit.lower() != "bytes":
        return None
    matches = [_SPEC.fullmatch(part) for part in _members(specs)]
    wanted = [(match["first"], match["last"]) for match in matches if match is not None]
    if not wanted or len(wanted) < len(matches) or len(wanted) > MAX_RANGES or any(map(_malformed, wanted)):
        return None
    if size == 0 and any(not first and int(last) > 0 for first, last in wanted):
        return None  # "the last n bytes" of nothing is satisfiable, but Content-Range cannot say it
    found = [span for first, last in wanted if (span := _span(first, last, size)) is not None]
    if not found:
        raise UnsatisfiableRangeError
    return found if sum(last - first + 1 for first, last in found) <= size else None


def _members(value: str) -> list[str]:
    """Return the elements of a list; empty ones do not count (section 5.6.1.2)."""
    return [member for part in value.split(",") if (member := part.strip(_WHITE))]


def _malformed(spec: tuple[str, str]) -> bool:
    first, last = spec
    return not (first or last) or bool(first and last and int(last) < int(first))


def _span(first: str, last: str, size: int) -> tuple[int, int] | None:
    """Return the positions of one well-formed range, or None if nothing of it exists."""
    if not first:
        start, end = max(0, size - int(last)), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
    return (start, end) if start <= end else None


def precondition(headers: Mapping[str, str], validators: Validators, method: str) -> int | None:
    """Return the status that ends the request (304, 412), or None, in the order of section 13.2.2.

    Header names are lower case, lines of one name joined (`combined`).
    """
    reading = method in {"GET", "HEAD"}
    if (wanted := headers.get("if-match")) is not None:
        if not _names(wanted, validators, weak=False):
            return 412
    elif (moment := _date(headers, "if-unmodified-since")) is not None and validators.modified > moment:
        return 412
    if (known := headers.get("if-none-match")) is not None:
        if _names(known, validators, weak=True):
            return 304 if reading else 412
    elif reading and (moment := _date(headers, "if-modified-since")) is not None and validators.modified <= moment:
        return 304
    return None


def range_applies(headers: Mapping[str, str], validators: Validators) -> bool:
    """Return whether If-Range, if any, names this very file (section 13.1.5).

    A strong entity tag does. A date does if it is exactly that of a file with a strong tag: of such a file it is known
    that it was published once and not changed after (section 8.8.2.2); of any other two versions may share a second.
    """
    condition = headers.get("if-range")
    if condition is None:
        return True
    condition = condition.strip(_WHITE)
    if condition.startswith(('"', "W/")):
        return validators.strong and condition == validators.etag
    return validators.strong and parse_http_date(condition) == validators.modified


def _names(header: str, validators: Validators, *, weak: bool) -> bool:
    """Return whether If-Match or If-None-Match names the file, comparing as section 8.8.3.2 says.

    `*` is any file at all. A tag may contain commas; what is not a list of tags names nothing.
    """
    if header.strip(_WHITE) == "*":
        return True
    if not weak and not validators.strong:
        return False
    opaque = validators.etag.removeprefix("W/")
    return any(tag == opaque and (weak or not weakly) for weakly, tag in _tags(header))


def _tags(header: str) -> list[tuple[str, str]]:
    """Return (`W/` or nothing, opaque tag) of each element, or none at all if the list is malformed."""
    found = []
    position = 0
    while position < len(header):
        if header[position] in _WHITE + ",":
            position += 1
            continue
        match = _TAG.match(header, position)
        if match is None:
            return []
        found.append((match[1] or "", match[2]))
        position = match.end()
        rest = header[position:].lstrip(_WHITE)
        if rest and not rest.startswith(","):
            return []
    return found


def _date(headers: Mapping[str, str], name: str) -> datetime | None:
    """Return the moment in a field, None if there is none or it is not an HTTP date: then it does not count."""
    value = headers.get(name)
    return None if value is None else parse_http_date(value)
