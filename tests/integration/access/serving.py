"""Applications over real sockets in this process, each on an event loop of its own thread."""

import contextlib
import threading
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from tests.broker import free_port, wait_for_port


@contextlib.contextmanager
def served(app: ASGIApp, parser: str = "auto") -> Iterator[str]:
    """Yield the address of an application as a service serves it."""
    port = free_port()
    config = uvicorn.Config(app, port=port, http=parser, log_config=None, lifespan="off", proxy_headers=False)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for_port(port)
        yield f"127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
