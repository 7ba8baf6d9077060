"""HTTP dates, RFC 9110 section 5.6.7: the one form that is sent, and the three that are read. Pure.

Python's email parser reads other zones, comments and missing seconds too, which in HTTP make a field that has to be
ignored; and it reads asctime's form without a zone.
"""

import re
from datetime import UTC, datetime
from email.utils import format_datetime

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})"
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_FORMS = (
    rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT",
    rf"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT",
    rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) {_MONTH} (?P<day>\d\d| \d) {_TIME} (?P<year>\d{{4}})",
)
_PATTERNS = tuple(re.compile(form, re.ASCII) for form in _FORMS)

CENTURY_WINDOW_YEARS = 50
"""A year of two digits that would be further in the future than this is one of the past century."""


def format_http_date(moment: datetime) -> str:
    """Return the preferred form of a moment in UTC."""
    return format_datetime(moment, usegmt=True)


def parse_http_date(text: str, this_year: int | None = None) -> datetime | None:
    """Return the moment, or None if the text is in none of the three forms. `this_year` is the clock's by default."""
    text = text.strip(" \t")
    match = next((found for pattern in _PATTERNS if (found := pattern.fullmatch(text))), None)
    if match is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        now = this_year if this_year is not None else datetime.now(UTC).year
        year += now - now % 100
        if year > now + CENTURY_WINDOW_YEARS:
            year -= 100
    try:
        return datetime(
            year,
            _MONTHS.index(match["month"]) + 1,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            59 if match["second"] == "60" else int(match["second"]),  # a leap second has no number of its own
            tzinfo=UTC,
        )
    except ValueError:
        return None
