"""GET /files over real sockets, directly and handed off to the gateway: RFC 9110, sections 13 and 14.

The answers that starlette's own FileResponse gets wrong are marked `starlette`.
"""

import re
from dataclasses import dataclass

import pytest

from tests.integration.library.conftest import CONTENTS
from tests.integration.library.files.conftest import BODY, ETAG, Origin

SANDBOX = {
    "content-security-policy": "sandbox; default-src 'none'; media-src 'self'; style-src 'unsafe-inline'",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}


def test_a_whole_file_with_what_is_known_of_it(origin: Origin) -> None:
    answer = origin.client.get(origin.film)
    assert (answer.status_code, answer.content) == (200, BODY)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["etag"] == ETAG
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["cache-control"] == "private, no-cache"
    assert SANDBOX.items() <= dict(answer.headers).items()
    assert answer.headers["content-disposition"] == (
        'inline; filename="A film, _quoted_ 100_.dub.mp4"; '
        "filename*=UTF-8''A%20film%2C%20%E2%80%9Cquoted%E2%80%9D%20100%25.dub.mp4"
    )


@dataclass(frozen=True)
class Case:
    asked: str
    status: int
    content_range: str | None = None
    body: bytes = b""


CASES = [
    Case("bytes=0-0", 206, "bytes 0-0/1024", BODY[:1]),
    Case("bytes=0-", 206, "bytes 0-1023/1024", BODY),
    Case("bytes=10-19", 206, "bytes 10-19/1024", BODY[10:20]),
    Case("BYTES=10-19", 206, "bytes 10-19/1024", BODY[10:20]),
    Case("bytes=1000-9999", 206, "bytes 1000-1023/1024", BODY[1000:]),
    Case("bytes=1000-99999999999999999999999999", 206, "bytes 1000-1023/1024", BODY[1000:]),
    Case("bytes=-5", 206, "bytes 1019-1023/1024", BODY[-5:]),
    Case("bytes=-9999", 206, "bytes 0-1023/1024", BODY),
    Case("bytes=-99999999999999999999999999", 206, "bytes 0-1023/1024", BODY),
    Case("bytes=1024-", 416, "bytes */1024"),
    Case("bytes=-0", 416, "bytes */1024"),
    Case("bytes=99999999999999999999999999-", 416, "bytes */1024"),
    Case("bytes=2000-3000, 5000-", 416, "bytes */1024"),
    Case("bytes=5-7, 5000-", 206, "bytes 5-7/1024", BODY[5:8]),  # starlette: 416
    Case("bytes=,5-7, ,", 206, "bytes 5-7/1024", BODY[5:8]),
    Case("bytes=9-5", 200, None, BODY),  # starlette: 400
    Case("bytes=a-b", 200, None, BODY),  # starlette: 400
    Case("bytes=-", 200, None, BODY),
    Case("bytes=", 200, None, BODY),
    Case("bytes", 200, None, BODY),
    Case("bytes=1-2, x", 200, None, BODY),
    Case("seconds=1-2", 200, None, BODY),  # starlette: 400
    Case("bytes=0-, 0-, 0-", 200, None, BODY),
    Case("bytes=" + ",".join(f"{n}-{n}" for n in range(100)), 200, None, BODY),
    Case("bytes=1٣-19", 200, None, BODY),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.asked[:24])
def test_ranges(origin: Origin, case: Case) -> None:
    answer = origin.client.get(origin.film, headers={b"Range": case.asked.encode()})
    assert answer.status_code == case.status
    assert answer.headers.get("content-range") == case.content_range
    assert answer.headers["etag"] == ETAG
    if case.status == 416:
        assert answer.json()["code"] == "range_not_satisfiable"
    else:
        assert answer.content == case.body
        assert int(answer.headers["content-length"]) == len(case.body)
        assert answer.headers["content-type"] == "video/mp4"
        assert SANDBOX.items() <= dict(answer.headers).items()


