"""The dispatcher over a real receiver: who is told what, signed by whom, and each message once."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.library.committed import Committed
from services.library.webhooks import dispatcher as module
from services.library.webhooks.deliveries import database
from services.library.webhooks.payload import BODY_MAX_BYTES
from services.library.webhooks.retries import Schedule
from shared.events.library import (
    CurationData,
    JobDeleted,
    JobTagged,
    WebhookDeleted,
)
from shared.events.types import JobCanceled, JobCompleted, JobFailed, JobStarted
from shared.identity import new_id, uuid7
from shared.webhooks import derive_secret, message_id, print_secret
from tests.broker import free_port
from tests.factories import claimed, context, event, failed, submitted
from tests.unit.library.webhook_library import HOOK, OTHER, Library, asked, saved, story
from tests.webhook_receiver import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


async def test_a_finished_job_is_told_signed_and_once(library: Library, receiver: Receiver) -> None:
    job_id = uuid7()
    async with library.running():
        await library.happen(saved(receiver.url))
        sequences = await library.happen(*story(job_id, title="Ferien.mp4"))
        (message,) = await receiver.messages(1)
        (item,) = await library.settled("delivered")
    library.verify(message)
    body = message.json
    assert body["type"] == "job.completed"
    assert body["timestamp"] == "2026-01-02T03:04:05.000Z"
    assert body["data"]["id"] == job_id
    assert body["data"]["seq"] == sequences[-1]
    assert (body["data"]["state"], body["data"]["title"]) == ("DONE", "Ferien.mp4")
    assert body["data"]["url"] == f"/api/jobs/{job_id}"
    assert (item["id"], item["job_id"], item["seq"]) == (message.id, job_id, sequences[-1])
    assert [attempt["status"] for attempt in item["attempts"]] == [204]


async def test_each_webhook_gets_what_it_asked_for_of_its_owners_jobs(library: Library, receiver: Receiver) -> None:
    job_id = uuid7()
    events = ["job.submitted", "job.tagged", "stage.failed", "job.deleted"]
    with receiving() as foreign:
        async with library.running():
            await library.happen(saved(receiver.url, events=events), saved(foreign.url, OTHER, owner="somebody"))
            await library.happen(submitted(job_id), event(JobStarted, job_id, run=1), claimed(job_id, "audio"))
            await library.happen(failed(job_id, "audio"), event(JobTagged, job_id, tags=["b", "a"]))
            await library.happen(event(JobCanceled, job_id))
            await library.happen(event(JobDeleted, job_id, owner="local", base_dir="film", source="", stored_bytes=0))
            messages = await receiver.messages(4)
            await library.settled(*["delivered"] * 4)
    by_type = {message.json["type"]: message.json["data"] for message in messages}
    assert set(by_type) == set(events)
    assert by_type["stage.failed"]["stage"] == "audio"
    assert by_type["stage.failed"]["error_code"] == "engine_crashed"
    assert by_type["job.tagged"]["tags"] == ["b", "a"]
    assert by_type["job.submitted"]["state"] == "QUEUED"  # as it was then, although it went on in the same batch
    assert foreign.got == []


async def test_a_shared_job_is_told_to_its_owners_webhook_alone(library: Library, receiver: Receiver) -> None:
    job_id = uuid7()
    with receiving() as foreign:
        async with library.running():
            wanted = saved(receiver.url, events=["job.submitted", "job.canceled"], owner="u_ann")
            fields = {"events": wanted.data.events}
            others = [saved(foreign.url, new_id("hook"), owner=user, **fields) for user in ("u_bob", "*")]
            await library.happen(wanted, *others)
            await library.happen(submitted(job_id, owner="u_ann", visibility="shared"))
            await library.happen(event(JobCanceled, job_id))
            assert [message.json["data"]["id"] for message in await receiver.messages(2)] == [job_id] * 2
            await library.settled("delivered", "delivered")
            assert [await library.log_of(each.subject) for each in others] == [[], []], "and nothing waits for them"
    assert foreign.got == []


async def test_what_was_before_the_webhook_and_what_is_stale_is_not_told(library: Library, receiver: Receiver) -> None:
    job_id = uuid7()
    async with library.running():
        await library.happen(*story())
        await library.happen(saved(receiver.url))
        await library.happen(submitted(job_id), event(JobCanceled, job_id), event(JobCompleted, job_id, run=1))
        (message,) = await receiver.messages(1)
        assert message.json["type"] == "job.canceled"
        await library.settled("delivered")


async def test_a_batch_that_comes_again_sends_nothing_again(library: Library, receiver: Receiver) -> None:
    async with library.running():
        await library.happen(saved(receiver.url), *story())
        await library.commit(again_from=0)
        await library.settled("delivered")
    async with library.running():
        await library.commit(again_from=0)
        await library.happen(*story())
        await library.settled("delivered", "delivered")
    assert len({message.id for message in receiver.got}) == len(receiver.got) == 2


async def test_batches_that_were_missed_are_read_from_the_log(
    library: Library, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKLOG_BATCHES", 2)
    async with library.running():
        await library.happen(saved(receiver.url))
        for _ in range(9):  # without a turn of the event loop in between, and more than may wait
            await library.append(*story())
            library.committed = len(library.log.records)
            library.dispatcher.offer(Committed(library.log.records[-1:]))
        await library.settled(*["delivered"] * 9)
    await library.append(*story())
    library.committed = len(library.log.records)  # jobs.db has it, and then everything was killed
    async with library.running():
        await library.settled(*["delivered"] * 10)
    assert len({message.id for message in receiver.got}) == 10


async def test_after_a_rotation_both_secrets_verify_and_a_day_later_the_new_one(
    library: Library, receiver: Receiver
) -> None:
    now = datetime.now(UTC)
    async with library.running():
        await library.happen(saved(receiver.url, generation=2, rotated_at=now), *story())
        (message,) = await receiver.messages(1)
        library.verify(message, generation=1)
        library.verify(message, generation=2)
        await library.happen(saved(receiver.url, generation=2, rotated_at=now - timedelta(days=1)), *story())
        _, message = await receiver.messages(2)
        assert " " not in message.headers["webhook-signature"]
        library.verify(message, generation=2)


async def test_a_test_message_is_sent_once_even_to_a_disabled_webhook(library: Library, receiver: Receiver) -> None:
    receiver.status = 500
    async with library.running():
        request = asked()
        await library.happen(saved(receiver.url, enabled=False), *story(), request)
        (message,) = await receiver.messages(1)
        (item,) = await library.settled("failed")
        assert message.json["type"] == "webhook.test"
        assert message.json["data"]["id"] == HOOK
        assert message.id == item["id"] == message_id(HOOK, request.id)
        library.verify(message)
        assert (await library.dispatcher.health()) == {}


async def test_a_message_is_sent_again_on_request_under_its_id(library: Library, receiver: Receiver) -> None:
    async with library.running():
        await library.happen(saved(receiver.url), *story())
        (item,) = await library.settled("delivered")
        await library.happen(asked(item["id"]), asked("msg_unknown"))
        first, second = await receiver.messages(2)
        assert (first.id, first.body) == (second.id, second.body)
        await library.tried(2)


async def test_what_waits_goes_to_the_new_url_at_once_and_a_deleted_webhook_gets_nothing(
    library: Library, receiver: Receiver
) -> None:
    down = f"http://127.0.0.1:{free_port()}/"
    async with library.running(Schedule(backoff=(3600.0,), jitter=lambda: 1.0)):
        await library.happen(saved(down), saved(down, OTHER), *story())
        await library.tried(1)
        await library.tried(1, OTHER)
        deleted = WebhookDeleted(**context(OTHER), data=CurationData())
        await library.happen(saved(receiver.url), deleted)
        await library.settled("delivered")
        await library.settled(webhook_id=OTHER)
        assert [each.id for each in library.dispatcher.subscriptions.owned_by("local")] == [HOOK]


async def test_no_secret_and_no_text_is_in_the_log_or_in_the_queue(library: Library, receiver: Receiver) -> None:
    async with library.running():
        await library.happen(saved(receiver.url), *story())
        await library.settled("delivered")
    secret = derive_secret(library.key, HOOK, 1)
    stored = database(library.layout).read_bytes() + b"".join(record.raw for record in library.log.records)
    assert secret not in stored
    assert print_secret(secret).encode() not in stored


async def test_the_largest_message_is_small(library: Library, receiver: Receiver) -> None:
    job_id = uuid7()
    wide = "\U0001f600"
    async with library.running():
        await library.happen(saved(receiver.url))
        first = submitted(
            job_id, title=wide * 5000, tags=[wide * 31 + str(n) for n in range(20)], project_name=wide * 120
        )
        await library.happen(first, event(JobFailed, job_id, code="x" * 60, message="\x01" * 100_000))
        (message,) = await receiver.messages(1)
        await library.settled("delivered")
    assert len(message.body) <= BODY_MAX_BYTES
