"""The OpenAPI documents of all services are true: schemathesis asks, and each address is one service's.

`SCHEMATHESIS_EXAMPLES` (10) says how many requests are generated for each operation.
"""

import contextlib
import http.server
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.standalone.binaries import GATEWAY, require
from services.standalone.deployment import deploy_dir
from shared.access.principal import Role
from shared.layout import Layout
from tests import local_http
from tests.broker import free_port, wait_for_port
from tests.integration.authorisation_table import MEANINGS, TABLE
from tests.integration.authorisation_world import browser, open_session
from tests.integration.ingest.browser import account
from tests.integration.openapi_run import EXAMPLES, EXCLUDED, SEED, SIGNING_OUT, Caller, run
from tests.integration.whole_http import SERVICES, WholeHttp, running_whole

METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")
ON_EACH = {"/livez", "/readyz"}
"""Every service answers for itself; through the gateway, the library does."""
JOB = "0192f0c1-2b3c-7d4e-8f50-61728394a5b6"


def document_of(service: str) -> str:
    return f"/api/{service}.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeHttp]:
    with running_whole(tmp_path_factory.mktemp("whole")) as running:
        yield running


@pytest.fixture(scope="module")
def documents(whole: WholeHttp) -> dict[str, dict[str, Any]]:
    return {name: local_http.get(whole.url(name) + document_of(name), trust_env=False).json() for name in SERVICES}


def operations(document: dict[str, Any]) -> set[str]:
    return {
        f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item if method in METHODS
    }


def left_out(document: dict[str, Any]) -> set[str]:
    """Return the operations that generated requests leave out."""
    paths = {excluded.path for excluded in EXCLUDED}
    return {operation for operation in operations(document) if operation.split()[1] in paths}


def is_problem(answer: httpx.Response, status: int) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert answer.json()["status"] == status


@pytest.mark.filterwarnings("default")  # of the tool itself
@pytest.mark.parametrize("service", SERVICES)
def test_no_request_has_an_answer_that_the_document_does_not_tell(
    whole: WholeHttp, documents: dict[str, dict[str, Any]], service: str
) -> None:
    print(f"seed {SEED}, SCHEMATHESIS_EXAMPLES={EXAMPLES}")  # noqa: T201 -- shown with a failure
    caller = Caller(dict(local_http.signed_in()), whole=True)
    outcome = run(whole.url(service), documents[service], whole.known, caller)
    assert not outcome.failures, "\n\n".join(outcome.failures)
    assert operations(documents[service]) - left_out(documents[service]) <= outcome.operations
    assert outcome.cases > len(outcome.operations) * EXAMPLES / 3


ROLES: dict[str, Role] = {"viewer": "viewer", "operator": "operator", "stranger": "editor"}
"""By their names in the authorisation table."""


@pytest.mark.filterwarnings("default")  # of the tool itself
@pytest.mark.parametrize("actor", ["nobody", *ROLES])
@pytest.mark.parametrize("service", SERVICES)
def test_what_a_role_may_not_do_never_succeeds_and_its_refusals_are_told(
    whole: WholeHttp, documents: dict[str, dict[str, Any]], service: str, actor: str
) -> None:
    """A person signed in with a browser, who owns nothing but what they make here; and nobody."""
    print(f"seed {SEED}")  # noqa: T201 -- shown with a failure
    shown: dict[str, str] = {}
    if actor in ROLES:
        layout = Layout(whole.data)
        user = account(layout, f"{actor}-{service}", ROLES[actor])
        reading, writing = browser(open_session(layout, user).token)
        shown = reading | writing
    outcome = run(whole.url(service), documents[service], whole.known, Caller(shown))
    assert not outcome.failures, "\n\n".join(outcome.failures)
    asked = {label for label in operations(documents[service]) if not SIGNING_OUT.fullmatch(label)}
    assert asked - left_out(documents[service]) <= outcome.operations
    lines = {label: TABLE[label.replace("/files/{path}", "/files/{path:path}")] for label in outcome.operations}
    refused = {label for label, word in lines.items() if MEANINGS[word].outcome(actor) in ("401", "403")}
    assert not refused & outcome.succeeded
    assert outcome.succeeded, "some of it is everybody's"


