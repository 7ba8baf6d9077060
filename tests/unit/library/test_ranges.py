"""RFC 9110, sections 13 and 14, as properties: whatever a request says, the answer is one that the RFC allows."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.library.http_dates import format_http_date, parse_http_date
from services.library.ranges import (
    MAX_RANGES,
    UnsatisfiableRangeError,
    Validators,
    combined,
    parse_ranges,
    precondition,
    range_applies,
)

MOMENT = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
STRONG, WEAK = Validators('"a,b"', MOMENT), Validators('W/"a,b"', MOMENT)

sizes = st.integers(0, 60)
positions = st.integers(0, 70)
specs = st.one_of(
    st.tuples(positions, st.none() | positions).filter(lambda pair: pair[1] is None or pair[1] >= pair[0]),
    st.tuples(st.none(), positions),
)


def written(spec: tuple[int | None, int | None]) -> str:
    return f"{'' if spec[0] is None else spec[0]}-{'' if spec[1] is None else spec[1]}"


def meant(spec: tuple[int | None, int | None], size: int) -> list[int]:
    """The positions that a range names, spelled out one by one."""
    first, last = spec
    if first is None:
        return [position for position in range(size) if position >= size - (last or 0)]
    return [position for position in range(size) if position >= first and (last is None or position <= last)]


@given(st.lists(specs, min_size=1, max_size=MAX_RANGES), sizes, st.sampled_from([",", ", ", " ,\t", ",,"]))
def test_well_formed_ranges_mean_what_they_say(
    asked: list[tuple[int | None, int | None]], size: int, separator: str
) -> None:
    header = "bytes=" + separator.join(map(written, asked))
    wanted = [found for spec in asked if (found := meant(spec, size))]
    try:
        spans = parse_ranges(header, size)
    except UnsatisfiableRangeError:
        assert not wanted
    else:
        if spans is None:  # more than the file, or nothing that Content-Range could say
            assert sum(map(len, wanted)) > size or size == 0
        else:
            assert [list(range(first, last + 1)) for first, last in spans] == wanted


@given(st.text(alphabet="bytes=0123456789-, \t;x\u0663", max_size=40), sizes)
def test_any_text_is_a_range_nothing_or_unsatisfiable(header: str, size: int) -> None:
    try:
        spans = parse_ranges(header, size)
    except UnsatisfiableRangeError:
        return
    assert spans is None or all(0 <= first <= last < size for first, last in spans)
    assert spans is None or sum(last - first + 1 for first, last in spans) <= size


@given(st.integers(18, 6000))
def test_numbers_of_any_length_overflow_nothing(digits: int) -> None:
    """Section 14.1.1; beyond 4000 digits the field is ignored."""
    try:
        assert parse_ranges(f"bytes=0-{'9' * digits}", 10) in ([(0, 9)], None)
        assert parse_ranges(f"bytes={'9' * digits}-", 10) is None
    except UnsatisfiableRangeError:
        assert digits <= 4000


def test_one_range_too_many_is_ignored() -> None:
    assert parse_ranges("bytes=" + ",".join(["0-0"] * (MAX_RANGES + 1)), 1000) is None
    assert parse_ranges("bytes=" + ",".join(["0-0"] * MAX_RANGES), 1000) == [(0, 0)] * MAX_RANGES


tags = st.sampled_from(['"a,b"', 'W/"a,b"', '"a', '"x"', 'W/"x"', 'w/"a,b"', "*", "", ",", '"a,b" "x"'])
dates = st.sampled_from([format_http_date(MOMENT + timedelta(seconds=n)) for n in (-1, 0, 1)] + ["0", "yesterday"])
conditions = st.fixed_dictionaries(
    {},
    optional={
        "if-match": tags, "if-none-match": tags, "if-unmodified-since": dates, "if-modified-since": dates,
        "if-range": tags | dates,
    },
)  # fmt: skip


@given(conditions, st.sampled_from([STRONG, WEAK]), st.sampled_from(["GET", "HEAD"]))
def test_preconditions_are_judged_in_the_order_of_the_rfc(
    headers: dict[str, str], validators: Validators, method: str
) -> None:
    """Section 13.2.2, step by step; the tags above say which of them name `"a,b"`."""
    status = precondition(headers, validators, method)

    def later(name: str) -> bool | None:
        moment = parse_http_date(headers.get(name, ""))
        return None if moment is None else validators.modified > moment

    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    failed = (
        not (match == "*" or (match == '"a,b"' and validators is STRONG)) if match is not None
        else later("if-unmodified-since") is True
    )  # fmt: skip
    known = (
        none_match in {"*", '"a,b"', 'W/"a,b"'} if none_match is not None
        else later("if-modified-since") is False
    )  # fmt: skip
    assert status == (412 if failed else 304 if known else None)


@given(conditions)
def test_if_range_never_mixes_two_versions(headers: dict[str, str]) -> None:
    """Only a strong validator lets a part be added to what a client has (section 13.1.5)."""
    condition = headers.get("if-range")
    assert range_applies(headers, WEAK) is (condition is None)
    exact = {None, '"a,b"', format_http_date(MOMENT)}
    assert range_applies(headers, STRONG) is (condition in exact)


def test_lines_of_one_field_are_joined() -> None:
    assert combined([("A", "1"), ("b", "2"), ("a", "3")]) == {"a": "1, 3", "b": "2"}


@pytest.mark.parametrize(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_all_three_forms_of_a_date_are_read(text: str) -> None:
    assert parse_http_date(text) == MOMENT


@pytest.mark.parametrize(
    "text",
    ["", "0", "Sun, 06 Nov 1994 08:49:37 +0100", "Sun, 06 Nov 1994 08:49 GMT", "Sun, 31 Feb 1994 08:49:37 GMT",
     "Sun, 06 Nov 1994 08:49:61 GMT", "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
     "Sun, ٠٦ Nov 1994 08:49:37 GMT"],
)  # fmt: skip
def test_what_is_no_date_does_not_count(text: str) -> None:
    assert parse_http_date(text) is None


def test_two_digits_of_a_year_are_at_most_fifty_years_ahead() -> None:
    year = {shown: parse_http_date(f"Sunday, 06-Nov-{shown} 08:49:37 GMT", this_year=2026) for shown in ("76", "77")}
    assert [moment and moment.year for moment in year.values()] == [2076, 1977]


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 -- the time zone is given besides
def test_what_is_sent_is_read_back(moment: datetime) -> None:
    whole = moment.replace(microsecond=0)
    assert parse_http_date(format_http_date(whole)) == whole
