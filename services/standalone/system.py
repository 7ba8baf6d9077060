"""A Dubline to talk to: the one that runs, or one started for the duration of a command.

Lives here: finding and starting. Does not live here: what is then asked of it.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from services.standalone import ports, run_state
from services.standalone.leash import leashed
from services.standalone.plan import module
from shared.settings import Settings

PROBE_TIMEOUT_S = 2.0
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0
POLL_S = 0.1


@dataclass(frozen=True)
class System:
    """A Dubline that answers. `output_root` is its output folder if that is known to be on this machine."""

    url: str
    output_root: Path | None


class SystemUnavailableError(RuntimeError):
    """No Dubline answers and none could be started; the message says why."""


def answers(url: str) -> bool:
    """Return whether a Dubline that is ready answers at this address."""
    try:
        answer = httpx.get(f"{url}/readyz", timeout=PROBE_TIMEOUT_S, trust_env=False)
        return answer.status_code == 200 and answer.json()["status"] == "ready"
    except (httpx.HTTPError, ValueError, KeyError, TypeError):  # nothing there, or something else
        return False


def find_running(settings: Settings) -> str | None:
    """Return the address of a running Dubline: DUBLINE_URL, else that of the data directory, else the usual port.

    Raises SystemUnavailableError if DUBLINE_URL is set and does not answer: who names a server wants no other.
    """
    if named := os.environ.get("DUBLINE_URL", "").rstrip("/"):
        if not answers(named):
            raise SystemUnavailableError(f"No Dubline answers at {named} (DUBLINE_URL).")
        return named
    if (state := run_state.read(settings.layout)) and state.phase == "starting":
        _wait_until_ready(settings, state.supervisor)
    state = run_state.read(settings.layout)
    for url in ([state.url] if state else []) + [f"http://{ports.LOOPBACK}:{settings.port}"]:
        if answers(url):
            return url
    return None


@contextmanager
def running(settings: Settings, say: Callable[[str], None]) -> Iterator[System]:
    """Yield a Dubline that is ready; start one for the duration if none runs.

    Raises SystemUnavailableError.
    """
    if url := find_running(settings):
        state = run_state.read(settings.layout)
        yield System(url, settings.layout.output if state and state.url == url else None)
        return
    say("No Dubline runs here: starting it for this command (`dubline up` keeps one running).")
    port = ports.choose(["gateway"], {})["gateway"]
    environment = {**os.environ, "DUBLINE_PORT": str(port)}
    process = subprocess.Popen(
        leashed([*module("services.standalone"), "up", "--quiet"]),
        env=environment,
        start_new_session=True,  # a Ctrl-C is for this command, which then stops it in order
    )
    try:
        yield System(_wait_until_ready(settings, process.pid, process), settings.layout.output)
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)


def _wait_until_ready(settings: Settings, supervisor: int, process: "subprocess.Popen[bytes] | None" = None) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        state = run_state.read(settings.layout)
        if state and state.supervisor == supervisor and state.phase == "ready":
            return state.url
        if process and process.poll() is not None:
            raise SystemUnavailableError("Dubline could not be started (see above).")
        time.sleep(POLL_S)
    raise SystemUnavailableError(f"Dubline was not ready after {START_TIMEOUT_S:.0f} s; see {settings.layout.logs}.")