def test_every_operation_tells_its_summary_and_its_refusals_as_problems(documents: dict[str, dict[str, Any]]) -> None:
    for document in documents.values():
        for path, item in document["paths"].items():
            for method, operation in item.items():
                assert operation.get("summary"), (method, path)
                for status, answer in operation["responses"].items():
                    if status.startswith("4"):
                        assert set(answer["content"]) == {"application/problem+json"}, (method, path, status)


def test_endless_streams_refuse_as_their_document_tells(whole: WholeHttp, documents: dict[str, dict[str, Any]]) -> None:
    """Generated requests leave them out, so here is what they answer before they stream."""
    deleted = whole.known.ids["job_id"][-1]
    with local_http.client(base_url=whole.url("library"), trust_env=False, timeout=10) as client:
        for path in (excluded.path for excluded in EXCLUDED if "stream" in excluded.reason):
            told = documents["library"]["paths"][path]["get"]
            assert set(told["responses"]["200"]["content"]) == {"text/event-stream"}
            address = path.replace("{job_id}", JOB)
            if "{job_id}" in path:
                assert "404" in told["responses"]
                is_problem(client.get(address), 404)
                is_problem(client.get(path.replace("{job_id}", "%00")), 404)
            for parameter in told["parameters"]:
                if parameter["in"] == "query" and parameter["name"] == "after":
                    for wrong in ("-1", "x", "9" * 400, "1e3"):
                        is_problem(client.get(address, params={"after": wrong}), 422)
            with client.stream("GET", path.replace("{job_id}", whole.known.ids["job_id"][0])) as answer:
                assert answer.status_code == 200
                assert answer.headers["content-type"].startswith("text/event-stream")
                assert next(answer.iter_bytes())
            answer = client.post(address)
            is_problem(answer, 405)
            assert answer.headers["allow"] == "GET, HEAD"
        is_problem(client.get(f"/events/jobs/{deleted}"), 410)


URLS = [
    "/api/jobs?limit=" + "9" * 400, "/api/jobs?offset=-1", "/api/jobs?q=%00", "/api/jobs?q=%ED%A0%80",
    "/api/jobs?q=%FF", "/api/jobs?tag=%00&project=%ED%A0%80", "/api/jobs?cursor=%00", "/api/jobs?cursor=" + "f" * 5000,
    "/api/jobs/%00", "/api/jobs/%ED%A0%80", "/api/jobs/%FF/files", "/api/jobs/..%2f..%2f/logs", "/api/jobs//logs",
    f"/api/jobs/{JOB}?at=" + "9" * 400, f"/api/jobs/{JOB}?at=%00", f"/api/jobs/{JOB}?at=0001-01-01T00:00:00-23:59",
    f"/api/jobs/{JOB}/logs/tail?n=" + "9" * 400, "/api/projects/%00", "/api/presets/%ED%A0%80", "/api/webhooks/%00",
    "/api/webhooks/%FF/deliveries", "/api/webhooks/hook_0123456789abcdef/deliveries?cursor=" + "9" * 18,
    "/files/%00", "/files/%ED%A0%80", "/files/%FF", "/files/..%2f..%2fetc/passwd", "/files/" + "a/" * 3000,
    "/files/" + "a" * 300, "/ui/jobs/%00", "/ui/jobs?q=%ED%A0%80&limit=x", "/ui/webhooks/%00",
    "/api/runtime/state?limit=" + "9" * 400, "/api/runtime/state?job=%00&job=%ED%A0%80", "/api/runtime/models?%00",
    "/api/languages?%FF=%00",
]  # fmt: skip


