"""What may be done to a job over HTTP, state by state: the answer, and the one event that it appends."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from shared.eventlog.jetstream import JetStreamEventLog
from shared.events.policy import JobReprioritized
from shared.events.subjects import job_filter, policy_subject
from shared.events.types import (
    Event,
    JobCanceled,
    JobCompleted,
    JobFailed,
    JobRequeued,
    JobStarted,
)
from shared.identity import uuid7
from tests.factories import claimed, event, submitted
from tests.integration.ingest.service import Ingest, in_thread

Tell = Callable[..., Awaitable[httpx.Response]]

DONE, FAILED, CANCELED = (
    (JobCompleted, {}),
    (JobFailed, {"code": "stage_timeout", "message": "took too long"}),
    (JobCanceled, {}),
)


@pytest.fixture
def tell(ingest: Ingest) -> Tell:
    async def post(job_id: str, verb: str, **body: Any) -> httpx.Response:
        with ingest.client() as client:
            return await in_thread(client.post, f"/api/jobs/{job_id}/{verb}", json=body or None)

    return post


@pytest.fixture
def job(log: JetStreamEventLog) -> Callable[..., Awaitable[str]]:
    """Return a function that makes a job of these events after its submission."""

    async def made(*story: tuple[type[Any], dict[str, Any]]) -> str:
        job_id = uuid7()
        await log.append(submitted(job_id))
        for kind, data in story:
            await log.append(event(kind, job_id, **data))
        return job_id

    return made


async def last(log: JetStreamEventLog, job_id: str) -> Event:
    found = await log.last(job_filter(job_id))
    assert found is not None
    assert found.event is not None
    return found.event


async def test_a_running_job_is_asked_to_pause_and_goes_on_if_resumed_before(
    tell: Tell, job: Callable[..., Awaitable[str]], log: JetStreamEventLog
) -> None:
    job_id = await job((JobStarted, {}))
    await log.append(claimed(job_id, "audio"))
    asked = await tell(job_id, "pause")
    assert asked.status_code == 202
    assert asked.json() == {
        "id": job_id,
        "state": "RUNNING",
        "url": f"/api/jobs/{job_id}",
        "run": 1,
        "priority": 100,
        "pause_requested": True,
    }
    again = await tell(job_id, "pause")
    assert (again.status_code, again.json()["code"]) == (409, "illegal_transition")
    assert "already" in again.json()["detail"]
    resumed = await tell(job_id, "resume")
    assert (resumed.status_code, resumed.json()["pause_requested"]) == (200, False)
    assert (await tell(job_id, "resume")).status_code == 409
    assert (await last(log, job_id)).type == "dubline.job.resumed.v1"


@pytest.mark.parametrize(("verb", "kill"), [("cancel", False), ("kill", True)])
async def test_a_running_job_is_cancelled_or_killed_once(
    tell: Tell, job: Callable[..., Awaitable[str]], log: JetStreamEventLog, verb: str, *, kill: bool
) -> None:
    job_id = await job((JobStarted, {}))
    answer = await tell(job_id, verb)
    assert (answer.status_code, answer.json()["state"]) == (200, "CANCELED")
    appended = await last(log, job_id)
    assert isinstance(appended, JobCanceled)
    assert appended.data.kill == kill
    for other in ("cancel", "kill"):
        assert (await tell(job_id, other)).status_code == 409


@pytest.mark.parametrize("end", [DONE, FAILED, CANCELED])
@pytest.mark.parametrize("verb", ["cancel", "kill", "pause", "resume"])
async def test_a_finished_job_is_not_cancelled_killed_paused_or_resumed(
    tell: Tell, job: Callable[..., Awaitable[str]], end: Any, verb: str
) -> None:
    job_id = await job((JobStarted, {}), end)
    answer = await tell(job_id, verb)
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["state"] in answer.json()["detail"]


@pytest.mark.parametrize("end", [DONE, FAILED, CANCELED])
async def test_a_finished_job_is_run_again_under_the_next_number(
    tell: Tell, job: Callable[..., Awaitable[str]], log: JetStreamEventLog, end: Any
) -> None:
    job_id = await job((JobStarted, {}), end)
    answer = await tell(job_id, "rerun")
    assert (answer.status_code, answer.json()["state"], answer.json()["run"]) == (200, "QUEUED", 2)
    appended = await last(log, job_id)
    assert isinstance(appended, JobRequeued)
    assert appended.data.run == 2
    assert (await tell(job_id, "rerun")).status_code == 409, "it is not finished now"


@pytest.mark.parametrize("story", [(), ((JobStarted, {}),)])
async def test_an_unfinished_job_is_not_run_again(
    tell: Tell, job: Callable[..., Awaitable[str]], log: JetStreamEventLog, story: Any
) -> None:
    job_id = await job(*story)
    before = await last(log, job_id)
    answer = await tell(job_id, "rerun")
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert await last(log, job_id) == before


async def test_an_operator_gives_an_unfinished_job_a_priority(
    tell: Tell, job: Callable[..., Awaitable[str]], log: JetStreamEventLog
) -> None:
    job_id = await job()
    for number in (0, 1000):
        answer = await tell(job_id, "priority", priority=number)
        assert (answer.status_code, answer.json()["priority"]) == (200, number)
    stored = await log.last(policy_subject(job_id))
    assert stored is not None
    assert isinstance(stored.event, JobReprioritized)
    assert stored.event.data.priority == 1000
    await tell(job_id, "cancel")
    assert (await tell(job_id, "priority", priority=5)).status_code == 409


@pytest.mark.parametrize(
    "body", [{"priority": -1}, {"priority": 1001}, {"priority": 1.5}, {"priority": True}, {"p": 1}]
)
async def test_what_is_no_priority_changes_nothing(
    tell: Tell, job: Callable[..., Awaitable[str]], log: JetStreamEventLog, body: dict[str, Any]
) -> None:
    job_id = await job()
    answer = await tell(job_id, "priority", **body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert (await last(log, job_id)).type == "dubline.job.submitted.v1"


@pytest.mark.parametrize("verb", ["kill", "rerun", "priority"])
async def test_a_job_that_does_not_exist_is_a_problem(tell: Tell, verb: str) -> None:
    answer = await tell(uuid7(), verb, priority=1)
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
