"""The image that the tests build Dubline's image on.

Lives here: the choice between a registry's image and one made of Debian packages where no registry can be reached.
Does not live here: Dubline's image (`tests.deploy.image`).
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import docker
from docker.errors import APIError, ImageNotFound

from tests.docker_engine import cache_dir

REGISTRY_IMAGE = "python:3.13-slim"
"""The default of deploy/Dockerfile."""

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "python3", "python3-venv")
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
"""A private root certificate of this machine has to be known inside too, or pip cannot download there."""

LOCAL_NAME = "dubline-base"


class NoBaseImageError(RuntimeError):
    """No base image can be had; the message says what was tried."""


def base_image(client: docker.DockerClient, environ: Mapping[str, str]) -> str:
    """Return the name of a base image that the engine has: DUBLINE_BASE_IMAGE, the registry's, or one of our own.

    Raises NoBaseImageError, CalledProcessError.
    """
    if named := environ.get("DUBLINE_BASE_IMAGE"):
        return named
    local = f"{LOCAL_NAME}:{_key()}"
    for name in (local, REGISTRY_IMAGE):
        if _has(client, name):
            return name
    try:
        client.images.pull(REGISTRY_IMAGE)
    except APIError as error:
        if shutil.which("mmdebstrap") is None:
            tried = f"{REGISTRY_IMAGE} cannot be pulled ({error.explanation})"
            raise NoBaseImageError(f"{tried} and mmdebstrap is not installed: apt-get install mmdebstrap") from error
    else:
        return REGISTRY_IMAGE
    with _debian_tree(cache_dir(environ)).open("rb") as tree:
        client.api.import_image(tree, repository=LOCAL_NAME, tag=_key())
    return local


def _has(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def _key() -> str:
    """Return what tells one of our base images from another: the packages and this machine's certificates."""
    parts = [SUITE, *PACKAGES, os.uname().machine]
    certificates = CA_BUNDLE.read_bytes() if CA_BUNDLE.exists() else b""
    return hashlib.sha256(" ".join(parts).encode() + certificates).hexdigest()[:12]


def _debian_tree(cache: Path) -> Path:
    """Return a tar file of a minimal Debian with Python, made once (half a minute)."""
    target = cache / f"base-{_key()}.tar"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    partial = cache / f".{os.getpid()}-{target.name}"
    certificates = [f"--customize-hook=copy-in {CA_BUNDLE} {CA_BUNDLE.parent}"] if CA_BUNDLE.exists() else []
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", *certificates]
    try:
        subprocess.run([*command, SUITE, partial], check=True, capture_output=True, text=True)
        partial.rename(target)
    except subprocess.CalledProcessError as error:
        raise NoBaseImageError(f"mmdebstrap failed: {error.stderr[-500:]}") from error
    finally:
        partial.unlink(missing_ok=True)
    return target