def test_urls_that_no_client_should_send(whole: WholeHttp) -> None:
    """What the tool's client would tidy up: raw bytes in the path and the query, to each service and the gateway."""
    for name in (*SERVICES, "gateway"):
        for url in URLS:
            request = f"GET {url} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            with socket.create_connection(("127.0.0.1", whole.ports[name]), 10) as connection:
                connection.sendall(request.encode())
                status = connection.recv(12).decode()
            assert "HTTP/1.1 200" <= status < "HTTP/1.1 500", (name, url, status)


def test_every_address_is_of_one_service(documents: dict[str, dict[str, Any]]) -> None:
    seen: dict[str, str] = {}
    for name, document in documents.items():
        for operation in operations(document):
            if operation.split()[1] not in ON_EACH:
                assert operation not in seen, (operation, name, seen.get(operation))
                seen[operation] = name


def test_the_gateway_sends_every_address_to_the_service_whose_document_has_it(
    documents: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        upstreams = {name: stack.enter_context(saying(name)) for name in SERVICES}
        port = stack.enter_context(gateway(tmp_path, upstreams))
        client = stack.enter_context(local_http.client(base_url=f"http://127.0.0.1:{port}", trust_env=False))
        for name, document in documents.items():
            for operation in {*operations(document), f"GET {document_of(name)}"}:
                method, path = operation.split()
                owner = "library" if path in ON_EACH else name
                answer = client.request(method, path.replace("{", "").replace("}", ""))
                assert answer.headers["X-Service"] == owner, operation


def test_the_gateway_changes_no_answer(whole: WholeHttp) -> None:
    project = whole.known.ids["project_id"][0]
    samples = {
        "ingest": ("/api/languages", document_of("ingest")),
        "library": (f"/api/projects/{project}", f"/api/jobs/{JOB}", "/api/jobs?limit=0", document_of("library")),
        "scheduler": ("/api/runtime/models", "/api/runtime/state?limit=x", document_of("scheduler")),
    }
    same = ("content-type", "etag", "cache-control", "allow")
    with local_http.client(trust_env=False, timeout=20) as client:
        for name, paths in samples.items():
            for path in paths:
                direct, through = client.get(whole.url(name) + path), client.get(whole.url("gateway") + path)
                assert (through.status_code, through.text) == (direct.status_code, direct.text), path
                assert [through.headers.get(field) for field in same] == [direct.headers.get(field) for field in same]
        for path, status in (("/api/projects", 422), (f"/api/jobs/{JOB}/archive", 404), ("/api/runtime/limits", 422)):
            for url in (whole.url("ingest"), whole.url("gateway")):
                is_problem(client.post(url + path, content=b"{", headers={"Content-Type": "application/json"}), status)


@contextlib.contextmanager
def saying(name: str) -> Iterator[int]:
    """Answer everything with a name, in a header."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(200)
            self.send_header("X-Service", name)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 -- the library's names
        do_HEAD = do_PATCH = do_OPTIONS = answer  # noqa: N815 -- likewise

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the library's name
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def gateway(directory: Path, upstreams: dict[str, int]) -> Iterator[int]:
    """Run the real gateway before other services; yield its port."""
    port = free_port()
    environment = os.environ | {f"DUBLINE_{name.upper()}_ADDR": f"127.0.0.1:{at}" for name, at in upstreams.items()}
    environment |= {"DUBLINE_GATEWAY_ADDRESS": f"http://:{port}", "DUBLINE_FILES_ROOT": str(directory)}
    environment |= {"XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
    command = [
        require(GATEWAY),
        "run",
        "--config",
        str(deploy_dir() / "gateway" / "Caddyfile"),
        "--adapter",
        "caddyfile",
    ]
    with (directory / "gateway.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_for_port(port, 30)
        yield port
    finally:
        process.terminate()
        process.wait(10)
