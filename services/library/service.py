"""The running library: projector, job.json writer, progress listener and HTTP server, and how they stop.

Lives here: starting, wiring, stopping. Does not live here: what any of the parts does.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import FrameType

import structlog
import uvicorn
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from services.library.app import create_app
from services.library.hub import Hub
from services.library.job_manifest import ManifestWriter
from services.library.jobstore.reader import Reader
from services.library.library import Library
from services.library.live import LiveProgress
from services.library.projector import Projector
from services.library.settings import LibrarySettings
from shared import tracing
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.eventlog.port import Recorded
from shared.events.subjects import progress_subject
from shared.job.aggregate import Job
from shared.layout import Layout
from shared.telemetry import Progress

log = structlog.get_logger()


class Server(uvicorn.Server):
    """A server that ends the event streams when it is asked to stop; they would otherwise hold it to its time-out."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._hub.close)
        super().handle_exit(sig, frame)


@asynccontextmanager
async def task(name: str, job: asyncio.Task[None], server: Server) -> AsyncIterator[None]:
    """Run beside the server; if the task fails, the server stops and the failure comes out of here."""

    def ended(done: asyncio.Task[None]) -> None:
        if not done.cancelled() and done.exception() is not None:
            log.error("task_failed", task=name, error=type(done.exception()).__name__, exc_info=done.exception())
            server.should_exit = True

    job.add_done_callback(ended)
    try:
        yield
    finally:
        job.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await job


async def listen_for_progress(client: Client, hub: Hub) -> None:
    """Hand every worker's progress to the hub. Raises nats errors."""

    async def heard(message: Msg) -> None:
        try:
            progress = Progress.model_validate_json(message.data)
        except ValidationError:
            log.warning("progress_undecodable", subject=message.subject)
            return
        hub.publish_progress(progress)

    await client.subscribe(progress_subject("*"), cb=heard)


async def serve(settings: LibrarySettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises what ends the projector, and start-up errors."""
    # uvicorn raises a caught signal again when it has stopped; by then it has been obeyed.
    for caught in (signal.SIGTERM, signal.SIGINT):
        signal.signal(caught, lambda *_: None)
    async with AsyncExitStack() as stack:
        tracing.configure("library")
        stack.callback(tracing.shutdown)
        client = await connect(settings, "library")
        stack.push_async_callback(client.close)
        event_log = JetStreamEventLog(client)
        live = LiveProgress()
        hub = Hub(live)

        def committed(batch: Sequence[Recorded], jobs: Sequence[Job]) -> None:
            hub.publish(batch)
            manifests.offer(jobs, batch[-1].seq)

        projector = Projector(event_log, settings.layout.jobs_db, committed)
        stack.push_async_callback(projector.close)
        await projector.open()
        hub.position = projector.position
        manifests = ManifestWriter(Layout(settings.data_dir), projector.manifests_written)
        reader = Reader(settings.layout.jobs_db)
        stack.callback(reader.close)
        library = Library(settings.layout, event_log, reader, live, hub, lambda: client.is_connected)
        config = uvicorn.Config(
            create_app(library, settings.allowed_host_names),
            host=settings.library_host,
            port=settings.library_port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=settings.library_stop_timeout_s,
        )
        server = Server(config, hub)
        await listen_for_progress(client, hub)
        await stack.enter_async_context(task("manifests", asyncio.create_task(manifests.run()), server))
        await stack.enter_async_context(task("projector", asyncio.create_task(projector.run()), server))
        await server.serve()
