"""What each service may do on the broker, and what it may not: the real configuration on the real broker."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import ConsumerConfig

from services.standalone.binaries import BROKER, require
from services.standalone.broker_config import USERS, config_file, ensure_passwords, password_file, write_config
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamCommandQueue, JetStreamEventLog
from shared.eventlog.port import Expect
from shared.eventlog.streams import create_streams
from shared.events.library import ProjectSaved, ProjectSavedData, WebhookSaved, WebhookSavedData
from shared.events.subjects import (
    ALL_EVENTS,
    ALL_PRESETS,
    ALL_PROJECTS,
    ALL_WEBHOOKS,
    COMMAND_STREAM,
    EVENT_STREAM,
    PREWARM_WORKERS,
    RUNTIME_LIMITS,
    RUNTIME_MODELS,
    SCHEDULER_ADMIT,
    SCHEDULER_GRANTS,
    WORKERS_DESCRIBE,
    event_subject,
    library_subject,
    lifecycle_subject,
    policy_subject,
    pool_consumer,
    preset_subject,
    progress_subject,
    project_subject,
    scheduler_ping,
    stage_subject,
    webhook_subject,
)
from shared.identity import new_id, uuid7
from shared.layout import Layout
from shared.settings import Settings
from tests.broker import free_port, wait_for_port
from tests.factories import NOW, claimed, command, context, submitted

SERVICES = tuple(user for user in USERS if user != "init")
ANSWER_S = 0.5
JOB = uuid7()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Layout, int]]:
    """A broker with the generated configuration, in a directory whose name needs quoting; its streams exist."""
    layout = Layout(tmp_path_factory.mktemp('a "quoted" directory'))
    port, monitor = free_port(), free_port()
    config = write_config(layout, listen=f"127.0.0.1:{port}", monitor=f"127.0.0.1:{monitor}", store=layout.broker)
    with running(config, port):

        async def initialise() -> None:
            async with connected((layout, port), "init") as (client, _):
                await create_streams(client, ack_wait_s=15)

        asyncio.run(initialise())
        yield layout, port


@contextmanager
def running(config: Path, port: int) -> Iterator[None]:
    with subprocess.Popen([require(BROKER), "-c", config], stderr=subprocess.DEVNULL) as process:
        wait_for_port(port)
        yield
        process.terminate()


@asynccontextmanager
async def connected(installation: tuple[Layout, int], user: str) -> AsyncIterator[tuple[Client, list[str]]]:
    """Connect as services do; the list collects what the broker refuses."""
    layout, port = installation
    settings = Settings(
        nats_url=f"nats://127.0.0.1:{port}", nats_user=user, nats_password_file=password_file(layout, user)
    )
    client = await connect(settings, user)
    refusals: list[str] = []

    async def on_error(error: Exception) -> None:
        refusals.append(str(error))

    client._error_cb = on_error
    try:
        yield client, refusals
    finally:
        await client.close()


async def settled(client: Client) -> None:
    """Return when the broker answered all that was sent. nats-py sends a flush's ping before what is still buffered."""
    await client.flush()
    await client.flush()


