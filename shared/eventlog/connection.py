"""The connection to the broker.

Lives here: connecting, the version gate, and the loud error callback (a permission violation looks like a time-out
to the caller; its reason arrives only there). Does not live here: streams (`streams`) and reading (`jetstream`).
"""

import re

import nats
import structlog
from nats.aio.client import Client

from shared.settings import Settings

MINIMUM_SERVER = (2, 12)
"""Older servers silently ignore the expected-sequence header with a wildcard filter, and so break E1 to E4."""

log = structlog.get_logger()


class BrokerTooOldError(Exception):
    """The broker would accept a stale append; refuse to work with it."""


def check_version(version: str) -> None:
    """Raise BrokerTooOldError below nats-server 2.12."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if not found or (int(found[1]), int(found[2])) < MINIMUM_SERVER:
        raise BrokerTooOldError(f"nats-server {version} is too old: 2.12 or newer is needed")


async def connect(settings: Settings, service: str) -> Client:
    """Connect as one service and keep reconnecting for ever. Raises BrokerTooOldError, OSError, nats errors."""

    async def on_error(error: Exception) -> None:
        log.error("broker_error", error=str(error) or type(error).__name__)

    async def on_disconnect() -> None:
        log.warning("broker_disconnected")

    async def on_reconnect() -> None:
        log.info("broker_reconnected")

    client = await nats.connect(
        settings.nats_url,
        name=f"dubline-{service}",
        user=settings.nats_user or None,
        password=settings.nats_password(),
        inbox_prefix=f"_INBOX_{settings.nats_user or service}".encode(),
        allow_reconnect=True,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,
        ping_interval=10,
        max_outstanding_pings=2,
        error_cb=on_error,
        disconnected_cb=on_disconnect,
        reconnected_cb=on_reconnect,
    )
    try:
        version = client.connected_server_version
        check_version(f"{version.major}.{version.minor}")
    except BrokerTooOldError:
        await client.close()
        raise
    return client
