"""Cursors, moments, and the tags of answers."""

from datetime import UTC, datetime

import pytest

from services.library.answers import etag_of, unchanged
from services.library.listing import Listing, decode_cursor, encode_cursor
from services.library.past import parse_moment
from services.library.routes.parameters import parse_list_query
from shared.problems import Problem
from tests.principals import principal


@pytest.mark.parametrize("place", [0, 1, 1 << 20, (1 << 63) - 1])
def test_a_cursor_comes_back(place: int) -> None:
    assert decode_cursor(encode_cursor(place)) == place
    assert parse_list_query(f"cursor={encode_cursor(place)}&offset=7".encode()).page(principal()).before == place


@pytest.mark.parametrize("text", ["", "x", "2" + "0" * 16, "1" + "8" + "0" * 15, "1" + "0" * 16 + "\n", "1" + "٣" * 16])
def test_any_other_text_is_no_cursor(text: str) -> None:
    with pytest.raises(Problem):
        decode_cursor(text)


def test_a_listing_is_spliced() -> None:
    last = Listing([b'{"id":"a"}', b"{}"], 2, 4, 6, None, None)
    assert last.encode() == (
        b'{"items":[{"id":"a"},{}],"limit":2,"offset":4,"total":6,"next_offset":null,"next_cursor":null}'
    )
    more = Listing([], 2, 0, 6, 2, encode_cursor(5))
    assert more.encode().endswith(b'"next_offset":2,"next_cursor":"10000000000000005"}')


def test_a_moment_is_a_sequence_or_a_time() -> None:
    assert parse_moment("12") == 12
    for text in ("2026-01-02T03:04:05Z", "2026-01-02t05:04:05.0+02:00", "2026-01-02T05:04:05 02:00"):
        assert parse_moment(text) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_tags_are_compared_weakly() -> None:
    tag = etag_of(b"{}")
    assert tag != etag_of(b"[]")
    assert unchanged(tag, tag)
    assert unchanged(f'"a" ,{tag.removeprefix("W/")}', tag)
    assert unchanged("*", tag)
    assert not unchanged(None, tag)
    assert not unchanged('"a"', tag)
