"""GET /metrics of the real services, and that the gateway does not let it out."""

import contextlib
import math
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from services.scheduler.metrics import Gauges, SchedulerMetrics
from services.standalone.binaries import GATEWAY, require
from services.standalone.deployment import deploy_dir
from services.worker.metrics import WorkerMetrics
from shared.identity import uuid7
from tests import local_http
from tests.broker import free_port, wait_for_port
from tests.factories import submitted
from tests.integration.ingest.service import running_ingest
from tests.integration.library.conftest import LibraryProcess, running_library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibraryProcess]:
    with running_library(tmp_path_factory.mktemp("library")) as running:
        yield running


def samples(url: str) -> dict[str, float]:
    answer = local_http.get(f"{url}/metrics", timeout=10, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = [line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_the_library_tells_how_far_it_is_behind_the_log(library: LibraryProcess) -> None:
    (head,) = library.append(submitted(uuid7()))
    found = samples(library.url)
    assert found["dub_library_log_sequence"] == head
    assert found["dub_library_projector_lag_events"] == 0
    assert found["dub_library_quarantined_events"] == 0
    assert found["dub_library_broker_connected"] == 1
    assert found["dub_library_disk_free_bytes"] > 0


def test_without_the_broker_the_lag_is_unknown_and_never_zero(tmp_path: Path) -> None:
    with running_library(tmp_path) as library:
        library.broker.kill()
        deadline = time.monotonic() + 20
        while (found := samples(library.url))["dub_library_broker_connected"] == 1:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert math.isnan(found["dub_library_projector_lag_events"])


def test_ingest_counts_what_it_is_given(library: LibraryProcess, tmp_path: Path) -> None:
    with running_ingest(tmp_path / "data", library.broker.url) as ingest:
        assert samples(ingest.url)["dub_ingest_broker_connected"] == 1
        assert ingest.submit(b"no video").status_code >= 400
        assert samples(ingest.url)['dub_ingest_submissions_total{result="refused"}'] == 1


@contextlib.contextmanager
def service_that_tells_everything() -> Iterator[int]:
    """Answer 200 to any GET, as the worst service behind the gateway would."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"secret")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the real gateway with its real file, in front of one talkative service."""
    port, home = free_port(), str(tmp_path_factory.mktemp("gateway"))
    with service_that_tells_everything() as behind:
        services = {f"DUBLINE_{name}_ADDR": f"127.0.0.1:{behind}" for name in ("INGEST", "LIBRARY", "SCHEDULER")}
        own = {"DUBLINE_GATEWAY_ADDRESS": f"http://:{port}", "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}
        file = deploy_dir() / "gateway" / "Caddyfile"
        process = subprocess.Popen(
            [require(GATEWAY), "run", "--config", str(file), "--adapter", "caddyfile"],
            env=os.environ | services | own,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for_port(port)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def ask(port: int, path: str) -> tuple[int, bytes]:
    """Send a path exactly as it is written: an HTTP library would tidy it up."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest("GET", path)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/metrics/", "/metrics?x=1", "//metrics", "/METRICS", "/%6detrics", "/./metrics", "/jobs/../metrics"],
)
def test_the_gateway_does_not_let_metrics_out(gateway: int, path: str) -> None:
    status, body = ask(gateway, path)
    assert status == 404
    assert b"secret" not in body


def test_the_gateway_lets_everything_else_out(gateway: int) -> None:
    for path in ("/readyz", "/api/jobs", "/api/runtime/state", "/metricsandmore"):
        assert ask(gateway, path) == (200, b"secret")


def test_the_page_about_metrics_names_every_metric_and_no_other(library: LibraryProcess, tmp_path: Path) -> None:
    state = {"queued": 0, "running": 0, "oldest_queued_s": 0.0, "dead_letters": 0, "quarantined": 0, "log_head": 0}
    idle = Gauges(active=True, caps={}, workers={}, open_breakers=[], disk_free_bytes=0, **state)
    with running_ingest(tmp_path / "data", library.broker.url) as ingest:
        texts = [local_http.get(f"{url}/metrics", trust_env=False).text for url in (library.url, ingest.url)]
    own = (SchedulerMetrics(lambda: idle).registry, WorkerMetrics(lambda: False).registry)
    texts += [generate_latest(registry).decode() for registry in own]
    served = {line.split()[2] for text in texts for line in text.splitlines() if line.startswith("# TYPE")}
    page = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == served
