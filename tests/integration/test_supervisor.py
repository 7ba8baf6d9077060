"""`dubline up`: one command that keeps a whole system running, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.standalone import run_state
from tests import local_http
from tests.broker import free_port
from tests.system import StandaloneSystem, eventually, running_system

PROCESSES = ("nats", "ingest", "library", "scheduler", "worker", "gateway")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneSystem]:
    with running_system(tmp_path_factory.mktemp("data of a system")) as running:
        yield running


def run_up(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "services.standalone", "up"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_everything_runs_and_the_gateway_reaches_each_service(system: StandaloneSystem) -> None:
    assert tuple(system.state.processes) == PROCESSES
    assert system.answers("/readyz")
    assert system.answers("/api/languages")
    assert system.answers("/api/jobs")
    assert system.answers("/api/runtime/state")


def test_nothing_listens_beyond_this_machine(system: StandaloneSystem) -> None:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        listening = {
            (fields[1].split(":")[0], int(fields[1].split(":")[1], 16))
            for line in Path(table).read_text().splitlines()[1:]
            if (fields := line.split())[3] == "0A"
        }
        ours = {address for address, port in listening if port in system.state.ports.values()}
        assert ours <= {"0100007F"}, table


@pytest.mark.parametrize("name", PROCESSES)
def test_a_killed_process_comes_back(system: StandaloneSystem, name: str) -> None:
    restarts = system.state.processes[name].restarts
    system.wait_restarted(name, system.kill(name))
    assert system.state.processes[name].restarts == restarts + 1
    eventually("it serves again", lambda: all(map(system.answers, ("/readyz", "/api/languages", "/api/runtime/state"))))


def test_a_gap_behind_the_gateway_is_a_problem_document(system: StandaloneSystem) -> None:
    pid = system.state.processes["scheduler"].pid
    assert pid
    os.kill(system.state.supervisor, signal.SIGSTOP)  # so that nobody starts it again meanwhile
    try:
        os.kill(pid, signal.SIGKILL)
        answer = local_http.get(f"{system.url}/api/runtime/state?token=secret", timeout=10, trust_env=False)
    finally:
        os.kill(system.state.supervisor, signal.SIGCONT)
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["code"] == "service_unavailable"
    assert answer.json()["status"] == 502
    system.wait_restarted("scheduler", pid)
    assert "secret" not in "".join(path.read_text(errors="replace") for path in system.layout.logs.glob("gateway.log*"))


def test_a_second_one_on_the_same_data_is_refused(system: StandaloneSystem) -> None:
    done = run_up({"DUBLINE_DATA_DIR": str(system.data), "DUBLINE_PORT": str(free_port())})
    assert done.returncode == 1
    assert str(system.data) in done.stderr
    assert f"process {system.state.supervisor}, {system.url}" in done.stderr
    assert "DUBLINE_DATA_DIR" in done.stderr
    assert system.answers("/readyz")


def test_a_port_in_use_is_one_clear_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run_up({"DUBLINE_DATA_DIR": str(tmp_path), "DUBLINE_PORT": str(port)})
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: Port {port} on 127.0.0.1 is in use")
    assert f"DUBLINE_PORT={port + 1}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_setting_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    done = run_up({"DUBLINE_DATA_DIR": str(tmp_path), "MAX_CONCURRENCY_GLOBAL": "many"})
    assert done.returncode == 2
    assert "MAX_CONCURRENCY_GLOBAL" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_that_cannot_start_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    system = StandaloneSystem(tmp_path, environment={"DUBLINE_WORKER_POOL": "nonsense"})
    done = run_up({"DUBLINE_DATA_DIR": str(tmp_path), "DUBLINE_PORT": str(free_port()), **system.environment})
    assert done.returncode == 1
    assert f"worker does not become ready; {system.layout.logs / 'worker.log'} ends with" in done.stderr
    assert "worker_pool" in done.stderr
    assert system.process_ids() == set()


def test_sigterm_ends_every_process_and_the_next_start_is_clean(tmp_path: Path) -> None:
    system = StandaloneSystem(tmp_path)
    system.start_and_wait()
    assert len(system.process_ids()) >= 1 + len(PROCESSES)
    assert system.process
    system.process.send_signal(signal.SIGTERM)
    output = system.process.communicate(timeout=60)[0]
    assert system.process.returncode == 0
    assert f"Dubline is ready: {system.url}" in output
    assert f"{system.url}/ui/setup#dubsetup_" in output  # nobody was made an admin
    assert system.process_ids() == set()
    assert not run_state.run_file(system.layout).exists()
    with running_system(tmp_path) as again:
        assert again.answers("/readyz")


def test_no_process_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    system = StandaloneSystem(tmp_path)
    system.start_and_wait()
    assert system.process
    system.process.kill()
    system.process.communicate()
    eventually("no process is left", lambda: system.process_ids() == set())
    assert run_state.read(system.layout) is None