@pytest.mark.parametrize(
    ("asked", "spans"),
    [
        ("bytes=0-4, 100-109, 9999-, -3", [(0, 4), (100, 109), (1021, 1023)]),
        ("bytes=5-9, 0-2", [(5, 9), (0, 2)]),  # in the order of the request
        ("bytes=0-9, 5-14", [(0, 9), (5, 14)]),  # overlapping
    ],
)
def test_several_ranges_come_as_parts(origin: Origin, asked: str, spans: list[tuple[int, int]]) -> None:
    answer = origin.client.get(origin.film, headers={"Range": asked})
    assert answer.status_code == 206
    assert "content-range" not in answer.headers
    match = re.fullmatch(r"multipart/byteranges; boundary=(\S+)", answer.headers["content-type"])
    assert match
    parts = answer.content.split(f"--{match[1]}".encode())
    assert parts[-1].strip() == b"--"
    heads, bodies = zip(*(part.removeprefix(b"\r\n").split(b"\r\n\r\n", 1) for part in parts[1:-1]), strict=True)
    ranges = [re.search(rb"Content-Range: (.*)", head + b"\n")[1].strip().decode() for head in heads]
    assert ranges == [f"bytes {first}-{last}/1024" for first, last in spans]
    assert [body.removesuffix(b"\r\n") for body in bodies] == [BODY[first : last + 1] for first, last in spans]
    assert all(b"Content-Type: video/mp4" in head for head in heads)


FUTURE, PAST = "Fri, 01 Jan 2100 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": ETAG}, 304),  # starlette: 200
        ({"If-None-Match": f'"x", W/{ETAG}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-None-Match": ETAG.strip('"')}, 200),
        ({"If-None-Match": ETAG, "Range": "bytes=0-1"}, 304),
        ({"If-Modified-Since": FUTURE}, 304),  # starlette: 200
        ({"If-Modified-Since": PAST}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-Modified-Since": FUTURE.replace("GMT", "+0100")}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": FUTURE}, 200),
        ({"If-Match": ETAG}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"x"'}, 412),  # starlette: 200
        ({"If-Match": f"W/{ETAG}"}, 412),
        ({"If-Match": '"x"', "If-None-Match": ETAG}, 412),
        ({"If-Match": '"x"', "Range": "bytes=9999-"}, 412),
        ({"If-Unmodified-Since": PAST}, 412),
        ({"If-Unmodified-Since": FUTURE}, 200),
        ({"If-Match": ETAG, "If-Unmodified-Since": PAST}, 200),
        ({"If-Range": ETAG, "Range": "bytes=0-1"}, 206),
        ({"If-Range": f"W/{ETAG}", "Range": "bytes=0-1"}, 200),
        ({"If-Range": '"x"', "Range": "bytes=0-1"}, 200),
        ({"If-Range": '"x"', "Range": "bytes=9999-"}, 200),
        ({"If-Range": FUTURE, "Range": "bytes=0-1"}, 200),
        ({"If-Range": "Last-Modified", "Range": "bytes=0-1"}, 206),
    ],
)
def test_conditions(origin: Origin, headers: dict[str, str], status: int) -> None:
    if headers.get("If-Range") == "Last-Modified":
        headers = headers | {"If-Range": origin.client.head(origin.film).headers["last-modified"]}
    answer = origin.client.get(origin.film, headers=headers)
    assert answer.status_code == status
    assert answer.headers["etag"] == ETAG
    if status == 412:
        assert answer.json()["code"] == "precondition_failed"
    else:
        assert len(answer.content) == {200: 1024, 206: 2}.get(status, 0)
    if status == 304:
        assert answer.headers["cache-control"] == "private, no-cache"
        assert "content-length" not in answer.headers
        assert "content-range" not in answer.headers


