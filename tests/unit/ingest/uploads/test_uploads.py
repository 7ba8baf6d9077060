"""What may be done to an upload, by whom, and what the log hears of it."""

import asyncio
import base64
import hashlib
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from services.ingest.uploads.claims import claimed
from services.ingest.uploads.tus import Checksum, checksum_of
from services.ingest.uploads.uploads import Uploads
from shared.eventlog.port import LogUnavailableError
from shared.events.access import UploadCompleted, UploadRemoved
from shared.layout import Layout
from shared.problems import Problem
from tests.unit.ingest.uploads.made import ADMIN, ALICE, BOB, Broker, Clock, begun, body, pieces_of, uploads_at

DATA = random.Random(2).randbytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
DAY_S = 24 * 3600


def code(found: pytest.ExceptionInfo[Problem]) -> tuple[int, str]:
    return found.value.status, found.value.code


def sum_of(data: bytes, algorithm: str = "sha256") -> Checksum | None:
    digest = base64.b64encode(hashlib.new(algorithm, data).digest()).decode()
    return checksum_of(f"{algorithm} {digest}")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_an_upload_in_pieces_is_complete_with_its_last_byte(tmp_path: Path):
    broker = Broker()
    uploads = uploads_at(tmp_path, broker)
    upload = await begun(uploads, len(DATA))
    for at in range(0, len(DATA), 1_000_000):
        piece = DATA[at : at + 1_000_000]
        assert await uploads.append(upload, at, len(piece), body(*pieces_of(piece, 70_000)), None) == at + len(piece)
    assert (upload.record.state, upload.record.sha256) == ("complete", SHA256)
    assert upload.received.path.read_bytes() == DATA
    assert broker.types == ["created", "completed"], "and no event for a chunk"
    completed = broker.log.records[1].event
    assert isinstance(completed, UploadCompleted)
    assert (completed.data.sha256, completed.data.total_bytes, completed.data.owner) == (SHA256, len(DATA), "u_alice")


async def test_an_empty_upload_is_complete_at_once(tmp_path: Path):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, 0)
    assert (upload.record.state, upload.record.sha256) == ("complete", hashlib.sha256().hexdigest())


@pytest.mark.parametrize("offset", [0, 99, 101, 1 << 40])
async def test_bytes_that_do_not_go_where_the_upload_goes_on_are_refused(tmp_path: Path, offset: int):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, 1000)
    await uploads.append(upload, 0, 100, body(DATA[:100]), None)
    with pytest.raises(Problem) as refusal:
        await uploads.append(upload, offset, 10, body(DATA[:10]), None)
    assert code(refusal) == (409, "wrong_offset")
    assert refusal.value.headers == {"Upload-Offset": "100"}
    assert upload.offset == 100


async def test_more_than_the_upload_has_is_refused_announced_or_not(tmp_path: Path):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, 1000)
    for length in (1001, None):
        with pytest.raises(Problem) as refusal:
            await uploads.append(upload, 0, length, body(DATA[:1001]), None)
        assert code(refusal) == (413, "upload_too_long")
    assert upload.offset == 0
    with pytest.raises(Problem) as refusal:
        await begun(uploads_at(tmp_path / "small", max_upload_mb=1), (1 << 20) + 1)
    assert code(refusal) == (413, "upload_too_large")


async def test_a_connection_that_breaks_leaves_what_had_arrived(tmp_path: Path):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, len(DATA))
    with pytest.raises(ClientDisconnect):
        await uploads.append(upload, 0, len(DATA), body(*pieces_of(DATA[:2_345_678]), error=ClientDisconnect()), None)
    assert await uploads.offset(upload) == 2_345_678
    await uploads.append(upload, 2_345_678, None, body(DATA[2_345_678:]), None)
    assert upload.record.sha256 == SHA256


