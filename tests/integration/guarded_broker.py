"""A broker with the configuration that `dubline` generates, and connections to it in the place of each service.

Lives here: starting it, connecting, and waiting for its word. Does not live here: what each service may do
(`test_broker_permissions`), and whole exchanges between them (`test_broker_exchanges`).
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from nats.aio.client import Client

from services.standalone.binaries import BROKER, require
from services.standalone.broker_config import password_file, write_config
from shared.eventlog.connection import connect
from shared.eventlog.streams import create_streams
from shared.layout import Layout
from shared.settings import Settings
from tests.broker import free_port, wait_for_port

Installation = tuple[Layout, int]
"""Where its files are, and the port that it listens on."""


@contextmanager
def installed(directory: Path) -> Iterator[Installation]:
    """Yield a broker with the generated configuration; its streams exist."""
    layout = Layout(directory)
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
async def connected(installation: Installation, user: str) -> AsyncIterator[tuple[Client, list[str]]]:
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
