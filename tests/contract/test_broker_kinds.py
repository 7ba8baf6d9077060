"""Both kinds of test broker are the same to those who use them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest

from tests.broker import Broker, running_broker
from tests.broker_container import running_broker_container, wanted_in_container

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["binary", "container"])
def one(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker of this test's own, of either kind."""
    if request.param == "container":
        monkeypatch.setenv("DOCKER_HOST", request.getfixturevalue("docker_host"))
        with running_broker_container() as broker:
            yield broker
    else:
        with running_broker(tmp_path) as broker:
            yield broker


async def test_what_was_acknowledged_outlives_a_kill_and_a_stop(one: Broker):
    client = await nats.connect(one.url)
    await client.jetstream().add_stream(name="KEPT", subjects=["kept.>"])
    await client.jetstream().publish("kept.one", b"before")
    await client.close()

    for end in (one.kill, one.stop):
        end()
        one.start()
        client = await nats.connect(one.url)
        message = await client.jetstream().get_msg("KEPT", 1)
        await client.close()
        assert message.data == b"before"


def test_the_event_log_keeps_its_promises_on_the_kind_that_this_session_does_not_use(request: pytest.FixtureRequest):
    environment = dict(os.environ)
    if wanted_in_container(environment):
        environment["DUBLINE_TEST_BROKER"] = "binary"
    else:
        environment |= {"DUBLINE_TEST_BROKER": "container", "DOCKER_HOST": request.getfixturevalue("docker_host")}
    tests = ["tests/contract/test_eventlog.py", "-k", "jetstream"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-3000:]
