"""Where there is no Docker engine, tests say exactly why."""

from pathlib import Path

import pytest

from tests.broker_container import wanted_in_container
from tests.docker_engine import NoEngineError, answering_engine, docker_engine


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    return {"DOCKER_HOST": f"unix://{tmp_path}/none.sock", "DUBLINE_TEST_DOCKERD": "0"}


def test_the_reason_names_the_address_and_what_is_wrong_with_it(nowhere: dict[str, str]):
    with pytest.raises(NoEngineError, match=r"no Docker engine answers at unix://.*none\.sock \(No such file"):
        answering_engine(nowhere)


def test_none_is_started_where_that_is_forbidden(nowhere: dict[str, str]):
    with pytest.raises(NoEngineError, match="none is started: DUBLINE_TEST_DOCKERD is 0"), docker_engine(nowhere):
        pass


def test_the_broker_runs_in_a_container_only_where_an_engine_answers(nowhere: dict[str, str]):
    assert wanted_in_container(nowhere) is False
    assert wanted_in_container(nowhere | {"DUBLINE_TEST_BROKER": "binary"}) is False
    with pytest.raises(NoEngineError):
        wanted_in_container(nowhere | {"DUBLINE_TEST_BROKER": "container"})
