"""One broker with its streams, one service, and one answering worker for the tests of ingest."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.eventlog.streams import create_streams
from shared.settings import Settings
from tests.broker import BinaryBroker, running_broker
from tests.integration.ingest import videos
from tests.integration.ingest.service import Ingest, answering_worker, event_log, running_ingest


async def make_streams(url: str) -> None:
    client = await connect(Settings(nats_url=url), "init")
    await create_streams(client, 15)
    await client.close()


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BinaryBroker]:
    """A log that only this module writes to, so that "nothing was appended" can be seen."""
    with running_broker(tmp_path_factory.mktemp("broker")) as broker:
        asyncio.run(make_streams(broker.url))
        yield broker


@pytest.fixture(scope="module")
def ingest(own_broker: BinaryBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    with running_ingest(tmp_path_factory.mktemp("ingest") / "data", own_broker.url) as running:
        yield running


@pytest.fixture
async def worker(own_broker: BinaryBroker) -> AsyncIterator[None]:
    async with answering_worker(own_broker.url):
        yield


@pytest.fixture
async def log(own_broker: BinaryBroker) -> AsyncIterator[JetStreamEventLog]:
    async with event_log(own_broker.url) as found:
        yield found


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of the sample: a person speaks in them."""
    return videos.short(tmp_path_factory.mktemp("videos"))
