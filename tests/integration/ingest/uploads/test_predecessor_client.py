"""The predecessor's clients over a real socket: init, chunks, status, complete; and a job of what they brought."""

import asyncio
import hashlib
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from shared.eventlog.jetstream import JetStreamEventLog
from shared.events.subjects import lifecycle_subject
from shared.events.types import JobSubmitted
from tests.broker import BinaryBroker
from tests.integration.ingest.service import Ingest, in_thread, running_ingest

CHUNK = 256 << 10
DATA = os.urandom(CHUNK * 5 + 777)


@pytest.fixture(scope="module")
def ingest(own_broker: BinaryBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    data = tmp_path_factory.mktemp("chunks") / "data"
    with running_ingest(data, own_broker.url, UPLOAD_CHUNK_BYTES=str(CHUNK)) as running:
        yield running


@pytest.fixture
def client(ingest: Ingest) -> Iterator[httpx.Client]:
    with ingest.client() as client:
        yield client


def init(client: httpx.Client, data: bytes, **more: object) -> dict[str, object]:
    answer = client.post("/api/uploads/init", json={"filename": "film.mp4", "total_bytes": len(data)} | more)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def send(client: httpx.Client, upload_id: object, data: bytes, index: int) -> httpx.Response:
    piece = data[index * CHUNK : (index + 1) * CHUNK]
    return client.post(
        f"/api/uploads/{upload_id}/chunk",
        params={"index": index, "offset": index * CHUNK},
        content=piece,
        headers={"X-Chunk-Sha256": hashlib.sha256(piece).hexdigest(), "Content-Type": "application/octet-stream"},
    )


def send_half(client: httpx.Client, upload_id: object, index: int) -> None:
    """The connection breaks in the middle of a chunk."""

    def broken() -> Iterator[bytes]:
        yield DATA[:3000]
        raise httpx.WriteError("cut")

    place = {"index": index, "offset": index * CHUNK}
    client.post(
        f"/api/uploads/{upload_id}/chunk", params=place, content=broken(), headers={"X-Chunk-Sha256": "ab" * 32}
    )


def complete(client: httpx.Client, upload_id: object, data: bytes) -> httpx.Response:
    return client.post(f"/api/uploads/{upload_id}/complete", json={"final_sha256": hashlib.sha256(data).hexdigest()})


def test_a_client_that_loses_repeats_and_mixes_up_chunks_gets_its_file_across(client: httpx.Client):
    """It sends what the status calls missing until nothing is; answers get lost, and chunks come twice."""
    begun = init(client, DATA, mime="video/mp4")
    upload_id = begun["upload_id"]
    assert (begun["chunk_bytes"], begun["total_chunks"], begun["max_upload_mb"]) == (CHUNK, 6, 2048)
    rng, sent = random.Random(7), 0
    while missing := client.get(f"/api/uploads/{upload_id}").json()["missing"]:
        due = missing[0]
        for index in (due, max(0, due - 1), due):  # an answer got lost; an old one again; and once more
            answer = send(client, upload_id, DATA, index)
            assert answer.status_code == 200
            assert answer.json()["dedup"] is (index != due or sent > due)
            sent = max(sent, index + 1)
        if rng.random() < 0.5:
            with pytest.raises(httpx.WriteError):
                send_half(client, upload_id, due + 1)
    answer = complete(client, upload_id, DATA)
    assert (answer.status_code, answer.json()["final_sha256"]) == (200, hashlib.sha256(DATA).hexdigest())
    assert complete(client, upload_id, DATA).status_code == 200
    status = client.get(f"/api/uploads/{upload_id}/status").json()
    assert (status["state"], status["received_bytes"], len(status["received"])) == ("complete", len(DATA), 6)


def test_a_parallel_client_gets_its_file_across(ingest: Ingest, client: httpx.Client):
    begun = init(client, DATA, expected_sha256=hashlib.sha256(DATA).hexdigest())

    def send_one(index: int) -> int:
        with ingest.client() as own:
            return send(own, begun["upload_id"], DATA, index).status_code

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(send_one, [3, 1, 5, 0, 4, 2])) == [200] * 6
    assert complete(client, begun["upload_id"], DATA).status_code == 200


def test_v14_a_file_with_a_chunk_left_out_is_not_complete(client: httpx.Client):
    upload_id = init(client, DATA)["upload_id"]
    for index in (0, 1):
        send(client, upload_id, DATA, index)
    early = send(client, upload_id, DATA, 3)
    assert (early.status_code, early.json()["due_index"], early.json()["due_offset"]) == (409, 2, 2 * CHUNK)
    answer = complete(client, upload_id, DATA)
    assert (answer.status_code, answer.json()["code"]) == (400, "chunks_missing")
    assert answer.json()["missing"] == [2, 3, 4, 5]


def test_an_upload_is_gone_on_with_by_its_id(client: httpx.Client):
    upload_id = init(client, DATA)["upload_id"]
    send(client, upload_id, DATA, 0)
    again = init(client, DATA, upload_id=upload_id)
    assert (again["upload_id"], again["missing"], list(again["received"])) == (upload_id, [1, 2, 3, 4, 5], ["0"])
    other = client.post("/api/uploads/init", json={"filename": "f", "total_bytes": 1, "upload_id": upload_id})
    assert other.status_code == 409


