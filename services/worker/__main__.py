"""`python -m services.worker`: one worker of one pool as a process.

Lives here: wiring. SIGTERM drains: no new fetch, finish or hand back, exit 0.
"""

import asyncio
import signal

import uvloop

from services.worker.capabilities import describe
from services.worker.engines.protocols import EngineOptions
from services.worker.engines.registry import Engines
from services.worker.service import Worker
from services.worker.settings import WorkerSettings
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamCommandQueue, JetStreamEventLog
from shared.telemetry import configure_logging


async def serve() -> None:
    """Run until drained."""
    settings = WorkerSettings()
    configure_logging("worker", settings.log_level)
    client = await connect(settings, "worker")
    engines = Engines.installed(EngineOptions(settings.models_dir, settings.worker_threads))
    capabilities = await asyncio.to_thread(describe, engines, settings.worker_id, [settings.worker_pool])
    worker = Worker(settings, client, JetStreamEventLog(client), JetStreamCommandQueue(client), capabilities)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.drain)
    try:
        await worker.run()
    finally:
        await client.flush()  # acknowledgements are not waited for
        await client.close()


if __name__ == "__main__":
    uvloop.run(serve())
