"""Which Docker engine the tests use: one that answers, else a private one, else none with the reason.

Lives here: the choice. Does not live here: how a private engine is started (`tests.private_dockerd`).

DOCKER_HOST names an engine; DUBLINE_TEST_DOCKERD=0 forbids to start one.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.private_dockerd import DockerdError, answers, running_dockerd

DEFAULT_HOST = "unix:///var/run/docker.sock"
NEEDED = ("dockerd", "containerd", "runc", "iptables-save", "setpriv")


class NoEngineError(RuntimeError):
    """There is no Docker engine and none can be started; the message says why, and what to do."""


def cache_dir(environ: Mapping[str, str]) -> Path:
    """Return where tests keep what is slow to make, between runs and checkouts of one person."""
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dubline" / "tests"


def answering_engine(environ: Mapping[str, str]) -> str:
    """Return the DOCKER_HOST of an engine that answers now; starts nothing. Raises NoEngineError."""
    host = environ.get("DOCKER_HOST") or DEFAULT_HOST
    if reason := answers(host):
        raise NoEngineError(f"no Docker engine answers at {host} ({reason})")
    return host


def why_none_can_be_started(environ: Mapping[str, str]) -> str | None:
    """Return why a private engine is out of the question, None if it may be tried."""
    if environ.get("DUBLINE_TEST_DOCKERD") == "0":
        return "DUBLINE_TEST_DOCKERD is 0"
    if os.geteuid() != 0:
        return "starting one takes root"
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        return f"{', '.join(missing)} is not on PATH: apt-get install --no-install-recommends docker.io"
    return None


@contextlib.contextmanager
def docker_engine(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the DOCKER_HOST of an engine; a private one ends with the block. Raises NoEngineError."""
    try:
        host = answering_engine(environ)
    except NoEngineError as error:
        with _private_engine(environ, str(error)) as private:
            yield private
    else:
        yield host


@contextlib.contextmanager
def _private_engine(environ: Mapping[str, str], absent: str) -> Iterator[str]:
    if reason := why_none_can_be_started(environ):
        raise NoEngineError(f"{absent}, and none is started: {reason}")
    with contextlib.ExitStack() as running:
        try:
            host = running.enter_context(running_dockerd(cache_dir(environ) / "docker"))
        except DockerdError as error:
            raise NoEngineError(f"{absent}, and {error}") from error
        yield host
