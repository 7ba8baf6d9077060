"""tus 1.0.0 over a real socket, after tusd's own tests: OPTIONS, POST, HEAD, PATCH, DELETE, checksums, take-over."""

import asyncio
import base64
import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from shared.eventlog.jetstream import JetStreamEventLog
from shared.events.subjects import upload_subject
from tests import local_http
from tests.broker import BinaryBroker
from tests.integration.ingest.service import Ingest, running_ingest

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream"}
PATH = "/api/uploads/tus"
DATA = os.urandom(3 << 20)


@pytest.fixture(scope="module")
def ingest(own_broker: BinaryBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """An ingest where everybody may begin many uploads."""
    data = tmp_path_factory.mktemp("uploads") / "data"
    with running_ingest(data, own_broker.url, MAX_OPEN_UPLOADS="1000", DUBLINE_BODY_IDLE_S="1") as running:
        yield running


@pytest.fixture
def client(ingest: Ingest) -> Iterator[httpx.Client]:
    with ingest.client() as client:
        yield client


def create(client: httpx.Client, size: int, **headers: str) -> httpx.Response:
    return client.post(PATH, headers=TUS | {"Upload-Length": str(size)} | headers)


def begun(client: httpx.Client, size: int) -> str:
    answer = create(client, size)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"]


def patch(client: httpx.Client, url: str, offset: int, data: bytes, **headers: str) -> httpx.Response:
    return client.patch(url, headers=BYTES | {"Upload-Offset": str(offset)} | headers, content=data)


def offset_of(client: httpx.Client, url: str) -> int:
    return int(client.head(url, headers=TUS).headers["Upload-Offset"])


def checksum(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


def test_options_tells_what_is_offered_without_a_version_in_the_request(client: httpx.Client):
    for url in (PATH, begun(client, 1)):
        answer = client.options(url)
        assert answer.status_code == 204
        assert answer.headers["Tus-Version"] == answer.headers["Tus-Resumable"] == "1.0.0"
        assert answer.headers["Tus-Extension"] == "creation,creation-with-upload,checksum,termination,expiration"
        assert answer.headers["Tus-Max-Size"] == str(2048 << 20)
        assert answer.headers["Tus-Checksum-Algorithm"] == "sha256,sha1"


def test_creation_gives_a_place_an_offset_and_a_time(client: httpx.Client):
    answer = create(client, 300, **{"Upload-Metadata": "filename ZmlsbS5tcDQ=,filetype dmlkZW8vbXA0"})
    assert answer.status_code == 201
    assert re.fullmatch(r"/api/uploads/tus/up_[0-9a-f]{16}", answer.headers["Location"])
    assert answer.headers["Upload-Offset"] == "0"
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    left_s = parsedate_to_datetime(answer.headers["Upload-Expires"]).timestamp() - time.time()
    assert 23.9 * 3600 < left_s <= 24 * 3600
    head = client.head(answer.headers["Location"], headers=TUS)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Upload-Length"] == "300"
    assert head.headers["Upload-Metadata"] == "filename ZmlsbS5tcDQ=,filetype dmlkZW8vbXA0"
    assert head.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Length": "-5"}, 400),
        ({"Upload-Length": "many"}, 400),
        ({"Upload-Length": ""}, 400),
        ({"Upload-Defer-Length": "1"}, 400),
        ({"Upload-Length": "5", "Upload-Concat": "partial"}, 400),
        ({"Upload-Length": "5", "Upload-Metadata": "filename not base64"}, 400),
        ({"Upload-Length": str((2048 << 20) + 1)}, 413),
        ({"Upload-Length": "5", "Tus-Resumable": "0.2.0"}, 412),
    ],
)
def test_a_creation_that_is_refused_says_why_and_makes_nothing(
    ingest: Ingest, client: httpx.Client, headers: dict[str, str], status: int
):
    before = sorted(ingest.layout.uploads.iterdir())
    answer = client.post(PATH, headers=TUS | headers)
    assert (answer.status_code, answer.headers["Tus-Resumable"]) == (status, "1.0.0")
    assert answer.json()["detail"]
    assert sorted(ingest.layout.uploads.iterdir()) == before


