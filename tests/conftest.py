"""Fixtures that more than one kind of test uses."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from tests import local_http
from tests.broker import Broker, running_broker
from tests.broker_container import running_broker_container, wanted_in_container
from tests.docker_engine import NoEngineError, docker_engine
from tests.dubbed_sample import dub, system  # noqa: F401 -- fixtures

SHARED = {
    "tests/e2e/": "the dubbed sample",
    "tests/browser/": "the dubbed sample",
    "tests/deploy/": "the Docker engine",
    "tests/contract/test_broker_kinds.py": "the Docker engine",
    "tests/integration/engines/": "the engines",
}
"""Directories whose tests share what takes long to make."""

hypothesis.settings.register_profile("dubline", deadline=None)  # how long an example takes is the machine's affair
hypothesis.settings.load_profile("dubline")
local_http.share_local_key()
os.environ.setdefault("MIN_FREE_GB", "0.5")  # whoever runs the tests need not have a studio's disk


class WholeSystems(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Which tests one of the parallel processes runs in a row: a file, or all that share one dearly made thing."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", 1)[0]
        return next((group for prefix, group in SHARED.items() if path.startswith(prefix)), path)


@pytest.hookimpl(optionalhook=True)  # there are runs without pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WholeSystems:
    return WholeSystems(config, log)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One real broker for the session; tests keep apart by job ids."""
    if wanted_in_container(os.environ):
        with running_broker_container() as running:
            yield running
    else:
        with running_broker(tmp_path_factory.mktemp("broker")) as running:
            yield running


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """The DOCKER_HOST of an engine: one that answers, or one started for this session where that is possible."""
    with contextlib.ExitStack() as running:
        try:
            host = running.enter_context(docker_engine(os.environ))
        except NoEngineError as error:
            pytest.skip(str(error))
        yield host
