"""`python -m services.worker`: one worker of one pool as a process.

Lives here: wiring. SIGTERM drains: no new fetch, finish or hand back, exit 0. A second one hands back at once. Exit
code 78: encryption at rest or a sandbox is wanted and cannot work.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping

import uvloop
from nats.errors import Error as NatsError

from services.worker.capabilities import Inventory, take_inventory
from services.worker.child_process import ChildProcess
from services.worker.device import probe_device
from services.worker.engines.protocols import EngineOptions
from services.worker.engines.registry import Engines
from services.worker.health import answering
from services.worker.messages import Warmed
from services.worker.models.manifest import load_lock
from services.worker.prewarm import Prewarmer
from services.worker.runner import Runner
from services.worker.service import Worker
from services.worker.settings import WorkerSettings
from shared import tracing
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamCommandQueue, JetStreamEventLog
from shared.events.envelope import Value
from shared.events.subjects import PREWARM_WORKERS
from shared.layout import Layout
from shared.loopback import check_listen_address
from shared.sandbox.at_start import settle_sandbox
from shared.sealing.keys import vault_or_exit
from shared.telemetry import configure_logging
from shared.telemetry_off import turn_telemetry_off


async def serve(make_runner: Callable[[Layout], Runner] = ChildProcess) -> None:
    """Run until drained."""
    turn_telemetry_off()
    settings = WorkerSettings()
    check_listen_address(settings.worker_host, allow_non_loopback=settings.allow_non_loopback)
    configure_logging("worker", settings.log_level)
    vault_or_exit(settings)  # the stages' process needs it
    settle_sandbox()
    tracing.configure("worker")
    client = await connect(settings, "worker")
    device = await asyncio.to_thread(probe_device)

    async def inventory() -> Inventory:
        # New engine objects: what they once found missing may be there now.
        engines = Engines.installed(EngineOptions(settings.models_dir, settings.worker_threads))
        return await asyncio.to_thread(
            take_inventory, engines, settings.models_dir, device, settings.worker_id, [settings.worker_pool]
        )

    events, runner = JetStreamEventLog(client), make_runner(settings.layout)
    worker = Worker(settings, client, events, JetStreamCommandQueue(client), runner, await inventory())

    async def refresh() -> Inventory:
        worker.inventory = await inventory()
        return worker.inventory

    async def warm(chosen: Mapping[str, Value]) -> Warmed:
        async with worker.turn:
            return await runner.warm(chosen)

    def not_ready() -> str | None:
        if worker.draining:
            return "draining"
        return None if client.is_connected else "the broker is away"

    prewarmer = Prewarmer(events, settings.worker_id, load_lock(), refresh, warm)
    await client.subscribe(PREWARM_WORKERS, cb=prewarmer.on_request)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.drain)
    try:
        async with answering(settings.worker_host, settings.worker_port, not_ready, worker.metrics.registry):
            await worker.run()
    finally:
        await prewarmer.close()
        with contextlib.suppress(NatsError, OSError):
            await client.flush()  # acknowledgements are not waited for
        await client.close()
        tracing.shutdown()


if __name__ == "__main__":
    uvloop.run(serve())