def test_a_creation_may_bring_the_first_bytes_and_even_all_of_them(client: httpx.Client):
    headers = BYTES | {"Upload-Length": "10"}
    part = client.post(PATH, headers=headers, content=b"1234")
    assert (part.status_code, part.headers["Upload-Offset"]) == (201, "4")
    whole = client.post(PATH, headers=headers, content=b"1234567890")
    assert whole.headers["Upload-Offset"] == "10"
    assert "Upload-Expires" not in whole.headers
    assert client.get(whole.headers["Location"].replace("/tus", "")).json()["state"] == "complete"
    assert client.post(PATH, headers=TUS | {"Upload-Length": "5"}, content=b"12345").status_code == 415
    assert client.post(PATH, headers=headers, content=b"12345678901").status_code == 413
    wrong = client.post(PATH, headers=headers | {"Upload-Checksum": checksum(b"x")}, content=b"1234")
    assert (wrong.status_code, wrong.headers["Upload-Offset"]) == (460, "0")
    assert offset_of(client, wrong.headers["Location"]) == 0


def test_an_upload_in_three_requests(ingest: Ingest, client: httpx.Client):
    url = begun(client, len(DATA))
    for start, end in ((0, 1_000_000), (1_000_000, 1_000_001), (1_000_001, len(DATA))):
        answer = patch(client, url, start, DATA[start:end])
        assert (answer.status_code, answer.content) == (204, b"")
        assert int(answer.headers["Upload-Offset"]) == end == offset_of(client, url)
    told = client.get(url.replace("/tus", "") + "/status").json()
    assert (told["state"], told["sha256"]) == ("complete", hashlib.sha256(DATA).hexdigest())
    upload_id = url.rsplit("/", 1)[1]
    assert ingest.layout.upload_bytes(upload_id).read_bytes() == DATA
    again = patch(client, url, len(DATA), b"")
    assert (again.status_code, again.headers["Upload-Offset"]) == (204, str(len(DATA)))


def test_a_body_of_unknown_length_is_taken_too(client: httpx.Client):
    url = begun(client, len(DATA))
    answer = client.patch(
        url, headers=BYTES | {"Upload-Offset": "0"}, content=iter([DATA[:2_000_000], DATA[2_000_000:]])
    )
    assert answer.headers["Upload-Offset"] == str(len(DATA))


def test_what_is_wrong_with_a_patch_is_told_by_its_status(client: httpx.Client):
    url = begun(client, 10)
    patch(client, url, 0, b"123")
    conflict = patch(client, url, 5, b"678")
    assert (conflict.status_code, conflict.headers["Upload-Offset"]) == (409, "3")
    assert patch(client, url, 3, b"12345678").status_code == 413
    assert client.patch(url, headers=TUS | {"Upload-Offset": "3"}, content=b"4").status_code == 415
    assert client.patch(url, headers=BYTES, content=b"4").status_code == 400
    assert patch(client, url, 3, b"4", **{"Tus-Resumable": "0.9"}).status_code == 412
    assert patch(client, url, 3, b"4", **{"Upload-Checksum": "md5 YQ=="}).status_code == 400
    unknown = f"{PATH}/up_0123456789abcdef"
    for answer in (
        patch(client, unknown, 0, b"1"),
        client.head(unknown, headers=TUS),
        client.delete(unknown, headers=TUS),
    ):
        assert (answer.status_code, answer.headers["Tus-Resumable"]) == (404, "1.0.0")
    assert offset_of(client, url) == 3


@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
def test_a_checksum_that_does_not_hold_is_460_and_leaves_nothing(client: httpx.Client, algorithm: str):
    url = begun(client, 10)
    wrong = patch(client, url, 0, b"12345", **{"Upload-Checksum": checksum(b"54321", algorithm)})
    assert (wrong.status_code, wrong.json()["code"]) == (460, "checksum_mismatch")
    assert offset_of(client, url) == 0
    assert patch(client, url, 0, b"12345", **{"Upload-Checksum": checksum(b"12345", algorithm)}).status_code == 204


def test_a_terminated_upload_is_gone(ingest: Ingest, client: httpx.Client):
    url = begun(client, 10)
    patch(client, url, 0, b"123")
    answer = client.delete(url, headers=TUS)
    assert (answer.status_code, answer.content, answer.headers["Tus-Resumable"]) == (204, b"", "1.0.0")
    for again in (client.head(url, headers=TUS), patch(client, url, 3, b"4"), client.delete(url, headers=TUS)):
        assert again.status_code == 410
    assert not ingest.layout.upload_bytes(url.rsplit("/", 1)[1]).exists()


def test_nothing_else_is_answered_there(client: httpx.Client):
    url = begun(client, 10)
    assert (
        client.post(url, headers=BYTES | {"X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0"}).status_code == 405
    )
    assert client.get(url).status_code == 405
    assert client.put(url).status_code == 405


def connected(ingest: Ingest) -> socket.socket:
    url = httpx.URL(ingest.url)
    return socket.create_connection((url.host, url.port), 10)


