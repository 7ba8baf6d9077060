"""What each service may do on the broker, and what it may not: the real configuration on the real broker."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import ConsumerConfig

from services.standalone.binaries import BROKER, require
from services.standalone.broker_config import USERS, config_file, ensure_passwords, password_file
from shared.eventlog.connection import connect
from shared.events.subjects import (
    ALL_AUDIT,
    ALL_EVENTS,
    ALL_PRESETS,
    ALL_PROJECTS,
    ALL_UPLOADS,
    ALL_WEBHOOKS,
    AUTH_RESOLVE,
    AUTH_REVOKED,
    COMMAND_STREAM,
    EVENT_STREAM,
    PREWARM_WORKERS,
    RUNTIME_LIMITS,
    RUNTIME_MODELS,
    SCHEDULER_ADMIT,
    SCHEDULER_ESTIMATE,
    SCHEDULER_GRANTS,
    WORKERS_DESCRIBE,
    audit_subject,
    library_subject,
    lifecycle_subject,
    policy_subject,
    pool_consumer,
    preset_subject,
    progress_subject,
    project_subject,
    scheduler_ping,
    stage_subject,
    upload_subject,
    user_settings_subject,
    webhook_subject,
)
from shared.identity import uuid7
from shared.settings import Settings
from tests.integration.guarded_broker import Installation, connected, installed, settled

SERVICES = tuple(user for user in USERS if user != "init")
ANSWER_S = 0.5
JOB = uuid7()
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
    audit_subject("u_0123456789abcdef"): {"ingest"},
    "dub.evt.audit.u_0123456789abcdef.more": set(),
    upload_subject("up_0123456789abcdef"): {"ingest"},
    "dub.evt.upload": set(),
    user_settings_subject("u_0123456789abcdef"): {"ingest"},
    "dub.evt.settings.u_0123456789abcdef.more": set(),
    COMMAND: {"scheduler"},
    "dub.ctl.anything": set(),
    WORKERS_DESCRIBE: {"ingest", "scheduler"},
    PREWARM_WORKERS: {"ingest"},
    SCHEDULER_ADMIT: {"ingest", "scheduler"},
    SCHEDULER_ESTIMATE: {"ingest", "scheduler"},
    "dub.ctl.library.anything": set(),
    AUTH_RESOLVE: {"library", "scheduler"},
    AUTH_REVOKED: {"ingest"},
    "dub.ctl.auth.anything": set(),
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
    SCHEDULER_ESTIMATE: {"scheduler"},
    "dub.ctl.library.*": set(),
    AUTH_RESOLVE: {"ingest"},
    AUTH_REVOKED: {"library", "scheduler"},
    "dub.ctl.auth.*": set(),
    "dub.ctl.>": set(),
    lifecycle_subject("*"): {"scheduler", "library", "reader", "worker"},
    stage_subject("*", "audio"): {"scheduler", "library", "reader"},
    library_subject("*"): {"scheduler", "library", "reader"},
    ALL_PROJECTS: {"scheduler", "library", "reader"},
    ALL_PRESETS: {"scheduler", "library", "reader"},
    ALL_WEBHOOKS: {"scheduler", "library"},
    webhook_subject("hook_0123456789abcdef"): {"scheduler", "library"},
    ALL_AUDIT: {"scheduler", "library"},
    audit_subject("u_0123456789abcdef"): {"scheduler", "library"},
    ALL_UPLOADS: {"scheduler", "library", "reader"},
    user_settings_subject("*"): {"scheduler", "library", "reader"},
    "dub.cmd.>": set(),
    ">": set(),
    "_INBOX.>": set(),
    "$JS.>": set(),
    "$SYS.>": set(),
} | {f"_INBOX_{user}.>": {user} - {"init"} for user in USERS}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """In a directory whose name needs quoting."""
    with installed(tmp_path_factory.mktemp('a "quoted" directory')) as found:
        yield found


@pytest.mark.parametrize("user", SERVICES)
async def test_a_service_may_publish_this_and_nothing_else(installation: Installation, user: str) -> None:
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
async def test_a_service_may_listen_to_this_and_nothing_else(installation: Installation, user: str) -> None:
    allowed = set()
    async with connected(installation, user) as (client, refusals):
        for subject in LISTENERS:
            await client.subscribe(subject)
            await settled(client)
            if not refusals:
                allowed.add(subject)
            refusals.clear()
    assert allowed == {subject for subject, users in LISTENERS.items() if user in users}


@pytest.mark.parametrize("user", SERVICES)
async def test_no_service_manages_streams_or_consumers(installation: Installation, user: str) -> None:
    async with connected(installation, user) as (client, _):
        js = client.jetstream(timeout=ANSWER_S)
        with pytest.raises((NatsTimeout, NatsError)):
            await js.delete_stream(EVENT_STREAM)
        with pytest.raises((NatsTimeout, NatsError)):
            await js.add_consumer(EVENT_STREAM, ConsumerConfig(durable_name="spy"))
    async with connected(installation, "init") as (client, _):
        js = client.jetstream()
        assert (await js.stream_info(EVENT_STREAM)).state.consumer_count == 0


async def test_without_the_password_nobody_connects(installation: Installation, tmp_path: Path) -> None:
    layout, port = installation
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    for user, file in (("", None), ("ingest", wrong), ("worker", password_file(layout, "ingest"))):
        settings = Settings(nats_url=f"nats://127.0.0.1:{port}", nats_user=user, nats_password_file=file)
        with pytest.raises((NatsError, TimeoutError)):
            await asyncio.wait_for(connect(settings, "somebody"), 1)


def test_secrets_are_private_and_stay_the_same(installation: Installation) -> None:
    layout, _ = installation
    assert layout.secrets.stat().st_mode & 0o777 == 0o700
    files = [file for file in layout.secrets.rglob("*") if file.is_file()]
    others = {file.name for file in files} - {password_file(layout, user).name for user in USERS}
    assert others == {"nats.conf", "settings.conf", "webhooks.key", "auth-key", "local-key"}
    assert len(files) == len(USERS) + len(others)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    before = ensure_passwords(layout)
    assert ensure_passwords(layout) == before
    assert len(set(before.values())) == len(USERS)


def test_the_configuration_is_accepted_and_fsyncs_always(installation: Installation) -> None:
    config = config_file(installation[0])
    subprocess.run([require(BROKER), "-t", "-c", config], check=True, capture_output=True)
    assert "\n  sync_interval: always\n" in config.read_text()
