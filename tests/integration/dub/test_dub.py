"""`dubline dub` against the real gateway, ingest and library; the test itself plays scheduler and worker in the log."""

import asyncio
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from services.standalone.binaries import GATEWAY, require
from services.standalone.deployment import deploy_dir
from services.standalone.dub import dub
from shared.artifacts import Artifact
from shared.eventlog.jetstream import JetStreamEventLog
from shared.events.types import Issue, JobCanceled, JobCompleted, JobFailed, JobStarted, JobSubmitted
from shared.job.stages import GRAPH
from shared.layout import Layout
from tests import local_http
from tests.broker import BinaryBroker, free_port, running_broker, wait_for_port
from tests.factories import claimed, completed, event
from tests.integration.ingest import videos
from tests.integration.ingest.conftest import make_streams
from tests.integration.ingest.service import answering_worker, event_log


@dataclass
class System:
    """Everything but a scheduler and a worker."""

    url: str
    broker: BinaryBroker
    layout: Layout
    gateway_command: list[str]
    gateway_environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start_gateway(self) -> None:
        self.processes["gateway"] = subprocess.Popen(
            self.gateway_command, env=self.gateway_environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_port(int(self.url.rsplit(":", 1)[1]))

    def stop_gateway(self) -> None:
        self.processes["gateway"].kill()
        self.processes["gateway"].wait()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("dub")
    port, ingest_port, library_port = free_port(), free_port(), free_port()
    with running_broker(directory) as broker:
        asyncio.run(make_streams(broker.url))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DUBLINE_")} | {
            "DUBLINE_DATA_DIR": str(directory / "data"),
            "DUBLINE_NATS_URL": broker.url,
            "DUBLINE_INGEST_PORT": str(ingest_port),
            "DUBLINE_LIBRARY_PORT": str(library_port),
            local_http.VARIABLE: os.environ[local_http.VARIABLE],
            "MIN_FREE_GB": "0.01",
        }
        gateway = {
            "DUBLINE_GATEWAY_ADDRESS": f"http://:{port}",
            "DUBLINE_INGEST_ADDR": f"127.0.0.1:{ingest_port}",
            "DUBLINE_LIBRARY_ADDR": f"127.0.0.1:{library_port}",
            "DUBLINE_SCHEDULER_ADDR": f"127.0.0.1:{free_port()}",
            "HOME": str(directory),
        }
        caddyfile = deploy_dir() / "gateway" / "Caddyfile"
        command = [str(require(GATEWAY)), "run", "--config", str(caddyfile), "--adapter", "caddyfile"]
        system = System(f"http://127.0.0.1:{port}", broker, Layout(directory / "data"), command, gateway)
        with (directory / "services.log").open("ab") as output:
            for name in ("ingest", "library"):
                argv = [sys.executable, "-P", "-m", f"services.{name}"]
                system.processes[name] = subprocess.Popen(argv, env=environment, stdout=output, stderr=output)
        try:
            system.start_gateway()
            for backend in (ingest_port, library_port):
                wait_until_ready(f"http://127.0.0.1:{backend}")
            yield system
        finally:
            for process in system.processes.values():
                process.terminate()
            for process in system.processes.values():
                process.wait(15)


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if local_http.get(f"{url}/readyz", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, f"{url} does not get ready"
        time.sleep(0.1)


@pytest.fixture
async def log(system: System) -> AsyncIterator[JetStreamEventLog]:
    async with answering_worker(system.broker.url), event_log(system.broker.url) as found:
        yield found


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.short(tmp_path_factory.mktemp("videos"))


@dataclass
class Run:
    """A command under way in a thread, and what it says."""

    outcome: "asyncio.Task[int]"
    screen: io.StringIO

    async def code(self) -> int:
        return await asyncio.wait_for(self.outcome, 60)


def start(system: System, path: Path, *, terminal: bool = False, target: str = "pt") -> Run:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=200, color_system=None)

    def call() -> int:
        return dub(system.url, path, target=target, output_root=system.layout.output, console=console)

    return Run(asyncio.create_task(asyncio.to_thread(call)), screen)


async def submitted_job(log: JetStreamEventLog, after: int) -> JobSubmitted:
    async with asyncio.timeout(30):
        while True:
            for record in await log.read(after=after):
                if isinstance(record.event, JobSubmitted):
                    return record.event
            await asyncio.sleep(0.05)


async def head(log: JetStreamEventLog) -> int:
    last = await log.last()
    return last.seq if last else 0


async def work(system: System, log: JetStreamEventLog, job: JobSubmitted) -> list[Path]:
    """Play a whole run: every stage claimed and completed, `mux` with real files, one issue, one stage re-used."""
    await log.append(event(JobStarted, job.subject))
    made: list[Path] = []
    for stage in GRAPH:
        await log.append(claimed(job.subject, stage))
        await asyncio.sleep(0.05)
        changes: dict[str, Any] = {}
        if stage == "translate":
            changes = {"reused_from": "another"}
        if stage == "mux":
            outputs = [finished_file(system, job, suffix) for suffix in ("dub.mkv", "dub.mp4")]
            made = [system.layout.output / output.path for output in outputs]
            changes = {"outputs": outputs}
        await log.append(completed(job.subject, stage, **changes))
    issue = Issue(code="line_overruns", stage="tts", segment=6)
    await log.append(event(JobCompleted, job.subject, issues=[issue]))
    return made


