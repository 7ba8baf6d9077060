"""What the image is, and what is not in it."""

import docker
import pytest

from shared.sandbox import landlock

pytestmark = pytest.mark.timeout(1200)

BUILD_TOOLS = ("gcc", "cc", "make", "git", "curl")


def test_it_runs_as_nobody_in_particular_and_checks_itself_without_a_shell(engine: docker.DockerClient, image: str):
    config = engine.images.get(image).attrs["Config"]
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Labels"]["org.opencontainers.image.title"] == "Dubline"


def test_it_carries_no_build_tool_and_no_model(engine: docker.DockerClient, image: str):
    code = (
        "import importlib.util, pathlib, shutil;"
        f"print([name for name in {BUILD_TOOLS} if shutil.which(name)],"
        "importlib.util.find_spec('setuptools'), importlib.util.find_spec('pytest'),"
        "list(pathlib.Path('/models').iterdir()))"
    )
    said = engine.containers.run(image, ["python", "-c", code], remove=True, network_mode="none", read_only=True)
    assert said.decode().strip() == "[] None None []"


def test_its_pinned_binaries_run(engine: docker.DockerClient, image: str):
    code = (
        "from services.standalone.binaries import BROKER, GATEWAY, require;"
        "from shared.ffmpeg_binaries import find_binary, version_text;"
        "require(BROKER), require(GATEWAY);"
        "print([version_text(find_binary(name, {})).split()[0] for name in ('ffmpeg', 'ffprobe')])"
    )
    said = engine.containers.run(image, ["python", "-c", code], remove=True, network_mode="none", read_only=True)
    assert said.decode().strip() == "['ffmpeg', 'ffprobe']"


def test_its_media_tools_run_behind_landlock_as_the_services_are_confined(engine: docker.DockerClient, image: str):
    """Not root, no capability, no new privileges, read-only: bubblewrap could not work there."""
    if landlock.version() == 0:
        pytest.skip("this machine's kernel has no Landlock")
    code = "from shared.ffmpeg import Ffmpeg; print(Ffmpeg.find({'DUBLINE_SANDBOX': 'landlock'}).sandbox.variant)"
    said = engine.containers.run(
        image, ["python", "-c", code], remove=True, network_mode="none", read_only=True,
        cap_drop=["ALL"], security_opt=["no-new-privileges:true"], pids_limit=128,
    )  # fmt: skip
    assert said.decode().strip() == "landlock"
