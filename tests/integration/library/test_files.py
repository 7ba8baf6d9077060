"""GET /files over a real socket: RFC 9110, and nothing outside of the output root."""

import contextlib
import hashlib
import os
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.integration.library.conftest import CONTENTS, LibraryProcess

STEM = "A film, “quoted” 100%"
BODY = CONTENTS["dub.mp4"]  # 1024 bytes
ETAG = f'"{hashlib.sha256(BODY).hexdigest()}"'


@pytest.fixture(scope="module")
def job(library: LibraryProcess) -> str:
    return library.finished_job(stem=STEM)


@pytest.fixture(scope="module")
def url(library: LibraryProcess, job: str) -> str:
    return f"{library.url}/files/{quote(STEM)}/{quote(STEM)}.dub.mp4"


def test_a_whole_file_with_what_is_known_of_it(url: str) -> None:
    answer = httpx.get(url)
    assert (answer.status_code, answer.content) == (200, BODY)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["etag"] == ETAG
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
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
    Case("bytes=-5", 206, "bytes 1019-1023/1024", BODY[-5:]),
    Case("bytes=-9999", 206, "bytes 0-1023/1024", BODY),
    Case("bytes=1024-", 416, "bytes */1024"),
    Case("bytes=-0", 416, "bytes */1024"),
    Case("bytes=2000-3000, 5000-", 416, "bytes */1024"),
    Case("bytes=5-7, 5000-", 206, "bytes 5-7/1024", BODY[5:8]),
    Case("bytes=9-5", 200, None, BODY),
    Case("bytes=a-b", 200, None, BODY),
    Case("bytes=-", 200, None, BODY),
    Case("bytes=", 200, None, BODY),
    Case("bytes=1-2, x", 200, None, BODY),
    Case("seconds=1-2", 200, None, BODY),
    Case("bytes=0-, 0-, 0-", 200, None, BODY),
    Case("bytes=" + ",".join(f"{n}-{n}" for n in range(100)), 200, None, BODY),
    Case("bytes=99999999999999999999999999-", 200, None, BODY),
    Case("bytes=1٣-19", 200, None, BODY),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.asked[:24])
def test_ranges(url: str, case: Case) -> None:
    answer = httpx.get(url, headers={b"Range": case.asked.encode()})
    assert answer.status_code == case.status
    assert answer.headers.get("content-range") == case.content_range
    if case.status == 416:
        assert answer.json()["code"] == "range_not_satisfiable"
    else:
        assert answer.content == case.body
        assert int(answer.headers["content-length"]) == len(case.body)


def test_several_ranges_come_as_parts(url: str) -> None:
    answer = httpx.get(url, headers={"Range": "bytes=0-4, 100-109, 9999-, -3"})
    assert answer.status_code == 206
    match = re.fullmatch(r"multipart/byteranges; boundary=(\S+)", answer.headers["content-type"])
    assert match
    parts = answer.content.split(f"--{match[1]}".encode())
    assert parts[-1] == b"--\r\n"
    heads, bodies = zip(*(part.strip(b"\r\n").split(b"\r\n\r\n", 1) for part in parts[1:-1]), strict=True)
    assert [head.split(b"Content-Range: ")[1] for head in heads] == [
        b"bytes 0-4/1024", b"bytes 100-109/1024", b"bytes 1021-1023/1024",
    ]  # fmt: skip
    assert list(bodies) == [BODY[:5], BODY[100:110], BODY[-3:]]
    assert all(b"Content-Type: video/mp4" in head for head in heads)


