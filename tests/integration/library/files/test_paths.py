"""What /files never gives out, whoever asks and however the path is written, directly and through the gateway."""

import contextlib
import os
import socket
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from tests import local_http
from tests.integration.library.conftest import LibraryProcess
from tests.integration.library.files.conftest import (
    BODY,
    ETAG,
    STEM,
    TOKEN,
    Gateway,
    Origin,
    as_written_before_the_record,
)

SECRET = b"what must not come out"
ACCEL = b"x-accel"


@pytest.fixture(scope="package")
def secret(library: LibraryProcess, job: str) -> Path:
    """Things that lie about and must not come out."""
    outside = library.data / "secret.txt"
    outside.write_bytes(SECRET)
    output = library.layout.output
    (output / "link.txt").symlink_to(outside)
    (output / "chain.txt").symlink_to("link.txt")
    (output / "linked").symlink_to(library.data)
    (output / "inside.txt").symlink_to(Path(STEM) / f"{STEM}.dub.mp4")
    (output / ".hidden").write_bytes(SECRET)
    (output / STEM / ".job").write_bytes(SECRET)
    (output / "plain").mkdir()
    (output / "plain" / "index.html").write_bytes(SECRET)
    os.mkfifo(output / "pipe.txt")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(output / "s.txt"))
    work = output / STEM / "work" / job
    work.mkdir(parents=True)
    (work / "transcript.json").write_bytes(SECRET)
    (output / "jobs" / job).mkdir(parents=True, exist_ok=True)
    (output / "jobs" / job / "target.txt").write_bytes(SECRET)
    return outside


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "%2e%2e/secret.txt",
        "%2E%2E%2Fsecret.txt",
        "..%2fsecret.txt",
        "..%5csecret.txt",
        "%252e%252e/secret.txt",
        "%c0%ae%c0%ae/secret.txt",
        "plain/../../secret.txt",
        "plain/%2e%2e/%2e%2e/secret.txt",
        "./plain/../link.txt",
        "/secret.txt",
        "%2fetc/passwd",
        "{file./etc/passwd}",
        "%7Bfile./etc/passwd%7D",
        "%00",
        "a%00.txt",
        "link.txt%00.mp4",
        "%ff%fe",
        "link.txt",
        "chain.txt",
        "inside.txt",
        "linked/secret.txt",
        ".hidden",
        "_state/jobs.db",
        "_state%2fjobs.db",
        "_state/../_state/jobs.db",
        "jobs/JOB/target.txt",
        "plain",
        "plain/",
        "pipe.txt",
        "s.txt",
        "",
        "x" * 300,
        "y/" * 2000 + "z",
        f"{quote(STEM)}/.job",
        f"{quote(STEM)}/work/JOB/transcript.json",
    ],
)
def test_nothing_else_comes_out(origin: Origin, secret: Path, job: str, path: str) -> None:
    received = origin.raw("/files/" + path.replace("JOB", job))
    assert received.split(b" ", 2)[1] in {b"400", b"404"}
    assert SECRET not in received
    assert b"root:" not in received
    assert ACCEL not in received.lower()


def test_an_absolute_path_is_no_way_out(origin: Origin, secret: Path) -> None:
    assert origin.raw_status(f"/files/{secret}") == 404
    assert origin.raw_status(f"http://localhost/files/{secret}") == 404


