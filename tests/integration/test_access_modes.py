"""An access mode keeps everybody out who comes without its word, and this machine's command line works nevertheless.

Cloudflare's own part is in `unit/access/test_remote.py`: here nobody comes with an assertion.
"""

import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from services.standalone.direct import service_of
from tests import local_http
from tests.system import StandaloneSystem, running_system

CLOUDFLARE = {
    "REMOTE_ACCESS_MODE": "cloudflare",
    "CLOUDFLARE_ACCESS_TEAM_DOMAIN": "team.cloudflareaccess.com",
    "CLOUDFLARE_ACCESS_AUD": "f00d" * 16,
}
ANSWERED_BY = {"ingest": "/api/languages", "library": "/api/jobs", "scheduler": "/api/runtime/state"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneSystem]:
    """It gets ready at all: its supervisor asks ingest whether there is a worker."""
    with running_system(tmp_path_factory.mktemp("behind-cloudflare"), CLOUDFLARE) as running:
        yield running


def dubline(system: StandaloneSystem, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as somebody of this machine who knows nothing of the access mode."""
    environment = {name: value for name, value in os.environ.items() if name not in CLOUDFLARE}
    return subprocess.run(
        [sys.executable, "-P", "-m", "services.standalone", *arguments],
        env=environment | {"DUBLINE_DATA_DIR": str(system.data)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_line_of_this_machine_reads_and_changes(system: StandaloneSystem) -> None:
    for arguments in (("runtime", "state"), ("runtime", "set", "MAX_JOBS_HIGH=1"), ("library", "list")):
        done = dubline(system, *arguments)
        assert done.returncode == 0, done.stderr
    assert "MAX_JOBS_HIGH" in dubline(system, "runtime", "state").stdout
    refused = dubline(system, "dub", __file__, "--to", "pt")
    assert refused.returncode == 2
    assert "Cloudflare" not in refused.stderr, "it got as far as to be told that this is no video"


def test_through_the_gateway_the_key_of_this_machine_is_not_enough(system: StandaloneSystem) -> None:
    for path in ANSWERED_BY.values():
        refused = local_http.get(system.url + path)
        assert (refused.status_code, refused.json()["code"]) == (403, "access_jwt_invalid")


@pytest.mark.parametrize("service", ANSWERED_BY)
def test_a_service_lets_this_machines_key_in_and_nothing_else(system: StandaloneSystem, service: str) -> None:
    address = f"http://127.0.0.1:{system.state.ports[service]}{ANSWERED_BY[service]}"
    assert local_http.get(address).status_code == 200
    refused = [
        httpx.get(address),
        httpx.get(address, headers={"Authorization": f"Bearer {local_http.local_key()}"}),
        *(
            local_http.get(address, headers={"X-Api-Key": local_http.local_key(), name: value})
            for name, value in (
                ("X-Forwarded-For", "127.0.0.1"),
                ("Forwarded", "for=127.0.0.1"),
                ("X-Dubline-Gateway", "made up"),
                ("Cf-Connecting-IP", "203.0.113.9"),
            )
        ),
    ]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(403, "access_jwt_invalid")}


@pytest.mark.parametrize(
    ("method", "path", "service"),
    [
        ("POST", "/api/jobs", "ingest"),
        ("POST", "/api/jobs/1/cancel", "ingest"),
        ("POST", "/api/runtime/limits", "ingest"),
        ("POST", "/api/runtime/models/prewarm", "ingest"),
        ("GET", "/api/runtime/state", "scheduler"),
        ("GET", "/api/runtime/models", "scheduler"),
        ("GET", "/api/jobs", "library"),
        ("GET", "/api/jobs/1", "library"),
        ("GET", "/api/jobs/1/events", "library"),
        ("GET", "/nowhere", "library"),
    ],
)
def test_what_commands_ask_goes_where_the_gateway_would_send_it(method: str, path: str, service: str) -> None:
    assert service_of(method, path) == service


def test_what_a_data_directory_of_an_older_version_tells_is_read(system: StandaloneSystem) -> None:
    """A system that was started by it has no access mode in its `run.json`."""
    state = system.state.model_dump(exclude={"access_mode"})
    assert type(system.state).model_validate(state).access_mode == "off"
    assert system.state.access_mode == "cloudflare"
