"""All services that speak HTTP, as processes before one broker and behind the real gateway, with things to ask about.

Lives here: starting them, and what they have to begin with. Does not live here: what is asked (`openapi_run`).
The worker only says what it could dub: what is submitted stays in the queue, so that asking costs no dubbing.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from services.standalone.binaries import GATEWAY, require
from services.standalone.deployment import deploy_dir
from shared.identity import uuid7
from shared.layout import Layout
from tests import local_http
from tests.broker import BinaryBroker, free_port, running_broker
from tests.factories import submitted
from tests.integration.ingest import videos
from tests.integration.ingest.service import answering_worker
from tests.integration.library.conftest import LibraryProcess, prepare

SERVICES = ("ingest", "library", "scheduler")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
VICTIMS = 3
BODIES = {
    "project": {"name": "Films {}"},
    "preset": {"name": "Quick {}", "mode": "low", "tgt_lang": "pt"},
    "webhook": {"url": "http://127.7.7.7:9/{}"},
}
NOBODY_LISTENS = "127.7.7.0/24"
"""Where webhooks may go: loopback addresses, so that nothing ever leaves this machine."""


@dataclass(frozen=True)
class Known:
    """What exists to begin with, by the name of the path parameter that it fits."""

    ids: dict[str, list[str]]
    victims: dict[str, list[str]]
    """The same, of things that are there to be deleted."""
    video_path: str
    """A video in the input folder."""
    video: bytes


@dataclass(frozen=True)
class WholeHttp:
    """The running services. `ports` has the gateway too."""

    data: Path
    broker: BinaryBroker
    ports: dict[str, int]
    known: Known

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"


@contextlib.contextmanager
def running_whole(directory: Path) -> Iterator[WholeHttp]:
    """Yield all services, ready and with something in them; each must end with exit code 0."""
    data = directory / "data"
    data.mkdir()
    ports = {name: free_port() for name in (*SERVICES, "gateway")}
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(running_broker(directory))
        asyncio.run(prepare(broker))
        environment = _environment(data, broker, ports)
        for name in SERVICES:
            command = [sys.executable, "-P", "-m", f"services.{name}"]
            stack.enter_context(_process(command, environment, directory / f"{name}.log"))
        caddyfile = str(deploy_dir() / "gateway" / "Caddyfile")
        command = [str(require(GATEWAY)), "run", "--config", caddyfile, "--adapter", "caddyfile"]
        stack.enter_context(_process(command, environment, directory / "gateway.log"))
        stack.enter_context(_worker(broker))
        for name in (*SERVICES, "gateway"):
            _wait_until_ready(f"http://127.0.0.1:{ports[name]}/readyz")
        yield WholeHttp(data, broker, ports, _fill(data, broker, ports))


def _environment(data: Path, broker: BinaryBroker, ports: dict[str, int]) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("DUBLINE_")}
    address = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    return (
        inherited
        | {f"DUBLINE_{name.upper()}_PORT": str(ports[name]) for name in SERVICES}
        | {f"DUBLINE_{name.upper()}_ADDR": address[name] for name in SERVICES}
        | {
            "DUBLINE_DATA_DIR": str(data),
            "DUBLINE_NATS_URL": broker.url,
            local_http.VARIABLE: os.environ[local_http.VARIABLE],
            "DUBLINE_GATEWAY_ADDRESS": f"http://:{ports['gateway']}",
            "DUBLINE_GATEWAY_TOKEN": "whole",
            "DUBLINE_FILES_HANDOFF": "caddy",
            "DUBLINE_FILES_ROOT": str(data / "output"),
            "XDG_DATA_HOME": str(data / "gateway"),
            "XDG_CONFIG_HOME": str(data / "gateway"),
            "MIN_FREE_GB": "0.01",
            "WEBHOOK_ALLOW_CIDRS": NOBODY_LISTENS,
        }
    )


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert code == 0, log.read_text()[-2000:]


@contextlib.contextmanager
def _worker(broker: BinaryBroker) -> Iterator[None]:
    """Answer for a worker from a thread, while the test asks from its own."""
    loop = asyncio.new_event_loop()
    answering, ended = threading.Event(), asyncio.Event()

    async def answer() -> None:
        async with answering_worker(broker.url):
            answering.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(answer(),))
    thread.start()
    try:
        assert answering.wait(START_TIMEOUT_S)
        yield
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            if local_http.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        assert time.monotonic() < deadline, f"{url} does not get ready"
        time.sleep(0.05)


def _fill(data: Path, broker: BinaryBroker, ports: dict[str, int]) -> Known:
    """Make jobs of several kinds, a project, a preset and a webhook; return their ids."""
    library = LibraryProcess(data, broker, ports["library"])
    finished = library.finished_job()
    log = Layout(data).job(finished, "film", "film").job_log
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("one line\nanother <line>\n")
    queued, archived, deleted = (uuid7() for _ in range(3))
    library.append(*(submitted(job, stem=job[-6:], base_dir=job[-6:]) for job in (queued, archived, deleted)))
    layout = Layout(data)
    layout.input.mkdir(parents=True, exist_ok=True)
    video = videos.short(layout.input)
    doomed = [uuid7() for _ in range(VICTIMS)]
    library.append(*(submitted(job, stem=job[-6:], base_dir=job[-6:]) for job in doomed))
    victims = {"job_id": doomed}
    with local_http.client(base_url=f"http://127.0.0.1:{ports['ingest']}", trust_env=False, timeout=30) as client:
        made: dict[str, str] = {}
        for kind, body in BODIES.items():
            first, *others = [
                client.post(f"/api/{kind}s", json={name: value.format(number) for name, value in body.items()})
                .raise_for_status()
                .json()["id"]
                for number in range(1 + VICTIMS)
            ]
            made[kind], victims[f"{kind}_id"] = first, others
        client.post(f"/api/jobs/{archived}/archive").raise_for_status()
        client.put(f"/api/jobs/{archived}/tags", json={"tags": ["news"]}).raise_for_status()
        client.delete(f"/api/jobs/{deleted}").raise_for_status()
        sent = client.post(f"/api/webhooks/{made['webhook']}/test").raise_for_status().json()["id"]
    ids = {
        "job_id": [finished, queued, archived, deleted],
        "project_id": [made["project"]],
        "preset_id": [made["preset"]],
        "webhook_id": [made["webhook"]],
        "message": [sent],
        "path": [path.relative_to(layout.output).as_posix() for path in sorted(layout.output.rglob("film*.*"))],
    }
    return Known(ids, victims, video.name, video.read_bytes())
