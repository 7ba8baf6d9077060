"""Dubline's image, as the tests build it.

Lives here: one build of deploy/Dockerfile through the engine's classic builder (the SDK knows no other).
"""

import os
from collections.abc import Mapping
from pathlib import Path

import docker
from docker.errors import BuildError

from tests.base_image import CA_BUNDLE, LOCAL_NAME, base_image

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = "deploy/Dockerfile"
IMAGE = "dubline:test"
BUILD_STAGE = "dubline-build:test"
"""Named, so that pruning what has no name keeps the layers that the next build re-uses."""

NETWORK_SETTINGS = ("PIP_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


def build_arguments(base: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the build arguments that make a build on `base` work where this machine's own pip works."""
    arguments = {"BASE_IMAGE": base} | {name: environ[name] for name in NETWORK_SETTINGS if environ.get(name)}
    if base.startswith(f"{LOCAL_NAME}:") and CA_BUNDLE.exists():
        arguments["PIP_CERT"] = str(CA_BUNDLE)
    return arguments


def build_image(client: docker.DockerClient, environ: Mapping[str, str] = os.environ) -> str:
    """Build the image and return its name. Raises NoBaseImageError, AssertionError with the end of the log."""
    arguments = build_arguments(base_image(client, environ), environ)
    for target, tag in (("build", BUILD_STAGE), (None, IMAGE)):
        try:
            client.images.build(
                path=str(ROOT),
                dockerfile=DOCKERFILE,
                target=target,
                tag=tag,
                buildargs=arguments,
                network_mode="host",
                rm=True,
                forcerm=True,
            )
        except BuildError as error:
            log = "".join(str(line.get("stream") or line.get("error") or "") for line in error.build_log)
            raise AssertionError(f"{DOCKERFILE} does not build:\n{log[-3000:]}") from error
    client.images.prune(filters={"dangling": True})
    return IMAGE