def test_a_device_is_not_served(origin: Origin) -> None:
    device = origin.output / "null.txt"
    try:
        os.mknod(device, 0o20666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    assert origin.raw_status("/files/null.txt") == 404
    device.unlink()


@pytest.mark.parametrize(
    "name",
    ["\u202egnp.txt", "100% {env.HOME}.txt", "%2e%2e%2fsecret.txt", "a?b#c.txt",
     "é.txt", "e\u0301.txt", "日本語.txt", "x" * 251 + ".txt", "'\"\\;.txt", "~.txt"],
)  # fmt: skip
def test_names_that_are_only_odd_are_served(origin: Origin, name: str) -> None:
    (origin.output / "odd").mkdir(exist_ok=True)
    (origin.output / "odd" / name).write_text(name)
    received = origin.raw(f"/files/odd/{quote(name, safe='')}", "Range: bytes=1-")
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 206")
    assert body == name.encode()[1:]
    assert quote("\u202e").encode() not in head


def test_a_name_with_a_line_end_is_not_served(origin: Origin) -> None:
    """Nothing of ours has such a name, and no header shall."""
    (origin.output / "a\r\nSet-Cookie: x=1.txt").write_bytes(b"")
    received = origin.raw("/files/a%0d%0aSet-Cookie:%20x=1.txt")
    assert received.split(b" ", 2)[1] == b"404"
    assert b"\r\nSet-Cookie" not in received


def test_names_in_two_normal_forms_are_two_files(origin: Origin) -> None:
    for name in ("ü.txt", "u\u0308.txt"):
        (origin.output / name).write_text(name)
        assert origin.client.get(f"{origin.url}/files/{quote(name)}").text == name


def test_a_film_called_work_is_served(origin: Origin) -> None:
    origin.library.finished_job(stem="work")
    base = min(origin.output.glob("work*"))
    name = next(base.glob("*.mp4")).name
    assert origin.client.get(f"{origin.url}/files/{base.name}/{name}").content == BODY


def test_what_a_client_says_to_the_gateway_is_not_what_the_gateway_says(origin: Origin, secret: Path) -> None:
    """Neither does a client choose another file or other bytes, nor does it see how files are handed off."""
    path = origin.film.removeprefix(origin.url)
    spoofed = ("X-Accel-Redirect: /_state/jobs.db", "X-Accel-Range: bytes=0-1", "X-Dubline-Gateway: guess",
               "X-Dubline-Gateway: another")  # fmt: skip
    received = origin.raw(path, *spoofed)
    assert received.endswith(BODY)
    assert received.count(b"\r\nContent-Length: 1024\r\n") + received.count(b"\r\ncontent-length: 1024\r\n") == 1
    assert ACCEL not in received.lower()


def test_the_gateway_is_told_only_if_it_is_the_gateway(library: LibraryProcess, job: str) -> None:
    """And then no byte of the file goes through Python: this is what makes the other tests those of the hand-off."""
    url = f"{library.url}/files/{quote(STEM)}/{quote(STEM)}.dub.mp4"
    told = local_http.get(url, headers={"X-Dubline-Gateway": TOKEN, "Range": "bytes=5-9"})
    assert (told.status_code, told.content) == (200, b"")
    assert told.headers["x-accel-redirect"] == f"/{quote(STEM)}/{quote(STEM)}.dub.mp4"
    assert told.headers["x-accel-range"] == "bytes=5-9"
    assert told.headers["etag"] == ETAG
    for guess in ("", TOKEN[:-1], TOKEN.upper()):
        assert ACCEL.decode() not in str(local_http.get(url, headers={"X-Dubline-Gateway": guess}).headers)


def test_a_file_that_is_gone_before_the_gateway_opens_it(library: LibraryProcess, job: str, tmp_path: Path) -> None:
    """An error of the gateway's own, under none of the file's headers."""
    (tmp_path / "elsewhere").mkdir()
    gateway = Gateway(library, tmp_path / "elsewhere")
    with gateway.running(tmp_path):
        answer = local_http.get(f"http://127.0.0.1:{gateway.port}/files/{quote(STEM)}/{quote(STEM)}.dub.mp4")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "gateway_error"
    for name in ("etag", "last-modified", "content-disposition", "accept-ranges", "x-accel-redirect"):
        assert name not in answer.headers


def test_a_replaced_file_no_longer_carries_the_recorded_digest(origin: Origin) -> None:
    job = origin.library.finished_job(stem=f"replaced {origin.port}")
    base = min(origin.output.glob(f"replaced {origin.port}*"))
    as_written_before_the_record(base)
    film = next(base.glob("*.mp4"))
    url = f"{origin.url}/files/{quote(base.name)}/{quote(film.name)}"
    assert job
    assert origin.client.get(url).headers["etag"] == ETAG
    film.write_bytes(bytes(len(BODY)))  # as long as the one before
    assert origin.client.get(url).headers["etag"].startswith("W/")
    film.write_bytes(b"somebody else's")
    as_written_before_the_record(base)
    assert origin.client.get(url).headers["etag"].startswith("W/")


def open_outputs(library: LibraryProcess) -> list[str]:
    """Return the outputs that the process holds open now."""
    assert library.process
    found = []
    for descriptor in Path(f"/proc/{library.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(descriptor.readlink()))
    return [name for name in found if ".dub." in name]


def test_a_client_that_leaves_costs_no_open_file(origin: Origin) -> None:
    target = origin.film.removeprefix(origin.url).replace(".mp4", ".mkv")
    key = f"X-Api-Key: {local_http.local_key()}"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", origin.port), 5) as connection:
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{key}\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
    deadline = time.monotonic() + 5
    while open_outputs(origin.library):
        assert time.monotonic() < deadline
        time.sleep(0.05)