FUTURE, PAST = "Fri, 01 Jan 2100 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": ETAG}, 304),
        ({"If-None-Match": f'"x", W/{ETAG}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-None-Match": ETAG, "Range": "bytes=0-1"}, 304),
        ({"If-Modified-Since": FUTURE}, 304),
        ({"If-Modified-Since": PAST}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": FUTURE}, 200),
        ({"If-Match": ETAG}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": f"W/{ETAG}"}, 412),
        ({"If-Unmodified-Since": PAST}, 412),
        ({"If-Unmodified-Since": FUTURE}, 200),
        ({"If-Range": ETAG, "Range": "bytes=0-1"}, 206),
        ({"If-Range": f"W/{ETAG}", "Range": "bytes=0-1"}, 200),
        ({"If-Range": '"x"', "Range": "bytes=0-1"}, 200),
        ({"If-Range": '"x"', "Range": "bytes=9999-"}, 200),
        ({"If-Range": FUTURE, "Range": "bytes=0-1"}, 200),
    ],
)
def test_conditions(url: str, headers: dict[str, str], status: int) -> None:
    answer = httpx.get(url, headers=headers)
    assert answer.status_code == status
    assert answer.headers["etag"] == ETAG
    assert len(answer.content) == {200: 1024, 206: 2}.get(status, 0)


def test_head_tells_the_whole_length_and_sends_nothing(url: str) -> None:
    answer = httpx.head(url, headers={"Range": "bytes=0-1"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == "1024"


def test_a_file_longer_than_one_read(library: LibraryProcess, url: str) -> None:
    answer = httpx.get(url.replace(".mp4", ".mkv"), headers={"Range": "bytes=1-1500000"})
    assert answer.content == CONTENTS["dub.mkv"][1:1500001]
    assert answer.headers["content-type"] == "video/x-matroska"
    assert answer.headers["content-disposition"].startswith("attachment;")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.srt", "application/x-subrip"), ("a.vtt", "text/vtt"), ("a.json", "application/json"), ("a.wav", "audio/wav"),
     ("a.html", "application/octet-stream"), ("a", "application/octet-stream")],
)  # fmt: skip
def test_types(library: LibraryProcess, name: str, kind: str) -> None:
    (library.layout.output / name).write_bytes(b"")
    answer = httpx.get(f"{library.url}/files/{name}", headers={"Range": "bytes=-1"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].split(";")[0] == kind
    assert answer.headers["etag"].startswith("W/")


def test_an_unrecorded_file_has_no_strong_validator(library: LibraryProcess) -> None:
    (library.layout.output / "notes.txt").write_text("0123456789")
    url = f"{library.url}/files/notes.txt"
    etag = httpx.get(url).headers["etag"]
    assert httpx.get(url, headers={"If-None-Match": etag}).status_code == 304
    assert httpx.get(url, headers={"If-Range": etag, "Range": "bytes=0-1"}).content == b"0123456789"
    assert httpx.get(url, headers={"Range": "bytes=0-1"}).content == b"01"


def test_a_replaced_file_no_longer_carries_the_recorded_digest(library: LibraryProcess) -> None:
    job = library.finished_job(stem="replaced")
    listed = httpx.get(f"{library.url}/api/jobs/{job}/files").json()["mp4"]
    (library.layout.output / listed["path"]).write_bytes(b"somebody else's")
    assert httpx.get(library.url + listed["url"]).headers["etag"].startswith("W/")


def raw_get(library: LibraryProcess, target: str) -> int:
    """Ask without a client that would tidy the path up."""
    with socket.create_connection(("127.0.0.1", library.port), 5) as connection:
        request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        return int(connection.recv(4096).split(b" ")[1])


@pytest.fixture(scope="module")
def secret(library: LibraryProcess, job: str) -> Path:
    """Things that lie about and must not come out."""
    outside = library.data / "secret.txt"
    outside.write_text("secret")
    output = library.layout.output
    (output / "link.txt").symlink_to(outside)
    (output / "linked").symlink_to(library.data)
    (output / ".hidden").write_text("secret")
    (output / STEM / ".checkpoint.json").write_text("{}")
    (output / "plain").mkdir()
    os.mkfifo(output / "pipe.txt")
    work = output / STEM / "work" / job
    work.mkdir(parents=True)
    (work / "transcript.json").write_text("{}")
    return outside


@pytest.mark.parametrize(
    "path",
    [
        "/files/../secret.txt",
        "/files/%2e%2e/secret.txt",
        "/files/..%2fsecret.txt",
        "/files/plain/../../secret.txt",
        "/files//secret.txt",
        "/files/%00",
        "/files/a%00.txt",
        "/files/%ff%fe",
        "/files/link.txt",
        "/files/linked/secret.txt",
        "/files/.hidden",
        "/files/_state/jobs.db",
        "/files/plain",
        "/files/plain/",
        "/files/pipe.txt",
        "/files/",
        "/files/" + "x" * 300,
        "/files/" + "y/" * 2000 + "z",
        f"/files/{quote(STEM)}/.checkpoint.json",
        f"/files/{quote(STEM)}/work/JOB/transcript.json",
    ],
)
def test_nothing_else_comes_out(library: LibraryProcess, secret: Path, job: str, path: str) -> None:
    assert raw_get(library, path.replace("JOB", job)) == 404


def test_an_absolute_path_is_no_way_out(library: LibraryProcess, secret: Path) -> None:
    assert raw_get(library, f"/files/{secret}") == 404


def test_a_film_called_work_is_served(library: LibraryProcess) -> None:
    job = library.finished_job(stem="work")
    url = httpx.get(f"{library.url}/api/jobs/{job}/files").json()["mp4"]["url"]
    assert httpx.get(library.url + url).content == BODY


def open_outputs(library: LibraryProcess) -> list[str]:
    """Return the outputs that the process holds open now."""
    assert library.process
    found = []
    for descriptor in Path(f"/proc/{library.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(descriptor.readlink()))
    return [name for name in found if ".dub." in name]


def test_a_client_that_leaves_costs_no_open_file(library: LibraryProcess, url: str) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", library.port), 5) as connection:
            target = url.removeprefix(library.url).replace(".mp4", ".mkv")
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            connection.recv(100)
    deadline = time.monotonic() + 5
    while open_outputs(library):
        assert time.monotonic() < deadline
        time.sleep(0.05)