LIFECYCLE = lifecycle_subject(JOB)
STAGE = stage_subject(JOB, "audio")
COMMAND = "dub.cmd.nobody.some.audio.0"
"""Of a pool that no worker takes from."""
PUBLISHERS = {
    LIFECYCLE: {"ingest", "scheduler"},
    policy_subject(JOB): {"ingest", "scheduler"},
    STAGE: {"worker"},
    SCHEDULER_GRANTS: {"scheduler"},
    "dub.evt.scheduler.anything": set(),
    RUNTIME_LIMITS: {"ingest"},
    RUNTIME_MODELS: {"ingest", "worker"},
    "dub.evt.runtime.anything": set(),
    library_subject(JOB): {"ingest"},
    project_subject("proj_0123456789abcdef"): {"ingest"},
    preset_subject("preset_0123456789abcdef"): {"ingest"},
    webhook_subject("hook_0123456789abcdef"): {"ingest", "library"},
    "dub.evt.project.proj_0123456789abcdef.more": set(),
    "dub.evt.webhook": set(),
    f"dub.evt.job.{JOB}.anything": set(),
    "dub.evt.audit.somebody": set(),
    "dub.evt.upload.some": set(),
    COMMAND: {"scheduler"},
    "dub.ctl.anything": set(),
    WORKERS_DESCRIBE: {"ingest", "scheduler"},
    PREWARM_WORKERS: {"ingest"},
    SCHEDULER_ADMIT: {"ingest", "scheduler"},
    "dub.ctl.library.anything": set(),
    scheduler_ping("some"): {"scheduler"},
    progress_subject(JOB): {"worker"},
    f"$JS.API.CONSUMER.MSG.NEXT.{COMMAND_STREAM}.{pool_consumer('cpu')}": {"worker"},
    f"$JS.API.CONSUMER.MSG.NEXT.{EVENT_STREAM}.any": set(),
    f"$JS.ACK.{COMMAND_STREAM}.{pool_consumer('cpu')}.1.9.9.1.0": {"worker"},
    f"$JS.API.CONSUMER.INFO.{COMMAND_STREAM}.{pool_consumer('cpu')}": {"scheduler"},
    f"$JS.API.CONSUMER.INFO.{COMMAND_STREAM}.{pool_consumer('gpu')}": {"scheduler"},
    f"$JS.API.CONSUMER.INFO.{COMMAND_STREAM}.any": set(),
    f"$JS.API.DIRECT.GET.{EVENT_STREAM}": set(SERVICES),
    f"$JS.API.DIRECT.GET.{COMMAND_STREAM}": set(),
    f"$JS.API.STREAM.DELETE.{EVENT_STREAM}": set(),
    f"$JS.API.STREAM.PURGE.{COMMAND_STREAM}": set(),
    f"$JS.API.STREAM.UPDATE.{EVENT_STREAM}": set(),
    f"$JS.API.STREAM.MSG.DELETE.{EVENT_STREAM}": set(),
    "$JS.API.STREAM.CREATE.OTHER": set(),
    f"$JS.API.CONSUMER.CREATE.{EVENT_STREAM}": set(),
    f"$JS.API.CONSUMER.DELETE.{COMMAND_STREAM}.{pool_consumer('cpu')}": set(),
    "_INBOX_ingest.forged": set(),
    "$SYS.REQ.SERVER.PING": set(),
}
LISTENERS = {
    ALL_EVENTS: {"scheduler", "library", "reader"},
    "dub.tel.>": {"scheduler", "library"},
    "dub.ctl.workers.*": {"worker"},
    "dub.ctl.scheduler.*": {"scheduler"},
    SCHEDULER_ADMIT: {"scheduler"},
    "dub.ctl.library.*": set(),
    "dub.ctl.>": set(),
    lifecycle_subject("*"): {"scheduler", "library", "reader", "worker"},
    stage_subject("*", "audio"): {"scheduler", "library", "reader"},
    library_subject("*"): {"scheduler", "library", "reader"},
    ALL_PROJECTS: {"scheduler", "library", "reader"},
    ALL_PRESETS: {"scheduler", "library", "reader"},
    ALL_WEBHOOKS: {"scheduler", "library"},
    webhook_subject("hook_0123456789abcdef"): {"scheduler", "library"},
    "dub.cmd.>": set(),
    ">": set(),
    "_INBOX.>": set(),
    "$JS.>": set(),
    "$SYS.>": set(),
} | {f"_INBOX_{user}.>": {user} - {"init"} for user in USERS}


@pytest.mark.parametrize("user", SERVICES)
async def test_a_service_may_publish_this_and_nothing_else(installation: tuple[Layout, int], user: str) -> None:
    allowed = set()
    async with connected(installation, user) as (client, refusals):
        for subject in PUBLISHERS:
            await client.publish(subject, b"")  # empty: whatever lets it in cannot take it for a message of its own
            await settled(client)
            if not refusals:
                allowed.add(subject)
            refusals.clear()
    assert allowed == {subject for subject, users in PUBLISHERS.items() if user in users}


@pytest.mark.parametrize("user", SERVICES)
async def test_a_service_may_listen_to_this_and_nothing_else(installation: tuple[Layout, int], user: str) -> None:
    allowed = set()
    async with connected(installation, user) as (client, refusals):
        for subject in LISTENERS:
            await client.subscribe(subject)
            await settled(client)
            if not refusals:
                allowed.add(subject)
            refusals.clear()
    assert allowed == {subject for subject, users in LISTENERS.items() if user in users}


async def test_a_job_goes_through_with_each_service_in_its_own_role(installation: tuple[Layout, int]) -> None:
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


async def test_a_worker_answers_the_one_who_asked(installation: tuple[Layout, int]) -> None:
    async with (
        connected(installation, "worker") as (worker, refusals),
        connected(installation, "ingest") as (ingest, _),
    ):

        async def answer(message: object) -> None:
            await message.respond(b"capable")

        await worker.subscribe(WORKERS_DESCRIBE, cb=answer)
        await worker.flush()
        assert (await ingest.request(WORKERS_DESCRIBE, b"", timeout=5)).data == b"capable"
        assert refusals == []


