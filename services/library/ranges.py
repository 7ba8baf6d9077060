"""RFC 9110 sections 13 and 14: conditional requests and byte ranges. Pure.

Lives here: what a request's headers ask of a file of known size and validators. Does not live here: the file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

MAX_RANGES = 16
"""More are not a player's: the header is ignored (allowed by section 14.2) and the whole file sent."""

_SPEC = re.compile(r"^(?P<first>\d{0,19})-(?P<last>\d{0,19})$", re.ASCII)


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


def parse_ranges(header: str, size: int) -> list[tuple[int, int]] | None:
    """Return (first, last) byte positions, inclusive, or None where the whole file is to be sent.

    None for an unknown unit, anything malformed, too many ranges, and ranges that overlap to more than the file
    (sections 14.1.1, 14.2, 17.15). Raises UnsatisfiableRangeError.
    """
    unit, _, specs = header.partition("=")
    if unit.strip().lower() != "bytes":
        return None
    matches = [_SPEC.match(part.strip()) for part in specs.split(",") if part.strip()]
    wanted = [(match["first"], match["last"]) for match in matches if match is not None]
    if not wanted or len(wanted) < len(matches) or len(wanted) > MAX_RANGES or any(map(_malformed, wanted)):
        return None
    if size == 0 and any(not first and int(last) > 0 for first, last in wanted):
        return None  # "the last n bytes" of nothing is satisfiable, but Content-Range cannot say it
    found = [span for first, last in wanted if (span := _span(first, last, size)) is not None]
    if not found:
        raise UnsatisfiableRangeError
    return found if sum(last - first + 1 for first, last in found) <= size else None


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

    Header names are lower case.
    """
    if (wanted := headers.get("if-match")) is not None:
        if not (validators.strong and _lists(wanted, validators.etag)):
            return 412
    elif (moment := _date(headers.get("if-unmodified-since"))) is not None and validators.modified > moment:
        return 412
    if (known := headers.get("if-none-match")) is not None:
        if _lists(known, validators.etag.removeprefix("W/"), weak=True):
            return 304 if method in ("GET", "HEAD") else 412
    elif (moment := _date(headers.get("if-modified-since"))) is not None and validators.modified <= moment:
        return 304
    return None


def range_applies(headers: Mapping[str, str], validators: Validators) -> bool:
    """Return whether If-Range, if any, names this very file (section 13.1.5).

    Only a strong entity tag does; a date never, which costs a client that sends one a whole response.
    """
    condition = headers.get("if-range")
    return condition is None or (validators.strong and condition.strip() == validators.etag)


def _lists(header: str, etag: str, *, weak: bool = False) -> bool:
    if header.strip() == "*":
        return True
    tags = [tag.strip() for tag in re.findall(r'(?:W/)?"[^"]*"', header)]
    return etag in ([tag.removeprefix("W/") for tag in tags] if weak else tags)


def _date(header: str | None) -> datetime | None:
    if header is None:
        return None
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
