"""A receiver of webhooks for tests, on a real socket: keeps what it got, and answers what it is told to.

Lives here: receiving. Does not live here: checking signatures (the tests do, with the specification's own library).
"""

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RECEIVE_S = 20.0


@dataclass(frozen=True)
class Message:
    """One POST."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


@dataclass
class Receiver:
    """`answers` are given in turn, then `status`; `hold` keeps every answer back until it is set."""

    port: int = 0
    scheme: str = "http"
    status: int = 204
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    hold: threading.Event | None = None
    got: list[Message] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"

    def wait_for(self, count: int) -> list[Message]:
        deadline = time.monotonic() + RECEIVE_S
        while len(self.got) < count:
            assert time.monotonic() < deadline, f"{len(self.got)} of {count} messages came"
            time.sleep(0.01)
        return list(self.got)

    async def messages(self, count: int) -> list[Message]:
        """Like `wait_for`, for a sender on this event loop."""
        return await asyncio.to_thread(self.wait_for, count)


@contextlib.contextmanager
def receiving(port: int = 0, tls: ssl.SSLContext | None = None, **options: Any) -> Iterator[Receiver]:
    """Yield a receiver on loopback; port 0 takes a free one."""
    receiver = Receiver(**options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.got.append(Message(self.path, headers, body))
            if receiver.hold is not None:
                receiver.hold.wait(RECEIVE_S)
            status, extra = receiver.answers.pop(0) if receiver.answers else (receiver.status, {})
            with contextlib.suppress(OSError):  # the sender may be gone
                self.send_response(status)
                for name, value in ({"content-length": "0"} | extra).items():
                    self.send_header(name, value)
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A sender that refuses our certificate, or dies, is what some tests are about."""

    with Server(("127.0.0.1", port), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            receiver.scheme = "https"
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield receiver
        finally:
            if receiver.hold is not None:
                receiver.hold.set()
            server.shutdown()
            thread.join()
