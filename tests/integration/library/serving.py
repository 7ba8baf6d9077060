"""The library's application over a real socket in this process, on a log in memory: for what needs no broker.

The server runs in a thread of its own; what a test appends is projected when `append` returns.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from services.library.app import create_app
from services.library.hub import Hub
from services.library.jobstore.reader import Reader
from services.library.jobstore.store import JobStore
from services.library.library import Library
from services.library.live import LiveProgress
from services.library.projection import Projection
from services.library.webhooks.dispatcher import Dispatcher
from shared.access.front import Front
from shared.access.principal import Principal
from shared.access.resolution import Resolver
from shared.eventlog.memory import MemoryEventLog
from shared.events.types import Event
from shared.layout import Layout
from shared.settings import Settings
from shared.webhook_targets import Rules
from tests import local_http
from tests.broker import free_port, wait_for_port


@dataclass
class Served:
    """One application, and what a test does to what is behind it."""

    library: Library
    store: JobStore
    log: MemoryEventLog
    client: httpx.Client
    loop: asyncio.AbstractEventLoop
    projection: Projection
    webhooks: Dispatcher
    connected: bool = True

    @property
    def layout(self) -> Layout:
        return self.library.layout

    def get(self, path: str, headers: dict[str, str] | None = None, **parameters: Any) -> httpx.Response:
        return self.ask("GET", path, headers, **parameters)

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **parameters: Any) -> httpx.Response:
        return self.client.request(method, path, params=parameters or None, headers=headers)

    def log_only(self, *events: Event) -> list[int]:
        """Append without projecting, as while the projector is behind."""

        async def all_of_them() -> list[int]:
            return [await self.log.append(event) for event in events]

        return asyncio.run_coroutine_threadsafe(all_of_them(), self.loop).result(10)

    def append(self, *events: Event) -> list[int]:
        sequences = self.log_only(*events)
        reading = self.log.read(after=self.projection.cursor.seq, limit=10_000)
        batch = asyncio.run_coroutine_threadsafe(reading, self.loop).result(10)
        self.loop.call_soon_threadsafe(self.library.publish, self.projection.apply(batch))
        return sequences


class Nobody:
    """Accounts that there are none of: only this machine's own key comes in."""

    async def resolve(self, _digest: str) -> Principal | None:
        return None


@contextlib.contextmanager
def serving(directory: Path, parser: str = "httptools", resolver: Resolver | None = None) -> Iterator[Served]:
    """Serve `directory` with one of uvicorn's two parsers of HTTP; `resolver` knows accounts, if there are any."""
    layout = Layout(directory)
    layout.output.mkdir(parents=True, exist_ok=True)
    store = JobStore(layout.jobs_db)
    reader = Reader(layout.jobs_db)
    log, live = MemoryEventLog(), LiveProgress()
    library = Library(layout, log, reader, live, Hub(live), lambda: served.connected)
    port = free_port()
    webhooks = Dispatcher(layout, Rules.parse("127.0.0.0/8"))
    app = create_app(library, webhooks, Front.of(Settings(data_dir=directory), resolver or Nobody()))
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, http=parser, log_config=None, lifespan="off", proxy_headers=False)
    )

    async def serve() -> None:
        await webhooks.open(log, 0)
        await server.serve()
        await webhooks.close()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    client = local_http.client(base_url=f"http://127.0.0.1:{port}", timeout=10)
    served = Served(library, store, log, client, loop, Projection(store), webhooks)
    thread.start()
    try:
        wait_for_port(port)
        yield served
    finally:
        client.close()
        loop.call_soon_threadsafe(library.hub.close)
        server.should_exit = True
        thread.join(10)
        loop.close()
        reader.close()
        store.close()


def until(condition: Any, timeout_s: float = 5.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