def test_fields_on_several_lines_are_one_list(origin: Origin) -> None:
    path = origin.film.removeprefix(origin.url)
    assert origin.raw_status(path, 'If-None-Match: "x"', f"If-None-Match: {ETAG}") == 304
    assert origin.raw_status(path, "Range: bytes=0-1", "Range: bytes=4-5") == 200


def test_head_tells_the_whole_length_and_sends_nothing(origin: Origin) -> None:
    """Range is defined for GET only; starlette answers 206."""
    answer = origin.client.head(origin.film, headers={"Range": "bytes=0-1"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == "1024"
    assert answer.headers["etag"] == ETAG
    assert origin.client.head(origin.film, headers={"If-None-Match": ETAG}).status_code == 304


def test_a_file_longer_than_one_read(origin: Origin) -> None:
    answer = origin.client.get(origin.film.replace(".mp4", ".mkv"), headers={"Range": "bytes=1-1500000"})
    assert answer.content == CONTENTS["dub.mkv"][1:1500001]
    assert answer.headers["content-type"] == "video/x-matroska"
    assert answer.headers["content-disposition"].startswith("attachment;")


@pytest.mark.parametrize(("asked", "status"), [(None, 200), ("bytes=-1", 200), ("bytes=0-", 416), ("bytes=-0", 416)])
def test_an_empty_file(origin: Origin, asked: str | None, status: int) -> None:
    (origin.output / "empty.txt").write_bytes(b"")
    answer = origin.client.get(f"{origin.url}/files/empty.txt", headers={"Range": asked} if asked else {})
    assert answer.status_code == status
    if status == 416:
        assert answer.headers["content-range"] == "bytes */0"
    else:
        assert answer.content == b""


@pytest.mark.parametrize(
    ("name", "kind", "disposition"),
    [
        ("a.m3u8", "application/vnd.apple.mpegurl", "attachment"),
        ("a.ts", "video/mp2t", "attachment"),
        ("a.m4s", "video/mp4", "attachment"),
        ("a.webm", "video/webm", "inline"),
        ("a.m4a", "audio/mp4", "inline"),
        ("a.aac", "audio/aac", "inline"),
        ("a.opus", "audio/ogg", "inline"),
        ("a.MP4", "video/mp4", "inline"),
        ("a.srt", "application/x-subrip; charset=utf-8", "attachment"),
        ("a.vtt", "text/vtt; charset=utf-8", "inline"),
        ("a.json", "application/json", "inline"),
        ("a.jsonl", "text/plain; charset=utf-8", "inline"),
        ("a.md", "text/plain; charset=utf-8", "inline"),
        ("a.wav", "audio/wav", "inline"),
        ("a.html", "application/octet-stream", "attachment"),
        ("a.svg", "application/octet-stream", "attachment"),
        ("a", "application/octet-stream", "attachment"),
    ],
)
def test_types(origin: Origin, name: str, kind: str, disposition: str) -> None:
    (origin.output / name).write_bytes(b"<script>alert(1)</script>")
    answer = origin.client.get(f"{origin.url}/files/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert answer.headers["content-disposition"].startswith(f"{disposition};")
    assert SANDBOX.items() <= dict(answer.headers).items()


def test_an_unrecorded_file_has_no_strong_validator(origin: Origin) -> None:
    """Starlette claims a tag of time and size to be strong."""
    (origin.output / "notes.txt").write_text("0123456789")
    url = f"{origin.url}/files/notes.txt"
    first = origin.client.get(url)
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    assert etag.startswith('W/"')
    assert origin.client.get(url, headers={"If-None-Match": etag}).status_code == 304
    assert origin.client.get(url, headers={"If-Match": etag}).status_code == 412
    assert origin.client.get(url, headers={"If-Match": "*"}).status_code == 200
    for condition in (etag, modified):
        assert origin.client.get(url, headers={"If-Range": condition, "Range": "bytes=0-1"}).content == b"0123456789"
    assert origin.client.get(url, headers={"Range": "bytes=0-1"}).content == b"01"