@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
async def test_bytes_with_another_checksum_leave_nothing(tmp_path: Path, algorithm: str):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, len(DATA))
    await uploads.append(upload, 0, None, body(DATA[:1_500_000]), sum_of(DATA[:1_500_000], algorithm))
    with pytest.raises(Problem) as refusal:
        await uploads.append(upload, 1_500_000, None, body(DATA[1_500_000:]), sum_of(b"others", algorithm))
    assert code(refusal) == (460, "checksum_mismatch")
    assert upload.offset == 1_500_000
    await uploads.append(upload, 1_500_000, None, body(DATA[1_500_000:]), sum_of(DATA[1_500_000:], algorithm))
    assert upload.record.sha256 == SHA256


async def test_a_connection_that_breaks_before_its_checksum_leaves_nothing(tmp_path: Path):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, len(DATA))
    cut_off = body(DATA[:2_000_000], error=ClientDisconnect())
    with pytest.raises(ClientDisconnect):
        await uploads.append(upload, 0, None, cut_off, sum_of(DATA))
    assert upload.offset == 0


async def hanging(uploads: Uploads, upload: object, began: asyncio.Event) -> None:
    async def dead() -> object:
        yield DATA[:1_200_000]
        began.set()
        await asyncio.Event().wait()

    await uploads.append(upload, 0, None, dead(), None)  # type: ignore[arg-type]


async def test_who_asks_for_the_offset_stops_the_dead_connection_and_goes_on(tmp_path: Path):
    """tusd 1356: a client is back before the server has noticed that its connection is dead."""
    uploads, began = uploads_at(tmp_path), asyncio.Event()
    upload = await begun(uploads, len(DATA))
    old = asyncio.create_task(hanging(uploads, upload, began))
    await began.wait()
    assert await uploads.offset(upload) == 1_200_000
    with pytest.raises(Problem) as refusal:
        await old
    assert code(refusal) == (409, "upload_taken_over")
    await uploads.append(upload, 1_200_000, None, body(DATA[1_200_000:]), None)
    assert upload.record.sha256 == SHA256


async def test_a_removal_stops_the_connection_too(tmp_path: Path):
    uploads, began = uploads_at(tmp_path), asyncio.Event()
    upload = await begun(uploads, len(DATA))
    old = asyncio.create_task(hanging(uploads, upload, began))
    await began.wait()
    await uploads.remove(upload, "terminated", "u_alice")
    with pytest.raises(Problem):
        await old
    assert {path.suffix for path in upload.received.path.parent.iterdir()} == {".json"}
    with pytest.raises(Problem) as refusal:
        uploads.find(upload.id, ALICE)
    assert code(refusal) == (410, "upload_gone")


async def test_another_users_upload_is_not_there_but_an_admin_may_remove_it(tmp_path: Path):
    broker = Broker()
    uploads = uploads_at(tmp_path, broker)
    upload = await begun(uploads, 10)
    for who in (BOB, ADMIN):
        with pytest.raises(Problem) as refusal:
            uploads.find(upload.id, who)
        assert code(refusal) == (404, "upload_not_found")
    with pytest.raises(Problem):
        uploads.find(upload.id, BOB, administer=True)
    await uploads.remove(uploads.find(upload.id, ADMIN, administer=True), "terminated", "u_admin")
    removed = broker.log.records[-1].event
    assert isinstance(removed, UploadRemoved)
    assert (removed.data.reason, removed.data.owner, removed.actor) == ("terminated", "u_alice", "u_admin")


async def test_partials_and_unused_uploads_expire_and_are_forgotten(tmp_path: Path):
    broker, clock = Broker(), Clock()
    uploads = uploads_at(tmp_path, broker, clock)
    partial, whole = await begun(uploads, 10), await begun(uploads, 5)
    clock.now += DAY_S - 10
    await uploads.append(whole, 0, None, body(b"12345"), None)
    await uploads.sweep()
    assert [each.record.state for each in (partial, whole)] == ["receiving", "complete"]
    clock.now += 10
    with pytest.raises(Problem) as refusal:
        uploads.find(partial.id, ALICE)
    assert code(refusal) == (410, "upload_gone"), "also before anybody swept"
    await uploads.sweep()
    assert [each.record.state for each in (partial, whole)] == ["removed", "complete"]
    assert uploads.quota.reserved("u_alice") == (1, 5)
    clock.now += DAY_S
    await uploads.sweep()
    assert broker.types == ["created", "created", "completed", "removed", "removed"]
    clock.now += 2 * DAY_S
    await uploads.sweep()
    assert uploads.store.all() == []
    assert list(Layout(tmp_path).uploads.iterdir()) == []