def patch_head(url: str, length: int) -> bytes:
    return (
        f"PATCH {url} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Api-Key: {local_http.local_key()}\r\nTus-Resumable: 1.0.0\r\n"
        f"Upload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def send_until_it_breaks(connection: socket.socket) -> None:
    for _ in range(100):
        connection.sendall(b"wrong" * 100_000)
        time.sleep(0.01)


def arrived(ingest: Ingest, client: httpx.Client, url: str, at_least: int) -> None:
    deadline = time.monotonic() + 10
    while client.get(url.replace("/tus", "")).json()["received_bytes"] < at_least:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_hanging_connection_is_taken_over_and_hears_that_it_was(ingest: Ingest, client: httpx.Client):
    """tusd 1356. The old connection goes on sending; none of that is written."""
    url = begun(client, len(DATA))
    with connected(ingest) as old:
        old.sendall(patch_head(url, len(DATA)) + DATA[: 1 << 20])
        arrived(ingest, client, url, 1 << 20)
        began = time.monotonic()
        offset = offset_of(client, url)
        assert offset == 1 << 20
        assert time.monotonic() - began < 0.9, "it does not wait for the idle limit"
        answer = patch(client, url, offset, DATA[offset:])
        assert answer.status_code == 204
        assert old.recv(65536).startswith(b"HTTP/1.1 409")
        with pytest.raises(OSError, match=r"."):
            send_until_it_breaks(old)
    assert client.get(url.replace("/tus", "")).json()["sha256"] == hashlib.sha256(DATA).hexdigest()


def test_a_connection_that_sends_nothing_is_dropped_and_what_it_sent_is_kept(ingest: Ingest, client: httpx.Client):
    url = begun(client, len(DATA))
    with connected(ingest) as old:
        old.sendall(patch_head(url, len(DATA)) + DATA[:700_000])
        assert old.recv(65536).startswith(b"HTTP/1.1 408")
    assert offset_of(client, url) == 700_000


def test_cut_connections_never_take_the_offset_back(ingest: Ingest, client: httpx.Client):
    url, offset = begun(client, len(DATA)), 0
    for _ in range(8):
        with connected(ingest) as cut:
            head = patch_head(url, len(DATA) - offset).replace(b"Upload-Offset: 0", f"Upload-Offset: {offset}".encode())
            cut.sendall(head + DATA[offset : offset + 300_000])
            arrived(ingest, client, url, offset)
        found = offset_of(client, url)
        assert found >= offset
        offset = found
    patch(client, url, offset, DATA[offset:])
    assert client.get(url.replace("/tus", "")).json()["sha256"] == hashlib.sha256(DATA).hexdigest()


async def test_the_log_hears_of_beginning_end_and_removal_and_of_no_piece(
    ingest: Ingest, log: JetStreamEventLog, client: httpx.Client
):
    def three() -> list[str]:
        begun_only, whole, removed = begun(client, 10), begun(client, 10), begun(client, 10)
        for at in range(10):
            patch(client, whole, at, b"x")
        client.delete(removed, headers=TUS)
        return [url.rsplit("/", 1)[1] for url in (begun_only, whole, removed)]

    told = []
    for upload_id in await asyncio.to_thread(three):
        records = await log.read(upload_subject(upload_id))
        told.append([record.event.type.split(".")[2] for record in records if record.event])
    assert told == [["created"], ["created", "completed"], ["created", "removed"]]


def test_who_is_not_signed_in_begins_nothing(ingest: Ingest):
    answer = httpx.post(ingest.url + PATH, headers=TUS | {"Upload-Length": "1"}, trust_env=False)
    assert answer.status_code == 401


async def test_a_user_has_so_many_uploads_and_fifty_threads_get_no_more(own_broker: BinaryBroker, tmp_path: Path):
    settings = {"MAX_OPEN_UPLOADS": "8", "MAX_UPLOAD_MB": "1", "MAX_OPEN_UPLOAD_MB": "5"}
    with running_ingest(tmp_path / "data", own_broker.url, **settings) as ingest:

        def create_one(_: int) -> int:
            with ingest.client() as client:
                return create(client, 1 << 20).status_code

        statuses = await asyncio.gather(*(asyncio.to_thread(create_one, n) for n in range(50)))
        assert statuses.count(201) == 5, "5 MiB in all"
        assert statuses.count(429) == 45
        assert len(list(ingest.layout.uploads.glob("*.upload.json"))) == 5


def test_without_room_on_the_disk_nothing_begins(own_broker: BinaryBroker, tmp_path: Path):
    with running_ingest(tmp_path / "data", own_broker.url, MIN_FREE_GB="100000") as ingest, ingest.client() as client:
        answer = create(client, 10)
        assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
        assert client.post("/api/uploads/init", json={"filename": "a.mp4", "total_bytes": 1}).status_code == 507
