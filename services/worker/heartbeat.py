"""The worker's signs of life on the bus.

Lives here: when and how they are sent. The loop that sends them runs nothing else that takes time: the work is in
another process. Does not live here: what they say (`service`).
"""

import asyncio
import contextlib
from collections.abc import Callable

from nats.errors import Error as NatsError

from services.worker.watch import Bus
from shared.events.subjects import heartbeat_subject
from shared.telemetry import HEARTBEAT_S, Heartbeat


async def beat(bus: Bus, state: Callable[[], Heartbeat]) -> None:
    """Tell the worker's state every `HEARTBEAT_S`, for ever."""
    while True:
        await beat_once(bus, state())
        await asyncio.sleep(HEARTBEAT_S)


async def beat_once(bus: Bus, now: Heartbeat) -> None:
    """Tell it now; a broker that is away hears the next one."""
    with contextlib.suppress(OSError, NatsError):
        await bus.publish(heartbeat_subject(now.worker.replace(".", "_")), now.model_dump_json().encode())
