"""The streams and consumers, as the init identity makes them. Services may not.

Lives here: their configuration. `python -m shared.eventlog.streams` runs it once, idempotently.
"""

import asyncio

from nats.aio.client import Client
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError

from shared.eventlog.connection import connect
from shared.events.names import Pool
from shared.events.subjects import (
    ALL_COMMANDS,
    ALL_EVENTS,
    COMMAND_STREAM,
    EVENT_STREAM,
    pool_consumer,
    pool_filter,
)
from shared.settings import Settings
from shared.telemetry import configure_logging

DUPLICATE_WINDOW_S = 120.0
"""Publish retries inside this window are deduplicated by the broker; beyond it only the expected sequence protects."""

POOLS: tuple[Pool, ...] = ("cpu", "gpu")


async def create_streams(client: Client, ack_wait_s: float) -> None:
    """Create or update both streams and the pools' consumers. Raises nats errors."""
    js = client.jetstream()
    wanted = [
        StreamConfig(
            name=EVENT_STREAM,
            subjects=[ALL_EVENTS],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            duplicate_window=DUPLICATE_WINDOW_S,
            allow_direct=True,
            deny_delete=True,
            deny_purge=True,
        ),
        StreamConfig(
            name=COMMAND_STREAM,
            subjects=[ALL_COMMANDS],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            discard_new_per_subject=True,
            max_msgs_per_subject=1,
        ),
    ]
    for config in wanted:
        try:
            await js.stream_info(str(config.name))
        except NotFoundError:
            await js.add_stream(config)
        else:
            await js.update_stream(config)
    for pool in POOLS:
        await js.add_consumer(
            COMMAND_STREAM,
            ConsumerConfig(
                durable_name=pool_consumer(pool),
                filter_subject=pool_filter(pool),
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ack_wait_s,
                max_deliver=-1,  # the worker ends a command that was delivered too often (services.worker.claims)
                max_ack_pending=1024,
            ),
        )


async def _main() -> None:
    settings = Settings()
    configure_logging("init", settings.log_level)
    client = await connect(settings, "init")
    try:
        await create_streams(client, settings.ack_wait_s)
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(_main())