async def test_everything_is_the_same_after_a_restart(tmp_path: Path):
    broker = Broker()
    uploads = uploads_at(tmp_path, broker)
    partial, whole, gone = [await begun(uploads, size) for size in (100, 5, 7)]
    await uploads.append(partial, 0, None, body(b"x" * 60), None)
    await uploads.append(whole, 0, None, body(b"12345"), None)
    await uploads.remove(gone, "terminated", "u_alice")
    again = uploads_at(tmp_path, broker)
    assert {each.id: (each.record, each.offset) for each in again.store.all()} == {
        each.id: (each.record, each.offset) for each in (partial, whole, gone)
    }
    assert again.quota.reserved("u_alice") == (2, 105)
    events = len(broker.log.records)
    await again.sweep()
    assert len(broker.log.records) == events


async def test_a_crash_between_the_last_byte_and_the_completion_costs_nothing(tmp_path: Path):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, 5)
    upload.received.begin(whole=False)
    upload.received.write(b"12345")  # and then kill -9
    broker = Broker()
    again = uploads_at(tmp_path, broker)
    found = again.find(upload.id, ALICE)
    assert await again.offset(found) == 5
    assert found.record.state == "complete"
    assert broker.types == ["created", "completed"]


async def test_while_the_broker_is_away_nothing_begins_and_what_began_goes_on(tmp_path: Path):
    broker = Broker()
    uploads = uploads_at(tmp_path, broker)
    upload, unwanted = await begun(uploads, 5), await begun(uploads, 5)
    broker.away = True
    with pytest.raises(LogUnavailableError):
        await begun(uploads, 5)
    await uploads.append(upload, 0, None, body(b"12345"), None)
    await uploads.remove(unwanted, "terminated", "u_alice")
    assert upload.record.state == "complete"
    assert broker.types == ["created", "created"]
    broker.away = False
    await uploads.sweep()
    assert sorted(broker.types) == ["completed", "created", "created", "removed"]
    assert uploads.quota.reserved("u_alice") == (1, 5)


class LosesAnswers(Broker):
    """The broker stores what it is told, and its answer gets lost."""

    def __call__(self):
        broker = self

        class Log:
            async def append(self, event, expect=None):
                await broker.log.append(event, expect)
                raise LogUnavailableError("no answer")

            async def last(self, subject):
                return await broker.log.last(subject)

        return Log()


async def test_an_upload_whose_event_was_stored_without_an_answer_is_taken_back(tmp_path: Path):
    broker = LosesAnswers()
    uploads = uploads_at(tmp_path, broker)
    with pytest.raises(LogUnavailableError):
        await begun(uploads, 5)
    assert broker.types == ["created"]
    again = uploads_at(tmp_path, Broker(broker.log))
    await again.sweep()
    assert broker.types == ["created", "removed"]
    assert again.quota.reserved("u_alice") == (0, 0)


async def test_two_submissions_of_one_upload_have_one_winner(tmp_path: Path):
    uploads, layout = uploads_at(tmp_path), Layout(tmp_path)
    upload = await begun(uploads, 5)
    await uploads.append(upload, 0, None, body(b"12345"), None)

    async def submit(job: str) -> str:
        async with claimed(uploads, layout, uploads.find(upload.id, ALICE), ALICE) as source:
            await asyncio.sleep(0)
            source.promote("mov,mp4")
            source.job_id = job
            return job

    results = await asyncio.gather(*(submit(f"job-{n}") for n in range(50)), return_exceptions=True)
    winners = [result for result in results if isinstance(result, str)]
    refusals = {result.code for result in results if isinstance(result, Problem)}
    assert (len(winners), refusals) == (1, {"upload_used"})
    assert (upload.record.state, upload.record.job_id) == ("used", winners[0])
    assert layout.upload_file(upload.id, "mp4").read_bytes() == b"12345"
    assert uploads.quota.reserved("u_alice") == (0, 0)
    again = uploads_at(tmp_path)
    with pytest.raises(Problem) as refusal:
        await again.remove(again.find(upload.id, ALICE), "terminated", "u_alice")
    assert code(refusal) == (409, "upload_used")


