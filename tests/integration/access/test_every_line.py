"""Every line of every service's table, over real sockets: who is not signed in comes to none but the public ones."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as open_socket

from services.ingest import access as ingest_access
from services.ingest.app import create_app as ingest_app
from services.ingest.settings import IngestSettings
from services.library import access as library_access
from services.scheduler import access as scheduler_access
from services.scheduler.app import create_app as scheduler_app
from services.scheduler.metrics import SchedulerMetrics
from shared.access.front import Front
from shared.access.rules import PUBLIC
from shared.secret_files import ensure_secret
from shared.settings import Settings
from tests import local_http
from tests.integration.access.serving import served
from tests.integration.library.serving import Nobody, serving

TABLES = {
    "ingest": ingest_access.TABLE,
    "library": library_access.TABLE,
    "scheduler": scheduler_access.TABLE,
}
LINES = [(service, line) for service, table in TABLES.items() for line, rule in table.items() if rule is not PUBLIC]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The address of each; nobody gets as far as to notice that there is no broker."""
    data: Path = tmp_path_factory.mktemp("every-line")
    settings = IngestSettings(data_dir=data / "ingest")
    ensure_secret(settings.layout.auth_key)
    nothing: Any = None
    measured = SchedulerMetrics(lambda: nothing)
    scheduler = scheduler_app(nothing, nothing, nothing, measured, Front.of(Settings(data_dir=data), Nobody()))
    with (
        served(ingest_app(settings)) as ingest,
        serving(data / "library") as library,
        served(scheduler) as scheduling,
    ):
        yield {"ingest": ingest, "library": library.client.base_url.netloc.decode(), "scheduler": scheduling}


@pytest.fixture(scope="module")
def nobody() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


def filled(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "x", path)


@pytest.mark.parametrize(("service", "line"), LINES, ids=str)
def test_nobody_comes_in(services: dict[str, str], nobody: httpx.Client, service: str, line: str) -> None:
    method, path = line.split(" ")
    address = f"{services[service]}{filled(path)}"
    if method == "WEBSOCKET":
        with pytest.raises(InvalidStatus) as refused, open_socket(f"ws://{address}"):
            pass
        assert refused.value.response.status_code == 401
        return
    for headers, code in (({}, "not_signed_in"), ({"Authorization": "Bearer duba_made_up"}, "invalid_credential")):
        answer = nobody.request(method, f"http://{address}", headers=headers)
        assert answer.status_code == 401, answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["WWW-Authenticate"]
        assert method == "HEAD" or answer.json()["code"] == code


@pytest.mark.parametrize("service", TABLES)
@pytest.mark.parametrize("path", ["/livez%0a", "/api/jobs%0A", "/%2e%2e/metrics", "/metrics/", "/docs", "/redoc", "/x"])
def test_nor_to_a_path_that_no_table_knows(
    services: dict[str, str], nobody: httpx.Client, service: str, path: str
) -> None:
    for method in ("GET", "POST", "DELETE", "TRACE", "PROPFIND"):
        assert nobody.request(method, f"http://{services[service]}{path}").status_code == 401


def test_who_is_signed_in_is_told_that_it_is_not_there(services: dict[str, str]) -> None:
    assert local_http.get(f"http://{services['library']}/api/jobs%0a").json()["code"] == "http_404"
    wrong = local_http.request("PROPFIND", f"http://{services['library']}/api/jobs")
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "GET, HEAD")
    for method in ("GET", "DELETE"):
        wrong = local_http.request(method, f"http://{services['ingest']}/api/uploads/init")
        assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST"), "no upload whose id is `init`"


def test_health_is_everybodys_and_told_safely(services: dict[str, str]) -> None:
    for address in services.values():
        answer = httpx.get(f"http://{address}/livez")
        assert answer.status_code == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