def finished_file(system: System, job: JobSubmitted, suffix: str) -> Artifact:
    path = f"{job.data.base_dir}/{job.data.stem}.{suffix}"
    content = suffix.encode()
    (system.layout.output / path).write_bytes(content)
    return Artifact(name=suffix, path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("terminal", [False, True])
async def test_a_finished_file_is_exit_code_0(
    system: System, log: JetStreamEventLog, video: Path, *, terminal: bool
) -> None:
    run = start(system, video, terminal=terminal)
    made = await work(system, log, await submitted_job(log, await head(log)))
    assert await run.code() == 0
    said = run.screen.getvalue()
    assert "Done: short.mp4 → pt" in said
    for stage in GRAPH:
        assert stage in said
    assert "re-used" in said
    assert "line 7: The dubbed line is longer than its place" in said
    for path in made:
        assert str(path) in said
        assert path.is_absolute()


async def test_a_failed_job_is_exit_code_1(system: System, log: JetStreamEventLog, video: Path) -> None:
    run = start(system, video)
    job = await submitted_job(log, await head(log))
    await log.append(event(JobStarted, job.subject))
    await log.append(event(JobFailed, job.subject, stage="tts", code="engine_crashed", message="the voice engine died"))
    assert await run.code() == 1
    assert "Failed: short.mp4 → pt: the voice engine died" in run.screen.getvalue()


async def test_a_cancelled_job_is_exit_code_1(system: System, log: JetStreamEventLog, video: Path) -> None:
    run = start(system, video)
    job = await submitted_job(log, await head(log))
    await log.append(event(JobCanceled, job.subject))
    assert await run.code() == 1
    assert "Cancelled" in run.screen.getvalue()


async def test_a_job_that_is_done_without_a_file_is_no_success(
    system: System, log: JetStreamEventLog, video: Path
) -> None:
    run = start(system, video)
    job = await submitted_job(log, await head(log))
    await log.append(event(JobStarted, job.subject))
    await log.append(event(JobCompleted, job.subject))
    assert await run.code() == 1


async def test_it_survives_a_restart_of_the_gateway(system: System, log: JetStreamEventLog, video: Path) -> None:
    run = start(system, video)
    job = await submitted_job(log, await head(log))
    await log.append(event(JobStarted, job.subject))
    await log.append(claimed(job.subject, "audio"))
    await asyncio.to_thread(said_in, run.screen, "audio: running")
    system.stop_gateway()
    await asyncio.to_thread(said_in, run.screen, "Waiting for the server")
    system.start_gateway()
    await log.append(completed(job.subject, "audio"))
    await asyncio.to_thread(said_in, run.screen, "audio: done")
    await work(system, log, job)
    assert await run.code() == 0


def said_in(screen: io.StringIO, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in screen.getvalue():
        assert time.monotonic() < deadline, screen.getvalue()
        time.sleep(0.05)


async def test_refused_input_is_exit_code_2_and_one_line(
    system: System, log: JetStreamEventLog, video: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes\nof mine.mp4"
    text.write_text("no video at all")
    before = await head(log)
    for path, target, reason in [
        (text, "pt", "no video file"),
        (tmp_path / "missing.mp4", "pt", "is not a file"),
        (tmp_path, "pt", "is not a file"),
        (video, "de", "en → pt"),
        (video, "klingon", "such as en, pt or ja"),
    ]:
        assert await start(system, path, target=target).code() == 2
        complaint = capfd.readouterr().err
        assert complaint.startswith("dubline: ")
        assert complaint.count("\n") == 1
        assert reason in complaint
    assert await head(log) == before


def test_a_server_that_is_not_there_is_exit_code_69(video: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert dub(f"http://127.0.0.1:{free_port()}", video, target="pt") == 69
    assert "dubline up" in capfd.readouterr().err


@pytest.mark.parametrize("server", ["nonsense", "ftp://127.0.0.1", "http://127.0.0.1:port"])
def test_a_server_that_is_no_address_is_exit_code_2(
    video: Path, server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert dub(server, video, target="pt") == 2
    assert "is not an address" in capfd.readouterr().err


@contextmanager
def own_process(system: System, path: Path) -> Iterator[subprocess.Popen[str]]:
    program = "import signal, sys\nfrom pathlib import Path\nfrom services.standalone.dub import dub\n"
    # A shell's background job ignores Ctrl-C, and so would we.
    program += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += "sys.exit(dub(sys.argv[1], Path(sys.argv[2]), target='pt'))"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", program, system.url, path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def test_ctrl_c_leaves_the_job_running(system: System, log: JetStreamEventLog, video: Path) -> None:
    before = await head(log)
    with own_process(system, video) as process:
        job = await submitted_job(log, before)
        assert process.stdout
        while not (await asyncio.to_thread(process.stdout.readline)).startswith("Accepted"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, complaint = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 130
    assert complaint == f"dubline: The job keeps running: {system.url}/ui/jobs/{job.subject}\n"
    assert await head(log) == before + 1, "nothing was cancelled"
