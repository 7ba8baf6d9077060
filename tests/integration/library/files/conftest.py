"""One library with files, asked directly and through a real gateway that the files are handed off to."""

import contextlib
import hashlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from services.standalone.binaries import GATEWAY, require
from services.standalone.deployment import deploy_dir
from tests import local_http
from tests.broker import free_port
from tests.integration.library.conftest import CONTENTS, LibraryProcess, running_library

TOKEN = "a word that only the gateway knows"
STEM = "A film, “quoted” 100%"
WRITTEN = 1_000_000_000  # in September 2001
BODY = CONTENTS["dub.mp4"]  # 1024 bytes
ETAG = f'"{hashlib.sha256(BODY).hexdigest()}"'


@dataclass
class Gateway:
    """The Caddy of deploy/gateway before a library."""

    library: LibraryProcess
    root: Path
    """Where it looks for files: the library's output directory, but in tests of what it does without them."""
    port: int = field(default_factory=free_port)

    @contextlib.contextmanager
    def running(self, directory: Path) -> Iterator[None]:
        nowhere = f"127.0.0.1:{free_port()}"
        environment = os.environ | {
            "DUBLINE_GATEWAY_ADDRESS": f"http://:{self.port}",
            "DUBLINE_INGEST_ADDR": nowhere,
            "DUBLINE_SCHEDULER_ADDR": nowhere,
            "DUBLINE_LIBRARY_ADDR": f"127.0.0.1:{self.library.port}",
            "DUBLINE_GATEWAY_TOKEN": TOKEN,
            "DUBLINE_FILES_ROOT": str(self.root),
            "XDG_DATA_HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory),
        }
        config = str(deploy_dir() / "gateway" / "Caddyfile")
        command = [require(GATEWAY), "run", "--config", config, "--adapter", "caddyfile"]
        with (directory / "gateway.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 30
            while not self._answers():
                assert process.poll() is None, (directory / "gateway.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(10)

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return local_http.get(f"http://127.0.0.1:{self.port}/livez", timeout=5).is_success
        return False


@dataclass(frozen=True)
class Origin:
    """Where a client asks."""

    library: LibraryProcess
    port: int
    client: httpx.Client

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> Path:
        return self.library.layout.output

    @property
    def film(self) -> str:
        """The address of the recorded film of 1024 bytes."""
        return f"{self.url}/files/{quote(STEM)}/{quote(STEM)}.dub.mp4"

    def raw(self, target: str, *fields: str) -> bytes:
        """Ask without a client that would tidy anything up, but signed in; return all that comes."""
        head = "".join(f"{line}\r\n" for line in (f"X-Api-Key: {local_http.local_key()}", *fields))
        request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{head}Connection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(request.encode("latin-1"))
            received = b""
            while block := connection.recv(1 << 16):
                received += block
        return received

    def raw_status(self, target: str, *fields: str) -> int:
        return int(self.raw(target, *fields).split(b" ", 2)[1])


@pytest.fixture(scope="package")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibraryProcess]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DUBLINE_FILES_HANDOFF", "caddy")
        environment.setenv("DUBLINE_GATEWAY_TOKEN", TOKEN)
        with running_library(tmp_path_factory.mktemp("library")) as running:
            yield running


@pytest.fixture(scope="package")
def job(library: LibraryProcess) -> str:
    job_id = library.finished_job(stem=STEM)
    as_written_before_the_record(library.layout.output / STEM)
    return job_id


def as_written_before_the_record(base: Path) -> None:
    """Set the times of a job's files, whose events a test made up, to what they are where a worker wrote them."""
    for path in base.rglob("*"):
        os.utime(path, (WRITTEN, WRITTEN))


@pytest.fixture(scope="package")
def gateway(library: LibraryProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    running = Gateway(library, library.layout.output)
    with running.running(tmp_path_factory.mktemp("gateway")):
        yield running


@pytest.fixture(scope="package", params=["direct", "gateway"])
def origin(request: pytest.FixtureRequest, library: LibraryProcess, gateway: Gateway, job: str) -> Iterator[Origin]:
    with local_http.client(trust_env=False, timeout=30) as client:
        yield Origin(library, library.port if request.param == "direct" else gateway.port, client)
