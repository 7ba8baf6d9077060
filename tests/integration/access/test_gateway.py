"""The real gateway in front of services that say what they were asked: which of them is, and by whom."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from services.standalone.binaries import GATEWAY, require
from services.standalone.deployment import deploy_dir
from shared.access.client_address import ClientAddress, networks
from shared.access.current import ADDRESS
from tests.broker import free_port, wait_for_port
from tests.integration.access.serving import served

WORD = "the-gateways-word"
SPOOFED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Dubline-Gateway": "made up"}


class Saying:
    """A service that says which one it is, and what it was told."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        told = {"service": self._name, "address": scope[ADDRESS], "scheme": scope["scheme"], "size": size}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        body = b"" if scope["method"] == "HEAD" else json.dumps(told).encode()
        await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def gateway(trusted: str = "") -> Iterator[str]:
    port = free_port()
    with contextlib.ExitStack() as stack:
        environment = os.environ | {
            "DUBLINE_GATEWAY_ADDRESS": f"http://:{port}",
            "DUBLINE_GATEWAY_TOKEN": WORD,
            "DUBLINE_FILES_ROOT": "/nonexistent",
            "TRUSTED_PROXY_SUBNETS": trusted,
        }
        for name in ("ingest", "library", "scheduler"):
            service = ClientAddress(Saying(name), WORD, networks(trusted))
            environment[f"DUBLINE_{name.upper()}_ADDR"] = stack.enter_context(served(service))
        config = deploy_dir() / "gateway" / "Caddyfile"
        argv = [require(GATEWAY), "run", "--config", config, "--adapter", "caddyfile"]
        process = subprocess.Popen(argv, env=environment, stderr=subprocess.DEVNULL)
        try:
            wait_for_port(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with gateway() as address, httpx.Client(base_url=address, timeout=60) as asking:
        yield asking


@pytest.mark.parametrize(
    ("method", "path", "service"),
    [
        ("GET", "/", "library"),
        ("GET", "/ui/login", "library"),
        ("GET", "/api/jobs", "library"),
        ("POST", "/api/jobs", "ingest"),
        ("GET", "/auth/sessions", "ingest"),
        ("POST", "/auth/login", "ingest"),
        ("GET", "/api/auth/me", "ingest"),
        ("GET", "/keys", "ingest"),
        ("POST", "/keys/k1/revoke", "ingest"),
        ("GET", "/api/keys", "ingest"),
        ("POST", "/api/setup", "ingest"),
        ("GET", "/api/users/u_1", "ingest"),
        ("GET", "/api/admin/invites", "ingest"),
        ("GET", "/api/audit/recent", "ingest"),
        ("GET", "/api/settings", "ingest"),
        ("GET", "/api/project-profiles", "ingest"),
        ("GET", "/api/files", "ingest"),
        ("HEAD", "/api/uploads/tus/1", "ingest"),
        ("OPTIONS", "/api/uploads/tus", "ingest"),
        ("PATCH", "/api/uploads/tus/1", "ingest"),
        ("DELETE", "/api/uploads/tus/1", "ingest"),
        ("GET", "/api/uploads/1/status", "ingest"),
        ("GET", "/api/runtime/state", "scheduler"),
        ("POST", "/api/runtime/limits", "ingest"),
        ("GET", "/api/projects", "library"),
    ],
)
def test_a_path_belongs_to_its_service(client: httpx.Client, method: str, path: str, service: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 200
    assert method == "HEAD" or answer.json()["service"] == service


@pytest.mark.parametrize(
    "path", ["/internal/credentials", "/internal", "/metrics", "/internal/../internal/credentials"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_internal_is_not_there(client: httpx.Client, method: str, path: str) -> None:
    assert client.request(method, path, headers=SPOOFED).status_code == 404


def test_what_a_client_says_of_itself_is_thrown_away(client: httpx.Client) -> None:
    for path in ("/api/jobs", "/api/auth/me", "/api/runtime/state"):
        told = client.get(path, headers=SPOOFED).json()
        assert (told["address"], told["scheme"]) == ("127.0.0.1", "http")


def test_what_a_trusted_proxy_says_is_passed_on() -> None:
    with gateway("127.0.0.0/8 10.0.0.0/8") as url:
        forwarded = SPOOFED | {"X-Forwarded-For": "1.1.1.1, 203.0.113.9, 10.1.2.3"}
        told = httpx.get(f"{url}/api/jobs", headers=forwarded).json()
        assert (told["address"], told["scheme"]) == ("203.0.113.9", "https")


def test_a_large_body_comes_through_whole(client: httpx.Client) -> None:
    size = 32 << 20
    pieces = (bytes(1 << 20) for _ in range(size >> 20))
    assert client.patch("/api/uploads/tus/1", content=pieces).json()["size"] == size
