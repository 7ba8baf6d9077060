"""A collector for tests: takes OTLP over HTTP on a real socket and keeps the spans.

Lives here: receiving and finding. Does not live here: what the spans must be.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

RECEIVE_S = 20.0


@dataclass(frozen=True)
class ReceivedSpan:
    """One span as a collector sees it; ids in hex, as in a traceparent."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str | int]
    links: list[str]
    failed: bool
    text: str
    """Everything that was sent of it, to look for what must not be there."""

    @classmethod
    def of(cls, service: str, span: ProtoSpan) -> "ReceivedSpan":
        return cls(
            service=service,
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            attributes=_plain(span.attributes),
            links=[link.span_id.hex() for link in span.links],
            failed=span.status.code == span.status.STATUS_CODE_ERROR,
            text=str(span),
        )


def _plain(attributes: "Iterator[KeyValue]") -> dict[str, str | int]:
    return {a.key: a.value.int_value if a.value.HasField("int_value") else a.value.string_value for a in attributes}


class Collector:
    """What came so far."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.url = ""

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = str(_plain(resource.resource.attributes)["service.name"])
            self.spans += [ReceivedSpan.of(service, span) for scope in resource.scope_spans for span in scope.spans]

    def named(self, name: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.name == name]

    def wait_for(self, name: str, count: int = 1) -> list[ReceivedSpan]:
        """Return the spans of a name once there are so many; raises TimeoutError."""
        deadline = time.monotonic() + RECEIVE_S
        while len(found := self.named(name)) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(found)} of {count} {name} spans came")
            time.sleep(0.02)
        return found


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """Yield a collector that listens on loopback meanwhile."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