async def test_the_scheduler_answers_the_one_who_asked_and_nobody_else(installation: tuple[Layout, int]) -> None:
    async with (
        connected(installation, "scheduler") as (scheduler, refusals),
        connected(installation, "ingest") as (ingest, _),
    ):
        other = await ingest.subscribe(ingest.new_inbox())

        async def answer(message: Msg) -> None:
            await message.respond(b"admitted")

        await scheduler.subscribe(SCHEDULER_ADMIT, cb=answer)
        await scheduler.flush()
        assert (await ingest.request(SCHEDULER_ADMIT, b"", timeout=5)).data == b"admitted"
        assert refusals == []
        await scheduler.publish(other.subject, b"unasked")
        await settled(scheduler)
        assert len(refusals) == 1
        assert other.subject.lower() in refusals[0].lower()


def saved_webhook() -> WebhookSaved:
    data = WebhookSavedData(owner="local", url="https://example.org/hook/token", created_at=NOW)
    return WebhookSaved(**context(new_id("hook")), data=data)


async def test_a_reader_who_listens_hears_everything_but_webhooks(installation: tuple[Layout, int]) -> None:
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


async def test_a_reader_who_asks_for_a_sequence_gets_it_a_webhook_too(installation: tuple[Layout, int]) -> None:
    """As docs/events.md warns: permissions are about subjects, and a direct get has the sequence in its payload."""
    async with (
        connected(installation, "ingest") as (ingest, _),
        connected(installation, "reader") as (reader, _),
    ):
        seq = await JetStreamEventLog(ingest).append(saved_webhook())
        (found,) = await JetStreamEventLog(reader).read(after=seq - 1, limit=1)
        assert isinstance(found.event, WebhookSaved)


async def test_the_library_disables_a_dead_webhook_and_makes_no_job_event(installation: tuple[Layout, int]) -> None:
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


async def test_the_scheduler_sees_how_long_a_queue_is(installation: tuple[Layout, int]) -> None:
    async with connected(installation, "scheduler") as (client, refusals):
        assert await JetStreamCommandQueue(client).publish(command(uuid7(), "audio", pool="gpu"))
        info = await client.jetstream(timeout=5).consumer_info(COMMAND_STREAM, pool_consumer("gpu"))
        assert (info.num_pending, refusals) == (1, [])


async def test_a_forged_event_is_refused_and_not_stored(installation: tuple[Layout, int]) -> None:
    job = uuid7()
    async with connected(installation, "worker") as (worker, refusals):
        with pytest.raises((NatsTimeout, NoRespondersError)):
            await worker.jetstream(timeout=ANSWER_S).publish(event_subject(submitted(job)), submitted(job).encode())
        assert "permissions violation" in refusals[0].lower()
        assert await JetStreamEventLog(worker).read(f"dub.evt.job.{job}.>") == []


@pytest.mark.parametrize("user", SERVICES)
async def test_no_service_manages_streams_or_consumers(installation: tuple[Layout, int], user: str) -> None:
    async with connected(installation, user) as (client, _):
        js = client.jetstream(timeout=ANSWER_S)
        with pytest.raises((NatsTimeout, NatsError)):
            await js.delete_stream(EVENT_STREAM)
        with pytest.raises((NatsTimeout, NatsError)):
            await js.add_consumer(EVENT_STREAM, ConsumerConfig(durable_name="spy"))
    async with connected(installation, "init") as (client, _):
        js = client.jetstream()
        assert (await js.stream_info(EVENT_STREAM)).state.consumer_count == 0


async def test_without_the_password_nobody_connects(installation: tuple[Layout, int], tmp_path: Path) -> None:
    layout, port = installation
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    for user, file in (("", None), ("ingest", wrong), ("worker", password_file(layout, "ingest"))):
        settings = Settings(nats_url=f"nats://127.0.0.1:{port}", nats_user=user, nats_password_file=file)
        with pytest.raises((NatsError, TimeoutError)):
            await asyncio.wait_for(connect(settings, "somebody"), 1)


def test_secrets_are_private_and_stay_the_same(installation: tuple[Layout, int]) -> None:
    layout, _ = installation
    assert layout.secrets.stat().st_mode & 0o777 == 0o700
    files = [file for file in layout.secrets.rglob("*") if file.is_file()]
    assert len(files) == len(USERS) + 3, "passwords, the broker's two files, and the webhooks' key"
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    before = ensure_passwords(layout)
    assert ensure_passwords(layout) == before
    assert len(set(before.values())) == len(USERS)


def test_the_configuration_is_accepted_and_fsyncs_always(installation: tuple[Layout, int]) -> None:
    config = config_file(installation[0])
    subprocess.run([require(BROKER), "-t", "-c", config], check=True, capture_output=True)
    assert "\n  sync_interval: always\n" in config.read_text()
