"""The running library: what its parts are, who hears of a committed batch, and how it starts and stops.

Lives here: wiring. jobs.db is read and served from the first moment; the broker may come later (`following`).
Does not live here: what any of the parts does.
"""

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import FrameType

import structlog
import uvicorn
from nats.aio.msg import Msg
from pydantic import ValidationError

from services.library.app import create_app
from services.library.committed import Committed
from services.library.deletion import Deleter
from services.library.hub import Hub
from services.library.job_manifest import ManifestWriter
from services.library.jobstore.reader import Reader
from services.library.library import Library
from services.library.live import LiveProgress
from services.library.projector import Projector
from services.library.settings import LibrarySettings
from services.library.webhooks.dispatcher import Dispatcher
from shared import tracing
from shared.access.client import BusResolver
from shared.access.front import Front
from shared.eventlog.late import LateConnection, LateLog
from shared.eventlog.port import LogUnavailableError
from shared.events.subjects import progress_subject
from shared.layout import Layout
from shared.sealing.vault import Vault
from shared.telemetry import Progress
from shared.webhook_targets import Rules

ATTACH_AGAIN_S = 1.0
SOCKET_MESSAGE_MAX_BYTES = 4096
"""Nobody has anything to say to a job's socket."""

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


class FilesDone:
    """How far the files on disk follow the log: as far as the last of those who write or remove them.

    What comes after is heard again at the next start.
    """

    def __init__(self, told: Callable[[int], Awaitable[None]], *parts: str) -> None:
        self._told = told
        self._done = dict.fromkeys(parts, 0)

    def of(self, part: str) -> Callable[[int], Awaitable[None]]:
        """Return what a part calls when it is done up to a sequence."""

        async def done(seq: int) -> None:
            before = min(self._done.values())
            self._done[part] = max(self._done[part], seq)
            if min(self._done.values()) > before:
                await self._told(min(self._done.values()))

        return done


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


async def listen_for_progress(connection: LateConnection, hub: Hub) -> None:
    """Hand every worker's progress to the hub. Raises nats errors."""

    async def heard(message: Msg) -> None:
        try:
            progress = Progress.model_validate_json(message.data)
        except ValidationError:
            log.warning("progress_undecodable", subject=message.subject)
            return
        hub.publish_progress(progress)

    await connection.client.subscribe(progress_subject("*"), cb=heard)


async def patiently(what: str, step: Callable[[], Awaitable[None]]) -> None:
    """Do a step of the start, again and again until the broker and the disk let it."""
    while True:
        try:
            await step()
        except (LogUnavailableError, sqlite3.OperationalError, OSError) as error:
            log.warning("start_waits", step=what, error=str(error) or type(error).__name__)
            await asyncio.sleep(ATTACH_AGAIN_S)
        else:
            return


async def following(
    connection: LateConnection, projector: Projector, hub: Hub, deleter: Deleter, webhooks: Dispatcher
) -> None:
    """Wait for the broker, then project and serve what needs the log, for ever. Raises what ends any of them."""
    if not await connection.connect():
        return  # it is logged, and the readiness check says so
    event_log = LateLog(connection)
    await patiently("jobs.db", lambda: projector.attach(event_log))
    hub.position = projector.position
    await patiently("progress", lambda: listen_for_progress(connection, hub))
    await patiently("webhooks", lambda: webhooks.open(event_log, projector.position))
    async with asyncio.TaskGroup() as running:
        running.create_task(projector.run())
        running.create_task(deleter.run())
        running.create_task(webhooks.run())


async def serve(settings: LibrarySettings, vault: Vault | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises what ends the projector, and start-up errors."""
    # uvicorn raises a caught signal again when it has stopped; by then it has been obeyed.
    for caught in (signal.SIGTERM, signal.SIGINT):
        signal.signal(caught, lambda *_: None)
    async with AsyncExitStack() as stack:
        tracing.configure("library")
        stack.callback(tracing.shutdown)
        connection = LateConnection(settings, "library")
        stack.push_async_callback(connection.close)
        hub = Hub(live := LiveProgress())

        def committed(batch: Committed) -> None:
            library.publish(batch)
            manifests.offer(batch)
            deleter.offer(batch)
            webhooks.offer(batch)

        reader = Reader(settings.layout.jobs_db)
        stack.callback(reader.close)
        projector = Projector(settings.layout.jobs_db, committed, reader.replacing)
        stack.push_async_callback(projector.close)
        await patiently("jobs.db", projector.open_local)
        hub.position = projector.position
        done = FilesDone(projector.manifests_written, "job.json", "deletions")
        manifests = ManifestWriter(Layout(settings.data_dir), done.of("job.json"))
        deleter = Deleter(settings.layout, LateLog(connection), done.of("deletions"))
        webhooks = Dispatcher(
            settings.layout, Rules.parse(settings.webhook_allow_cidrs, allow_http=settings.webhook_allow_http)
        )
        stack.push_async_callback(webhooks.close)
        library = Library(settings.layout, LateLog(connection), reader, live, hub, lambda: connection.connected, vault)
        resolver = BusResolver(lambda: connection.client, settings.ingest_url, settings.gateway_token)
        stack.push_async_callback(resolver.close)
        front = Front.of(settings, resolver)
        resolver.listen(front.running.end)
        config = uvicorn.Config(
            create_app(library, webhooks, front, settings.handoff_token),
            host=settings.library_host,
            port=settings.library_port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # whom to believe about a client is the front's to say
            timeout_graceful_shutdown=settings.library_stop_timeout_s,
            ws_max_size=SOCKET_MESSAGE_MAX_BYTES,
            ws_per_message_deflate=False,
        )
        server = Server(config, hub)
        await stack.enter_async_context(task("manifests", asyncio.create_task(manifests.run()), server))
        follows = following(connection, projector, hub, deleter, webhooks)
        await stack.enter_async_context(task("following", asyncio.create_task(follows), server))
        await server.serve()
