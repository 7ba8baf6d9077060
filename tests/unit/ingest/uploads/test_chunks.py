"""The predecessor's chunks on a store that only appends: no hole, no count that is not true."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect

from services.ingest.uploads import chunks
from services.ingest.uploads.chunks import append_chunk, complete
from services.ingest.uploads.record import Wanted
from services.ingest.uploads.store import Upload
from services.ingest.uploads.uploads import Uploads
from shared.problems import Problem
from tests.unit.ingest.uploads.made import ALICE, CHUNK, begun, body, pieces_of, uploads_at

DATA = random.Random(3).randbytes(CHUNK * 4 + 12_345)
SHA256 = hashlib.sha256(DATA).hexdigest()
PIECES = pieces_of(DATA)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "EARLY_WAIT_S", 0.05)


async def send(uploads: Uploads, upload: Upload, index: int, pieces: AsyncIterator[bytes] | None = None) -> bool:
    piece = PIECES[index]
    sha256 = hashlib.sha256(piece).hexdigest()
    return await append_chunk(uploads, upload, index, index * CHUNK, len(piece), sha256, pieces or body(piece))


async def refused(work: object) -> Problem:
    with pytest.raises(Problem) as refusal:
        await work  # type: ignore[misc]
    return refusal.value


async def test_a_sequential_client_gets_through(tmp_path: Path):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, len(DATA), in_chunks=True)
    for index in range(len(PIECES)):
        assert await send(uploads, upload, index)
        assert upload.record.state == "receiving", "until the client says that it is complete"
    await complete(uploads, upload, SHA256.upper())
    await complete(uploads, upload, None)
    assert (upload.record.state, upload.record.sha256) == ("complete", SHA256)


@pytest.mark.parametrize("seed", range(8))
async def test_a_parallel_client_gets_through_in_whatever_order_its_connections_open(tmp_path: Path, seed: int):
    uploads, order = uploads_at(tmp_path), list(range(len(PIECES)))
    random.Random(seed).shuffle(order)
    upload = await begun(uploads, len(DATA), in_chunks=True)
    assert all(await asyncio.gather(*(send(uploads, upload, index) for index in order)))
    await complete(uploads, upload, SHA256)
    assert upload.received.path.read_bytes() == DATA


async def test_chunks_wait_as_long_as_the_one_before_them_takes(tmp_path: Path):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, len(DATA), in_chunks=True)

    async def slowly() -> AsyncIterator[bytes]:
        for piece in pieces_of(PIECES[0], CHUNK // 4):
            await asyncio.sleep(0.05)  # longer in all than anybody waits for nothing
            yield piece

    others = [send(uploads, upload, index) for index in (3, 2, 1)]
    assert all(await asyncio.gather(send(uploads, upload, 0, slowly()), *others))


@pytest.mark.parametrize("dropped", range(len(PIECES)))
async def test_v14_a_chunk_that_was_never_sent_is_named_and_nothing_is_complete(tmp_path: Path, dropped: int):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, len(DATA), in_chunks=True)
    for index in range(len(PIECES)):
        if index < dropped:
            await send(uploads, upload, index)
        elif index > dropped:
            problem = await refused(send(uploads, upload, index))
            assert (problem.status, problem.code) == (409, "chunk_not_due")
            assert problem.extra["due_index"] == dropped
            assert problem.extra["due_offset"] == dropped * CHUNK
    problem = await refused(complete(uploads, upload, SHA256))
    assert (problem.status, problem.code, problem.extra["missing"][0]) == (400, "chunks_missing", dropped)
    for index in problem.extra["missing"]:
        await send(uploads, upload, index)
    await complete(uploads, upload, SHA256)
    assert upload.record.sha256 == SHA256


async def test_the_same_chunk_again_is_there_and_other_bytes_in_its_place_are_refused(tmp_path: Path):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, len(DATA), in_chunks=True)
    assert await send(uploads, upload, 0) is True
    assert await send(uploads, upload, 0) is False
    other = hashlib.sha256(b"other").hexdigest()
    problem = await refused(append_chunk(uploads, upload, 0, 0, CHUNK, other, body(b"")))
    assert (problem.status, problem.code) == (409, "chunk_differs")
    again = uploads_at(tmp_path)
    assert await send(again, again.find(upload.id, ALICE), 0) is False


@pytest.mark.parametrize(
    ("index", "offset", "size"),
    [(0, 1, CHUNK), (1, 0, CHUNK), (0, 0, CHUNK - 1), (0, 0, CHUNK + 1), (4, 4 * CHUNK, CHUNK), (5, 5 * CHUNK, 1),
     (-1, 0, CHUNK), (1, CHUNK // 2, CHUNK)],
)  # fmt: skip
async def test_a_chunk_has_one_place_and_one_size(tmp_path: Path, index: int, offset: int, size: int):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, len(DATA), in_chunks=True)
    sha256 = hashlib.sha256(bytes(size)).hexdigest()
    problem = await refused(append_chunk(uploads, upload, index, offset, size, sha256, body(bytes(size))))
    assert (problem.status, problem.code) == (409, "chunk_geometry")
    assert upload.offset == 0


@pytest.mark.parametrize("size", [0, CHUNK - 1, CHUNK + 1])
async def test_c1_what_is_counted_is_what_is_there_whatever_size_a_chunk_came_in(tmp_path: Path, size: int):
    """Predecessor fault C1: received_bytes counted a chunk that was sent again with another size."""
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, len(DATA), in_chunks=True)
    await send(uploads, upload, 0)
    sent = bytes(size)
    problem = await refused(append_chunk(uploads, upload, 1, CHUNK, None, hashlib.sha256(sent).hexdigest(), body(sent)))
    assert problem.status in (409, 413)
    assert upload.offset == CHUNK
    assert await send(uploads, upload, 1)
    assert upload.offset == 2 * CHUNK


async def test_bytes_that_are_not_those_of_the_digest_leave_nothing(tmp_path: Path):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, len(DATA), in_chunks=True)
    problem = await refused(send(uploads, upload, 0, body(bytes(CHUNK))))
    assert (problem.status, problem.code) == (400, "chunk_hash_mismatch")
    assert upload.offset == 0
    assert await send(uploads, upload, 0)


async def test_half_a_chunk_leaves_nothing_and_comes_again(tmp_path: Path):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, len(DATA), in_chunks=True)
    with pytest.raises(ClientDisconnect):
        await send(uploads, upload, 0, body(PIECES[0][:1000], error=ClientDisconnect()))
    assert upload.offset == 0
    assert await send(uploads, upload, 0)


async def test_the_same_chunk_over_a_new_connection_takes_over_from_the_dead_one(tmp_path: Path):
    uploads, began = uploads_at(tmp_path), asyncio.Event()
    upload = await begun(uploads, len(DATA), in_chunks=True)

    async def dead() -> AsyncIterator[bytes]:
        yield PIECES[0][:1000]
        began.set()
        await asyncio.Event().wait()

    old = asyncio.create_task(send(uploads, upload, 0, dead()))
    await began.wait()
    assert await send(uploads, upload, 0)
    assert (await refused(old)).code == "upload_taken_over"
    assert upload.offset == CHUNK


async def test_both_protocols_go_on_with_the_same_upload(tmp_path: Path):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, len(DATA), in_chunks=True)
    await send(uploads, upload, 0)
    await uploads.append(upload, CHUNK, None, body(PIECES[1]), None)
    assert (await refused(send(uploads, upload, 1))).code == "chunk_differs", "it came as no chunk, so nobody can tell"
    await send(uploads, upload, 2)
    await uploads.append(upload, 3 * CHUNK, None, body(*PIECES[3:]), None)
    await complete(uploads, upload, SHA256)


async def test_an_upload_that_was_promised_to_be_another_file_is_not_complete(tmp_path: Path):
    uploads = uploads_at(tmp_path)
    upload = await uploads.create(Wanted("film.mp4", 5, ends_on_request=True, expected_sha256="ab" * 32), "u_alice")
    await uploads.append(upload, 0, None, body(b"12345"), None)
    for said in (None, hashlib.sha256(b"12345").hexdigest()):
        problem = await refused(complete(uploads, upload, said))
        assert (problem.status, problem.code) == (409, "upload_hash_mismatch")
    assert upload.record.state == "receiving"


async def test_fifty_completions_of_one_upload_are_one(tmp_path: Path):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, len(DATA), in_chunks=True)
    await asyncio.gather(*(send(uploads, upload, index) for index in range(len(PIECES))))
    await asyncio.gather(*(complete(uploads, upload, SHA256) for _ in range(50)))
    assert upload.record.state == "complete"
    assert len(uploads.turns) == 0
