"""What services say to each other over the broker, each with its own permissions: real configuration, real broker."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from shared.eventlog.jetstream import JetStreamCommandQueue, JetStreamEventLog
from shared.eventlog.port import Expect
from shared.events.library import ProjectSaved, ProjectSavedData, WebhookSaved, WebhookSavedData
from shared.events.subjects import (
    ALL_EVENTS,
    AUTH_RESOLVE,
    AUTH_REVOKED,
    COMMAND_STREAM,
    SCHEDULER_ADMIT,
    WORKERS_DESCRIBE,
    event_subject,
    library_subject,
    pool_consumer,
    progress_subject,
    stage_subject,
)
from shared.identity import new_id, uuid7
from tests.factories import NOW, claimed, command, context, submitted
from tests.integration.guarded_broker import Installation, connected, installed, settled

ANSWER_S = 0.5
JOB = uuid7()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """In a directory whose name needs quoting."""
    with installed(tmp_path_factory.mktemp('a "quoted" directory')) as found:
        yield found


async def test_a_job_goes_through_with_each_service_in_its_own_role(installation: Installation) -> None:
    job = uuid7()
    async with (
        connected(installation, "ingest") as (ingest, ingest_refusals),
        connected(installation, "scheduler") as (scheduler, scheduler_refusals),
        connected(installation, "worker") as (worker, worker_refusals),
        connected(installation, "library") as (library, library_refusals),
        connected(installation, "reader") as (reader, reader_refusals),
    ):
        progress = await library.subscribe(progress_subject(job))
        await JetStreamEventLog(ingest).append(submitted(job), Expect(f"dub.evt.job.{job}.>", 0))
        assert await seen(library, job, 1) == ["dubline.job.submitted.v1"]
        wanted = command(job, "audio")
        assert await JetStreamCommandQueue(scheduler).publish(wanted)
        delivery = await JetStreamCommandQueue(worker).next("cpu", 5)
        assert delivery is not None
        assert delivery.command == wanted
        await JetStreamEventLog(worker).append(claimed(job, "audio"), Expect(stage_subject(job, "audio"), 0))
        await worker.publish(progress_subject(job), b"{}")
        await delivery.in_progress()
        await delivery.ack()
        assert await seen(reader, job, 2) == ["dubline.job.submitted.v1", "dubline.stage.claimed.v1"]
        assert (await progress.next_msg(5)).data == b"{}"
        assert await JetStreamCommandQueue(worker).next("cpu", 0.3) is None
        refusals = [ingest_refusals, scheduler_refusals, worker_refusals, library_refusals, reader_refusals]
        assert refusals == [[]] * 5


async def seen(client: Client, job: str, count: int) -> list[str]:
    """Follow the log as a projector does until it showed `count` events of the job; return their types."""
    found: list[str] = []
    async with asyncio.timeout(10), aclosing(JetStreamEventLog(client).follow()) as batches:
        async for batch in batches:
            found += [record.event.type for record in batch if record.event and record.event.subject == job]
            if len(found) >= count:
                break
    return found


async def asked(client: Client, subject: str) -> bytes:
    """Ask until somebody hears: of a new subscription the other connections of a server learn a moment later."""
    async with asyncio.timeout(10):
        while True:
            try:
                return (await client.request(subject, b"?", timeout=5)).data
            except NoRespondersError:
                await asyncio.sleep(0.02)


async def test_a_worker_answers_the_one_who_asked(installation: Installation) -> None:
    async with (
        connected(installation, "worker") as (worker, refusals),
        connected(installation, "ingest") as (ingest, _),
    ):

        async def answer(message: object) -> None:
            await message.respond(b"capable")

        await worker.subscribe(WORKERS_DESCRIBE, cb=answer)
        await worker.flush()
        assert await asked(ingest, WORKERS_DESCRIBE) == b"capable"
        assert refusals == []


async def test_the_scheduler_answers_the_one_who_asked_and_nobody_else(installation: Installation) -> None:
    async with (
        connected(installation, "scheduler") as (scheduler, refusals),
        connected(installation, "ingest") as (ingest, _),
    ):
        other = await ingest.subscribe(ingest.new_inbox())

        async def answer(message: Msg) -> None:
            await message.respond(b"admitted")

        await scheduler.subscribe(SCHEDULER_ADMIT, cb=answer)
        await scheduler.flush()
        assert await asked(ingest, SCHEDULER_ADMIT) == b"admitted"
        assert refusals == []
        await scheduler.publish(other.subject, b"unasked")
        await settled(scheduler)
        assert len(refusals) == 1
        assert other.subject.lower() in refusals[0].lower()


async def test_only_ingest_says_whose_a_credential_is_and_others_hear_of_revocations(
    installation: Installation,
) -> None:
    async with (
        connected(installation, "ingest") as (ingest, refusals),
        connected(installation, "library") as (library, _),
        connected(installation, "scheduler") as (scheduler, _),
        connected(installation, "worker") as (worker, forged),
    ):

        async def answer(message: Msg) -> None:
            await message.respond(b"hers")

        await ingest.subscribe(AUTH_RESOLVE, queue="ingest", cb=answer)
        await worker.subscribe(AUTH_RESOLVE, queue="ingest", cb=answer)
        heard = [await service.subscribe(AUTH_REVOKED) for service in (library, scheduler)]
        for service in (ingest, library, scheduler, worker):
            await settled(service)
        assert len(forged) == 1, "a worker cannot answer in the place of ingest"
        for asker in (library, scheduler):
            assert await asked(asker, AUTH_RESOLVE) == b"hers"
        await ingest.publish(AUTH_REVOKED, b"no more")
        for subscription in heard:
            assert (await subscription.next_msg(5)).data == b"no more"
        assert refusals == []


def saved_webhook() -> WebhookSaved:
    data = WebhookSavedData(owner="local", url="https://example.org/hook/token", created_at=NOW)
    return WebhookSaved(**context(new_id("hook")), data=data)


async def test_a_reader_who_listens_hears_everything_but_webhooks(installation: Installation) -> None:
    async with (
        connected(installation, "ingest") as (ingest, _),
        connected(installation, "reader") as (reader, refusals),
    ):
        heard = await reader.subscribe(ALL_EVENTS)
        await settled(reader)
        events = JetStreamEventLog(ingest)
        await events.append(saved_webhook())
        project = ProjectSavedData(owner="local", name="after it", created_at=NOW)
        await events.append(ProjectSaved(**context(new_id("proj")), data=project))
        assert b"project.saved" in (await heard.next_msg(5)).data, "the webhook came before, and was left out"
        assert refusals == []


async def test_a_reader_who_asks_for_a_sequence_gets_it_a_webhook_too(installation: Installation) -> None:
    """As docs/events.md warns: permissions are about subjects, and a direct get has the sequence in its payload."""
    async with (
        connected(installation, "ingest") as (ingest, _),
        connected(installation, "reader") as (reader, _),
    ):
        seq = await JetStreamEventLog(ingest).append(saved_webhook())
        (found,) = await JetStreamEventLog(reader).read(after=seq - 1, limit=1)
        assert isinstance(found.event, WebhookSaved)


async def test_the_library_disables_a_dead_webhook_and_makes_no_job_event(installation: Installation) -> None:
    async with connected(installation, "library") as (library, refusals):
        events = JetStreamEventLog(library)
        hook = saved_webhook()
        head = await events.append(hook, Expect(event_subject(hook), 0))
        dead = hook.model_copy(update={"id": uuid7(), "data": hook.data.model_copy(update={"enabled": False})})
        assert await events.append(dead, Expect(event_subject(hook), head)) > head
        assert refusals == []
        await library.publish(library_subject(JOB), b"{}")
        await settled(library)
        assert "permissions violation" in refusals[0].lower()


async def test_the_scheduler_sees_how_long_a_queue_is(installation: Installation) -> None:
    async with connected(installation, "scheduler") as (client, refusals):
        assert await JetStreamCommandQueue(client).publish(command(uuid7(), "audio", pool="gpu"))
        info = await client.jetstream(timeout=5).consumer_info(COMMAND_STREAM, pool_consumer("gpu"))
        assert (info.num_pending, refusals) == (1, [])


async def test_a_forged_event_is_refused_and_not_stored(installation: Installation) -> None:
    job = uuid7()
    async with connected(installation, "worker") as (worker, refusals):
        with pytest.raises((NatsTimeout, NoRespondersError)):
            await worker.jetstream(timeout=ANSWER_S).publish(event_subject(submitted(job)), submitted(job).encode())
        assert "permissions violation" in refusals[0].lower()
        assert await JetStreamEventLog(worker).read(f"dub.evt.job.{job}.>") == []