def test_a_chunk_says_what_it_is(client: httpx.Client):
    upload_id = init(client, DATA)["upload_id"]
    url, place = f"/api/uploads/{upload_id}/chunk", {"index": 0, "offset": 0}
    assert client.post(url, params=place, content=DATA[:CHUNK]).json()["code"] == "chunk_hash_missing"
    wrong = client.post(url, params=place, content=DATA[:CHUNK], headers={"X-Chunk-Sha256": "ab" * 32})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "chunk_hash_mismatch")
    assert client.post(url, params={"index": 0}, content=b"").status_code == 422
    assert client.get(f"/api/uploads/{upload_id}").json()["received_bytes"] == 0


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_a_job_is_made_of_an_upload_once(
    own_broker: BinaryBroker, log: JetStreamEventLog, video: Path, tmp_path: Path, encrypted: bool
):
    data = await asyncio.to_thread(video.read_bytes)
    key = {"ENCRYPT_AT_REST": "1", "ARTIFACTS_KEY": "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="} if encrypted else {}
    settings = {"UPLOAD_CHUNK_BYTES": str(CHUNK)} | key
    with running_ingest(tmp_path / "data", own_broker.url, **settings) as ingest, ingest.client() as client:

        def bring() -> object:
            upload_id = init(client, data)["upload_id"]
            early = client.post("/api/jobs", json={"upload_id": upload_id, "tgt_lang": "pt"})
            assert (early.status_code, early.json()["code"]) == (409, "upload_incomplete")
            for index in range(-(-len(data) // CHUNK)):
                assert send(client, upload_id, data, index).status_code == 200
            assert complete(client, upload_id, data).status_code == 200
            return upload_id

        upload_id = await asyncio.to_thread(bring)
        wrong = await in_thread(client.post, "/api/jobs", json={"upload_id": upload_id, "tgt_lang": "xx"})
        assert wrong.status_code == 422
        body = {"upload_id": upload_id, "tgt_lang": "pt", "src_lang": "en"}
        answers = await asyncio.gather(
            *(in_thread(client.post, "/api/jobs", json=body) for _ in range(4)),
            *(in_thread(client.post, "/api/jobs", json=body, headers={"Idempotency-Key": "once"}) for _ in range(4)),
        )
        made = [answer.json()["id"] for answer in answers if answer.status_code == 202]
        assert len(made) == 1
        assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"upload_used"}
        assert {answer.json()["id"] for answer in answers if answer.status_code == 200} <= set(made)
        job = await log.read(lifecycle_subject(made[0]))
        submitted = job[0].event
        assert isinstance(submitted, JobSubmitted)
        assert (submitted.data.upload_id, submitted.data.title) == (upload_id, "film.mp4")
        source = submitted.data.source
        assert (source.sha256, source.size) == (hashlib.sha256(data).hexdigest(), len(data))
        assert source.sealed == (upload_id if encrypted else None)
        on_disk = (ingest.layout.input / source.path).read_bytes()
        assert (on_disk == data) is not encrypted
        assert data[5000:5064] not in on_disk or not encrypted
        status = (await in_thread(client.get, f"/api/uploads/{upload_id}")).json()
        assert (status["state"], status["job_id"]) == ("used", made[0])
        removal = await in_thread(client.delete, f"/api/uploads/{upload_id}")
        assert (removal.status_code, removal.json()["code"]) == (409, "upload_used")


@pytest.mark.usefixtures("worker")
async def test_what_is_no_video_makes_no_job_and_stays_an_upload(ingest: Ingest, client: httpx.Client):
    def bring() -> object:
        upload_id = init(client, DATA)["upload_id"]
        for index in range(6):
            send(client, upload_id, DATA, index)
        complete(client, upload_id, DATA)
        return upload_id

    upload_id = await asyncio.to_thread(bring)
    answer = await in_thread(
        client.post, "/api/jobs", data={"upload_id": upload_id, "tgt_lang": "pt"}, files={"x": b""}
    )
    assert answer.status_code == 422, answer.text
    body = {"upload_id": upload_id, "tgt_lang": "pt", "src_lang": "en"}
    answer = await in_thread(client.post, "/api/jobs", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "not_a_video")
    assert (await in_thread(client.get, f"/api/uploads/{upload_id}")).json()["state"] == "complete"
    assert (await in_thread(client.delete, f"/api/uploads/{upload_id}")).status_code == 204
    gone = await in_thread(client.post, "/api/jobs", json=body)
    assert (gone.status_code, gone.json()["code"]) == (410, "upload_gone")
    body["upload_id"] = "up_0123456789abcdef"
    assert (await in_thread(client.post, "/api/jobs", json=body)).status_code == 404
    both = await in_thread(client.post, "/api/jobs", json=body | {"video_path": "a.mp4"})
    assert both.status_code == 422
