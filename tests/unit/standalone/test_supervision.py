"""The small decisions of the supervisor: back-off, ports, log files, and who may hold a data directory."""

import os
import socket
from itertools import pairwise
from pathlib import Path

import pytest

from services.standalone import ports, run_state
from services.standalone.child import RotatingLog
from services.standalone.plan import ConfigurationError, fixed_ports, make_plan
from services.standalone.run_state import AlreadyRunningError, ProcessState, RunState, exclusive
from services.standalone.supervisor import BACKOFF_CAP_S, BACKOFF_FIRST_S, STABLE_S, next_backoff
from shared.layout import Layout
from shared.settings import Settings


def test_backoff_doubles_from_a_fifth_of_a_second_to_five_seconds() -> None:
    waits = [next_backoff(None, 0)]
    while waits[-1] < BACKOFF_CAP_S:
        waits.append(next_backoff(waits[-1], 0))
    assert waits[0] == BACKOFF_FIRST_S == 0.2
    assert all(later == min(2 * earlier, 5.0) for earlier, later in pairwise(waits))
    assert next_backoff(5.0, 0) == 5.0


def test_a_process_that_ran_for_long_is_restarted_at_once_again() -> None:
    assert next_backoff(5.0, STABLE_S) == BACKOFF_FIRST_S


def test_chosen_ports_differ_and_fixed_ones_are_kept() -> None:
    names = [f"service{number}" for number in range(50)]
    chosen = ports.choose(names, {"service7": 4242})
    assert list(chosen) == names
    assert len(set(chosen.values())) == 50
    assert chosen["service7"] == 4242


def test_a_port_in_use_is_refused_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ports.PortInUseError, match=rf"Port {port} .* DUBLINE_PORT=\d+"):
            ports.require_free(port, "DUBLINE_PORT")
    ports.require_free(port, "DUBLINE_PORT")


@pytest.mark.parametrize("value", ["http", "0", "65536", "-1", "1.5"])
def test_a_port_that_is_no_port_is_refused_by_name(value: str) -> None:
    with pytest.raises(ConfigurationError, match="DUBLINE_INGEST_PORT"):
        fixed_ports({"DUBLINE_INGEST_PORT": value})


def test_a_fixed_internal_port_is_used() -> None:
    (port,) = ports.choose(["any"], {}).values()
    assert fixed_ports({"DUBLINE_LIBRARY_PORT": str(port), "DUBLINE_INGEST_PORT": ""}) == {"library": port}


def test_listening_beyond_this_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"DUBLINE_HOST=0\.0\.0\.0"):
        make_plan(Settings(data_dir=tmp_path, host="0.0.0.0"), {})


def test_every_service_gets_its_own_credentials_and_no_password_in_its_environment(tmp_path: Path) -> None:
    (port,) = ports.choose(["gateway"], {}).values()
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path / "models", port=port)
    plan = make_plan(settings, {"PATH": os.defpath})
    users = {service.name: service.environment["DUBLINE_NATS_USER"] for service in plan.services}
    assert users == {name: name for name in ("ingest", "library", "scheduler", "worker")}
    for service in plan.services:
        file = Path(service.environment["DUBLINE_NATS_PASSWORD_FILE"])
        password = file.read_text().strip()
        assert file.name == f"nats-{service.name}"
        assert not any(password in value for value in (*service.environment.values(), *service.argv))
    assert plan.url == f"http://127.0.0.1:{port}"


def test_two_installations_share_no_port(tmp_path: Path) -> None:
    (port,) = ports.choose(["gateway"], {}).values()
    plans = [make_plan(Settings(data_dir=tmp_path / name, port=port), {}) for name in ("a", "b")]
    inner = [set(plan.ports.values()) - {port} for plan in plans]
    assert not inner[0] & inner[1]


def test_a_full_log_becomes_a_numbered_one_and_the_oldest_goes(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log", max_bytes=10, backups=2)
    for line in (b"first...\n", b"second..\n", b"third...\n", b"fourth..\n"):
        log.write(line)
    log.close()
    contents = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert contents == {"a.log": b"fourth..\n", "a.log.1": b"third...\n", "a.log.2": b"second..\n"}


def test_a_log_is_continued_after_a_restart(tmp_path: Path) -> None:
    for line in (b"before\n", b"after\n"):
        log = RotatingLog(tmp_path / "logs" / "a.log")
        log.write(line)
        log.close()
    assert (tmp_path / "logs" / "a.log").read_bytes() == b"before\nafter\n"


def test_a_data_directory_has_one_holder_and_says_who(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert run_state.read(layout) is None
    with exclusive(layout):
        assert run_state.read(layout) is None
        state = RunState(
            supervisor=4711,
            phase="ready",
            url="http://127.0.0.1:8000",
            ports={},
            processes={"nats": ProcessState(pid=1, port=2)},
        )
        run_state.write(layout, state)
        assert run_state.read(layout) == state
        with pytest.raises(AlreadyRunningError, match=r"4711.*8000.*DUBLINE_DATA_DIR"), exclusive(layout):
            pass
    assert run_state.read(layout) is None
    with exclusive(layout):
        pass
