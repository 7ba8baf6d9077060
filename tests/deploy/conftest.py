"""Fixtures of the deployment tests: the image, and the whole system in containers."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from rich.console import Console

from services.worker.models.fetch import fetch_models
from shared.settings import default_models_dir
from tests.base_image import NoBaseImageError
from tests.deploy.compose import Composition, running_composition
from tests.deploy.image import build_image

BUILD_TIMEOUT_S = 900


@pytest.fixture(scope="session")
def engine(docker_host: str) -> Iterator[docker.DockerClient]:
    """A client of the engine."""
    client = docker.DockerClient(base_url=docker_host, timeout=BUILD_TIMEOUT_S)
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(engine: docker.DockerClient) -> str:
    """The name of the image, built from this checkout."""
    try:
        return build_image(engine)
    except NoBaseImageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def readable_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default models, in a directory that user 10001 may read whatever our umask is."""
    directory = tmp_path_factory.mktemp("models") / "models"
    for source in fetch_models((), default_models_dir(), Console(stderr=True)):
        shutil.copytree(source, directory / source.name)
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return directory


@pytest.fixture(scope="package")  # its health checks take a fifth of a processor: it ends with these tests
def composition(docker_host: str, image: str, readable_models: Path) -> Iterator[Composition]:
    """The system of docker-compose.yml, all of it healthy."""
    with running_composition(docker_host, image, readable_models) as running:
        yield running
