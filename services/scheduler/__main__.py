"""`python -m services.scheduler`: the process manager as a process.

Lives here: wiring. SIGTERM ends it at once: it holds nothing that the log does not.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

import uvicorn
import uvloop
from nats.aio.msg import Msg
from pydantic import ValidationError

from services.scheduler.app import create_app
from services.scheduler.policy import Limits
from services.scheduler.service import Scheduler
from services.scheduler.settings import SchedulerSettings
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamCommandQueue, JetStreamEventLog
from shared.events.subjects import heartbeat_subject
from shared.telemetry import Heartbeat, configure_logging


async def serve() -> None:
    """Run until a signal or the end of the scheduling loop."""
    settings = SchedulerSettings()
    configure_logging("scheduler", settings.log_level)
    limits = Limits(settings.max_concurrency_global, settings.retry_max, settings.retry_base_s, settings.retry_cap_s)
    client = await connect(settings, "scheduler")
    scheduler = Scheduler(JetStreamEventLog(client), JetStreamCommandQueue(client), limits)
    workers: dict[str, dict[str, Any]] = {}

    async def on_heartbeat(message: Msg) -> None:
        try:
            beat = Heartbeat.model_validate_json(message.data)
        except ValidationError:
            return
        workers[beat.worker] = beat.model_dump() | {"seen_at": datetime.now(UTC).isoformat()}

    await client.subscribe(heartbeat_subject("*"), cb=on_heartbeat)
    config = uvicorn.Config(
        create_app(scheduler, limits, client, workers),
        host=settings.scheduler_host,
        port=settings.scheduler_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    scheduling = asyncio.create_task(scheduler.run())
    serving = asyncio.create_task(server.serve())
    await asyncio.wait({scheduling, serving}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    failure = scheduling.exception() if scheduling.done() else None
    scheduling.cancel()
    await asyncio.wait({scheduling, serving})
    await client.close()
    if failure is not None:
        raise failure


if __name__ == "__main__":
    uvloop.run(serve())
