"""What a user may store holds for uploads from their creation on: the scheduler's own rule judges each of them."""

import asyncio
from pathlib import Path

import pytest

from services.ingest.admission import refusal
from services.ingest.uploads.claims import claimed
from services.ingest.uploads.uploads import Uploads
from services.scheduler.admission import Admission
from services.scheduler.limits import Limits
from services.scheduler.policy import World
from shared.eventlog.port import LogUnavailableError
from shared.layout import Layout
from shared.problems import Problem
from shared.runtime_state import AdmitRequest
from tests.unit.ingest.uploads.made import ALICE, BOB, Broker, begun, body, uploads_at
from tests.unit.scheduler.boards import Log, at


class Scheduler:
    """The scheduler's judgement without its process; it answers as slowly as a bus does."""

    def __init__(self, stored_bytes: int) -> None:
        self.log = Log(Limits(user_stored_bytes=stored_bytes))
        self.admission = Admission()

    async def admit(self, asked: AdmitRequest) -> None:
        await asyncio.sleep(0.001)
        answer = self.admission.ask(asked, self.log.board, World(at(0)), 0.0)
        if not answer.admitted:
            raise refusal(answer)


async def refused(uploads: Uploads, size: int) -> Problem:
    with pytest.raises(Problem) as found:
        await begun(uploads, size)
    return found.value


async def test_an_upload_that_could_not_be_stored_is_refused_before_its_first_byte(tmp_path: Path):
    broker, scheduler = Broker(), Scheduler(5000)
    uploads = uploads_at(tmp_path, broker, admit=scheduler.admit)
    scheduler.log.submit("a film", owner="u_alice")  # of 1000 bytes
    problem = await refused(uploads, 4001)
    assert (problem.status, problem.code) == (429, "quota_exceeded")
    assert (problem.extra["quota"], problem.extra["remaining"]) == ("max_storage_bytes_per_user", 4000)
    assert uploads.quota.reserved("u_alice") == (0, 0)
    assert (broker.types, list(Layout(tmp_path).uploads.iterdir())) == ([], [])
    await begun(uploads, 4000)


async def test_open_uploads_have_their_room_already_used_and_removed_ones_give_it_back(tmp_path: Path):
    uploads = uploads_at(tmp_path, admit=Scheduler(5000).admit)
    first = await begun(uploads, 3000)
    assert (await refused(uploads, 2001)).extra["remaining"] == 2000
    await begun(uploads, 2001, BOB)
    await uploads.remove(first, "terminated", "u_alice")
    await begun(uploads, 5000)


async def test_of_fifty_at_once_as_many_begin_as_there_is_room_for(tmp_path: Path):
    uploads = uploads_at(tmp_path, admit=Scheduler(5999).admit, max_open_uploads=50)
    made = await asyncio.gather(*(begun(uploads, 1000) for _ in range(50)), return_exceptions=True)
    told = [each for each in made if isinstance(each, Problem)]
    assert (len(told), {each.extra["quota"] for each in told}) == (45, {"max_storage_bytes_per_user"})
    assert uploads.quota.reserved("u_alice") == (5, 5000)


async def test_two_uploads_that_fill_the_limit_are_submitted_at_once_and_both_get_in(tmp_path: Path):
    """Each is counted once: as an upload until somebody makes a job of it, and as that job from then on."""
    scheduler, layout = Scheduler(10), Layout(tmp_path)
    uploads = uploads_at(tmp_path, admit=scheduler.admit)
    both = [await begun(uploads, 5) for _ in range(2)]
    for upload in both:
        await uploads.append(upload, 0, None, body(b"12345"), None)
    assert uploads.promised("u_alice") == 10
    assert uploads.promised("u_alice", besides=both[0].id) == 5

    async def submit(number: int) -> None:
        async with claimed(uploads, layout, both[number], ALICE) as source:
            promised = uploads.promised("u_alice")
            await scheduler.admit(
                AdmitRequest(owner="u_alice", job_id=f"{number}", bytes=5, duration_s=1, promised=promised)
            )
            source.promote("mov,mp4")

    await asyncio.gather(submit(0), submit(1))
    assert uploads.promised("u_alice") == 0
    assert (await refused(uploads, 1)).extra["remaining"] == 0


async def test_a_job_does_not_take_the_room_of_an_open_upload(tmp_path: Path):
    scheduler = Scheduler(10)
    uploads = uploads_at(tmp_path, admit=scheduler.admit)
    await begun(uploads, 6)
    asked = AdmitRequest(owner="u_alice", job_id="a", bytes=5, duration_s=1, promised=uploads.promised("u_alice"))
    with pytest.raises(Problem, match="open uploads take 6"):
        await scheduler.admit(asked)


async def test_while_nobody_can_be_asked_nothing_is_promised(tmp_path: Path):
    async def away(_asked: AdmitRequest) -> None:
        raise LogUnavailableError("the broker did not answer")

    uploads = uploads_at(tmp_path, admit=away)
    with pytest.raises(LogUnavailableError):
        await begun(uploads, 5)
    assert uploads.quota.open() == (0, 0)
    assert list(Layout(tmp_path).uploads.iterdir()) == []
