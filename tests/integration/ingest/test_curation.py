"""Tags, archive, visibility and deletion over HTTP: the answer, and the one event that each appends."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from shared.eventlog.jetstream import JetStreamEventLog
from shared.eventlog.job_history import load_job
from shared.events.library import JobDeleted
from shared.events.subjects import job_filter
from shared.events.types import JobCanceled, JobCompleted, JobStarted
from shared.identity import uuid7
from tests.factories import claimed, completed, event, submitted
from tests.integration.ingest.service import Ingest, in_thread

Ask = Callable[..., Awaitable[httpx.Response]]
MakeJob = Callable[..., Awaitable[str]]


@pytest.fixture
def ask(ingest: Ingest) -> Ask:
    async def send(method: str, path: str, body: Any = None) -> httpx.Response:
        with ingest.client() as client:
            # ASCII escapes: a lone surrogate can be sent as JSON, but not as UTF-8.
            content = None if body is None else json.dumps(body).encode()
            headers = {} if body is None else {"Content-Type": "application/json"}
            return await in_thread(client.request, method, path, content=content, headers=headers)

    return send


@pytest.fixture
def job(log: JetStreamEventLog) -> MakeJob:
    async def made(*kinds: type[Any]) -> str:
        job_id = uuid7()
        await log.append(submitted(job_id))
        for kind in kinds:
            await log.append(event(kind, job_id))
        return job_id

    return made


async def story(log: JetStreamEventLog, job_id: str) -> list[str]:
    return [record.event.type.split(".")[2] for record in await log.read(job_filter(job_id)) if record.event]


async def test_tags_replace_all_that_there_were(ask: Ask, job: MakeJob, log: JetStreamEventLog) -> None:
    job_id = await job()
    answer = await ask("PUT", f"/api/jobs/{job_id}/tags", {"tags": ["  Family ", "family", "Trip  2026"]})
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "id": job_id,
            "state": "QUEUED",
            "url": f"/api/jobs/{job_id}",
            "tags": ["family", "trip 2026"],
            "archived": False,
            "archived_at": None,
            "visibility": "private",
        },
    )
    assert (await ask("PUT", f"/api/jobs/{job_id}/tags", {"tags": []})).json()["tags"] == []
    assert await story(log, job_id) == ["submitted", "tagged", "tagged"]


async def test_what_is_so_already_is_answered_without_an_event(ask: Ask, job: MakeJob, log: JetStreamEventLog) -> None:
    job_id = await job(JobStarted)
    for method, verb, body in [
        ("PUT", "tags", {"tags": ["a"]}), ("POST", "archive", None), ("POST", "visibility", {"visibility": "shared"}),
    ]:  # fmt: skip
        first = await ask(method, f"/api/jobs/{job_id}/{verb}", body)
        again = await ask(method, f"/api/jobs/{job_id}/{verb}", body)
        assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    assert (again.json()["archived"], again.json()["visibility"], again.json()["state"]) == (True, "shared", "RUNNING")
    unarchived = await ask("POST", f"/api/jobs/{job_id}/unarchive")
    assert (unarchived.json()["archived"], unarchived.json()["archived_at"]) == (False, None)
    assert (await story(log, job_id))[2:] == ["tagged", "archived", "visibility_changed", "unarchived"]


async def test_public_is_another_word_for_shared(ask: Ask, job: MakeJob) -> None:
    answer = await ask("POST", f"/api/jobs/{await job()}/visibility", {"visibility": "public"})
    assert answer.json()["visibility"] == "shared"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"tags": [f"tag {n}" for n in range(21)]}, "invalid_tags"),
        ({"tags": ["x" * 33]}, "invalid_tags"),
        ({"tags": [""]}, "invalid_tags"),
        ({"tags": [" \t "]}, "invalid_tags"),
        ({"tags": ["a\x00b"]}, "invalid_tags"),
        ({"tags": ["\u202eevil"]}, "invalid_tags"),
        ({"tags": ["\ud800"]}, "invalid_tags"),
        ({"tags": "a,b"}, "invalid_request"),
        ({"tags": [1]}, "invalid_request"),
        ({"tags": None}, "invalid_request"),
        ({"tags": ["a"], "more": 1}, "invalid_request"),
        ({"tags": ["a"], "\ud800": 1}, "invalid_request"),
        ([], "invalid_request"),
        ({}, "invalid_request"),
    ],
)
async def test_what_are_no_tags_changes_nothing(
    ask: Ask, job: MakeJob, log: JetStreamEventLog, body: Any, code: str
) -> None:
    job_id = await job()
    answer = await ask("PUT", f"/api/jobs/{job_id}/tags", body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert await story(log, job_id) == ["submitted"]


async def test_a_finished_job_is_deleted_once(ask: Ask, job: MakeJob, log: JetStreamEventLog) -> None:
    job_id = await job(JobStarted, JobCompleted)
    answer = await ask("DELETE", f"/api/jobs/{job_id}")
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "id": job_id})
    stored = await log.last(job_filter(job_id))
    assert stored is not None
    assert isinstance(stored.event, JobDeleted)
    assert (stored.event.data.base_dir, stored.event.data.source) == ("film", "uploads/up_1.mp4")
    again = await ask("DELETE", f"/api/jobs/{job_id}")
    assert (again.status_code, again.json()["code"]) == (410, "job_deleted")
    assert (await story(log, job_id))[-2:] == ["completed", "deleted"]


@pytest.mark.parametrize("kinds", [(), (JobStarted,)])
async def test_an_unfinished_job_is_killed_before_it_is_deleted(
    ask: Ask, job: MakeJob, log: JetStreamEventLog, kinds: tuple[type[Any], ...]
) -> None:
    job_id = await job(*kinds)
    assert (await ask("DELETE", f"/api/jobs/{job_id}")).status_code == 200
    *_, killed, deleted = await log.read(job_filter(job_id))
    assert isinstance(killed.event, JobCanceled)
    assert isinstance(deleted.event, JobDeleted)
    assert (killed.event.data.kill, killed.event.data.reason) == (True, "deleted by its owner")


async def test_everything_on_a_deleted_job_is_410(ask: Ask, job: MakeJob, log: JetStreamEventLog) -> None:
    job_id = await job(JobStarted)
    await ask("DELETE", f"/api/jobs/{job_id}")
    before = await story(log, job_id)
    for method, verb, body in [
        ("PUT", "tags", {"tags": ["a"]}), ("POST", "archive", None), ("POST", "unarchive", None),
        ("POST", "visibility", {"visibility": "shared"}), ("POST", "cancel", None), ("POST", "pause", None),
        ("POST", "resume", None), ("POST", "kill", None), ("POST", "rerun", None),
        ("POST", "priority", {"priority": 1}),
    ]:  # fmt: skip
        answer = await ask(method, f"/api/jobs/{job_id}/{verb}", body)
        assert (answer.status_code, answer.json()["code"]) == (410, "job_deleted"), verb
    assert await story(log, job_id) == before


@pytest.mark.parametrize("job_id", ["0192f0c1-2b3c-7d4e-8f50-61728394a5b6", "*", "%3E", "a.b", "%00", "x%0A", "é"])
async def test_a_job_that_does_not_exist_is_a_problem(ask: Ask, job_id: str) -> None:
    for method, path, body in [
        ("DELETE", "", None), ("PUT", "/tags", {"tags": []}), ("POST", "/archive", None),
    ]:  # fmt: skip
        answer = await ask(method, f"/api/jobs/{job_id}{path}", body)
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


async def test_many_who_tag_and_one_who_cancels_all_get_their_way(
    ask: Ask, job: MakeJob, log: JetStreamEventLog
) -> None:
    """Each append expects what it read (E2): nothing is lost, and nobody hears of a conflict."""
    job_id = await job(JobStarted)
    asked = [ask("PUT", f"/api/jobs/{job_id}/tags", {"tags": [f"t{n}"]}) for n in range(4)]
    answers = await asyncio.gather(*asked, ask("POST", f"/api/jobs/{job_id}/cancel"))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert sorted((await story(log, job_id))[2:]) == ["canceled", *["tagged"] * 4]
    folded, _ = await load_job(log, job_id)
    assert folded is not None
    assert folded.state == "CANCELED"
    assert len(folded.tags) == 1


async def test_one_of_many_who_delete_wins_and_the_others_hear_that_it_is_gone(
    ask: Ask, job: MakeJob, log: JetStreamEventLog
) -> None:
    job_id = await job(JobStarted)
    answers = await asyncio.gather(*[ask("DELETE", f"/api/jobs/{job_id}") for _ in range(6)])
    assert sorted(answer.status_code for answer in answers) == [200, *[410] * 5]
    assert await story(log, job_id) == ["submitted", "started", "canceled", "deleted"]


async def test_a_job_is_deleted_while_its_stages_report(ask: Ask, job: MakeJob, log: JetStreamEventLog) -> None:
    """A stage's outcome expects only its own subject (E4): it may come between, and after, and changes nothing."""
    job_id = await job(JobStarted)

    async def work() -> None:
        for attempt in range(1, 6):
            await log.append(claimed(job_id, "audio", attempt))
            await log.append(completed(job_id, "audio", attempt))

    answer, _ = await asyncio.gather(ask("DELETE", f"/api/jobs/{job_id}"), work())
    assert answer.status_code == 200
    folded, _ = await load_job(log, job_id)
    assert folded is not None
    assert (folded.deleted, folded.state) == (True, "CANCELED")
    kinds = await story(log, job_id)
    assert (kinds.count("canceled"), kinds.count("deleted")) == (1, 1)
