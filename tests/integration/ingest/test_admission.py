"""The scheduler says whether a user may queue another job; without its word, the job is accepted."""

# ruff: noqa: ASYNC240 -- a test may look at a small file

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.events.subjects import SCHEDULER_ADMIT, job_filter
from shared.events.types import JobSubmitted
from shared.runtime_state import AdmitAnswer, AdmitRequest
from shared.settings import Settings
from tests.broker import BinaryBroker
from tests.integration.ingest.service import Ingest, all_events, in_thread

pytestmark = pytest.mark.usefixtures("worker")

FULL = AdmitAnswer(
    admitted=False,
    code="max_queued_per_user",
    limit=3,
    remaining=0,
    reset_seconds=60,
    detail="Three of your jobs wait.",
)


@contextlib.asynccontextmanager
async def scheduler(broker: BinaryBroker, answer: bytes | None) -> AsyncIterator[list[AdmitRequest]]:
    """Answer as the scheduler would, or hear the question and keep silent; yields what was asked."""
    client = await connect(Settings(nats_url=broker.url), "test-scheduler")
    asked: list[AdmitRequest] = []

    async def heard(message: Msg) -> None:
        asked.append(AdmitRequest.model_validate_json(message.data))
        if answer is not None:
            await message.respond(answer)

    await client.subscribe(SCHEDULER_ADMIT, cb=heard)
    await client.flush()
    try:
        yield asked
    finally:
        await client.close()


async def test_a_user_at_a_limit_is_told_which_and_when_to_come_back_and_nothing_is_left(
    ingest: Ingest, own_broker: BinaryBroker, log: JetStreamEventLog, video: Path
) -> None:
    there, events = ingest.leftovers(), await all_events(log)
    async with scheduler(own_broker, FULL.model_dump_json().encode()) as asked:
        answer = await in_thread(ingest.submit, video)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    problem = answer.json()
    assert (problem["code"], problem["quota"]) == ("quota_exceeded", "max_queued_per_user")
    assert (problem["limit"], problem["remaining"], problem["reset_seconds"]) == (3, 0, 60)
    assert problem["detail"] == "Three of your jobs wait."
    assert (asked[0].owner, asked[0].bytes) == ("local", video.stat().st_size)
    assert asked[0].duration_s > 1
    assert (ingest.leftovers(), await all_events(log)) == (there, events)


async def test_an_admitted_job_is_accepted_under_the_id_that_was_asked_about(
    ingest: Ingest, own_broker: BinaryBroker, video: Path
) -> None:
    async with scheduler(own_broker, AdmitAnswer(admitted=True).model_dump_json().encode()) as asked:
        answer = await in_thread(ingest.submit, video)
    assert answer.status_code == 202
    assert [request.job_id for request in asked] == [answer.json()["id"]]


@pytest.mark.parametrize("said", [None, b"not an answer"])
async def test_without_an_answer_the_job_is_accepted(
    ingest: Ingest, own_broker: BinaryBroker, video: Path, said: bytes | None
) -> None:
    async with scheduler(own_broker, said) as asked:
        assert (await in_thread(ingest.submit, video)).status_code == 202
    assert len(asked) == 1


async def test_a_retry_of_an_accepted_job_is_not_refused_by_a_limit(
    ingest: Ingest, own_broker: BinaryBroker, video: Path
) -> None:
    first = await in_thread(ingest.submit, video, key="at the limit")
    async with scheduler(own_broker, FULL.model_dump_json().encode()):
        again = await in_thread(ingest.submit, video, key="at the limit")
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["id"] == first.json()["id"]


async def test_settings_priority_and_the_refusal_to_degrade_are_in_the_log(
    ingest: Ingest, log: JetStreamEventLog, video: Path
) -> None:
    answer = await in_thread(
        ingest.submit, video, mode="high", degrade="false", priority="110", overrides='{"asr_beam": 3, "mix": "legacy"}'
    )
    (record,) = await log.read(job_filter(answer.json()["id"]))
    assert isinstance(record.event, JobSubmitted)
    data = record.event.data
    assert (data.mode, data.degrade, data.priority) == ("high", False, 110)
    assert data.overrides == {"asr_beam": 3, "mix": "legacy"}