async def test_a_submission_that_fails_leaves_the_upload_for_the_next_one(tmp_path: Path):
    uploads, layout = uploads_at(tmp_path), Layout(tmp_path)
    upload = await begun(uploads, 5)
    await uploads.append(upload, 0, None, body(b"12345"), None)
    with pytest.raises(Problem):
        async with claimed(uploads, layout, upload, ALICE):
            raise Problem(422, "not_a_video", "no")
    async with claimed(uploads, layout, upload, ALICE) as source:
        assert (source.size, source.sha256) == (5, hashlib.sha256(b"12345").hexdigest())


async def test_an_upload_cannot_be_removed_while_a_job_is_made_of_it_nor_submitted_before_it_is_complete(
    tmp_path: Path,
):
    uploads, layout = uploads_at(tmp_path), Layout(tmp_path)
    upload = await begun(uploads, 5)
    with pytest.raises(Problem) as refusal:
        async with claimed(uploads, layout, upload, ALICE):
            pass
    assert code(refusal) == (409, "upload_incomplete")
    await uploads.append(upload, 0, None, body(b"12345"), None)
    async with claimed(uploads, layout, upload, ALICE):
        with pytest.raises(Problem) as refusal:
            await uploads.remove(upload, "terminated", "u_alice")
    assert code(refusal) == (409, "upload_in_use")


async def test_of_a_removal_and_a_submission_at_once_the_first_one_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, len(DATA))
    await uploads.append(upload, 0, len(DATA), body(DATA), None)
    begins, change, go_on = asyncio.Event(), uploads.store.change, threading.Event()
    loop = asyncio.get_running_loop()

    def slow_change(*args: Any, **changes: Any) -> None:
        loop.call_soon_threadsafe(begins.set)
        go_on.wait(10)
        change(*args, **changes)

    monkeypatch.setattr(uploads.store, "change", slow_change)
    removing = asyncio.create_task(uploads.remove(upload, "terminated", ALICE.user))
    await begins.wait()
    loop.call_later(0.05, go_on.set)
    with pytest.raises(Problem) as refusal:
        async with claimed(uploads, Layout(tmp_path), upload, ALICE):
            pytest.fail("a job would be made of bytes that go")
    assert code(refusal) == (410, "upload_gone")
    await removing


async def test_an_upload_that_cannot_be_opened_leaves_no_file_open(tmp_path: Path):
    uploads = uploads_at(tmp_path)
    upload = await begun(uploads, 1000)
    upload.received.path.unlink(missing_ok=True)
    upload.received.path.mkdir()
    before = open_files()
    for _ in range(5):
        with pytest.raises(IsADirectoryError):
            await uploads.append(upload, 0, 10, body(DATA[:10]), None)
    assert open_files() == before


async def test_a_submission_that_a_crash_cut_off_is_settled_by_where_the_bytes_are(tmp_path: Path):
    uploads, layout = uploads_at(tmp_path), Layout(tmp_path)
    upload = await begun(uploads, 5)
    await uploads.append(upload, 0, None, body(b"12345"), None)
    upload.received.path.rename(layout.upload_file(upload.id, "mp4"))  # promoted, and then kill -9
    layout.upload_intent(upload.id).write_bytes(b"{}")
    again = uploads_at(tmp_path)
    found = again.find(upload.id, ALICE)
    await again.sweep()
    with pytest.raises(Problem) as refusal:
        async with claimed(again, layout, found, ALICE):
            pass
    assert code(refusal) == (409, "upload_in_use"), "nobody knows yet"
    layout.upload_intent(upload.id).unlink()  # the log has the job
    await again.sweep()
    assert found.record.state == "used"
