"""A whole Dubline for tests: `dubline up` as a person starts it, on ports and a data directory of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from services.standalone import run_state
from services.standalone.run_state import RunState
from shared.layout import Layout
from tests import local_http
from tests.broker import free_port

START_S = 120.0
STOP_S = 60.0
POLL_S = 0.05


def eventually(what: str, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Return once the condition holds; raises TimeoutError that says `what` did not."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(POLL_S)


@dataclass
class StandaloneSystem:
    """A `dubline up` process. `environment` is added to ours."""

    data: Path
    port: int = field(default_factory=free_port)
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    @property
    def layout(self) -> Layout:
        return Layout(self.data.resolve())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def state(self) -> RunState:
        state = run_state.read(self.layout)
        assert state, "no supervisor runs"
        return state

    def start(self) -> None:
        """Start it without waiting."""
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "services.standalone", "up"],
            env={**os.environ, "DUBLINE_DATA_DIR": str(self.data), "DUBLINE_PORT": str(self.port), **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start_and_wait(self) -> None:
        """Start it and return once it says that it is ready."""
        self.start()
        assert self.process

        def ready() -> bool:
            assert self.process
            assert self.process.poll() is None, self.process.communicate()[0]
            state = run_state.read(self.layout)
            return state is not None and state.phase == "ready"

        eventually("Dubline is ready", ready, START_S)

    def stop(self) -> str:
        """End it as Ctrl-C does; return what it printed."""
        assert self.process
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=STOP_S)[0]

    def kill(self, name: str) -> int:
        """kill -9 one supervised process; return the pid that it had."""
        pid = self.state.processes[name].pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_restarted(self, name: str, old_pid: int, timeout_s: float = 30.0) -> None:
        """Return once the process runs again under another pid."""
        eventually(f"{name} runs again", lambda: self.state.processes[name].pid not in (None, old_pid), timeout_s)

    def answers(self, path: str) -> bool:
        """Return whether a GET through the gateway gives 200."""
        with contextlib.suppress(httpx.HTTPError):
            return local_http.get(self.url + path, timeout=10, trust_env=False).status_code == 200
        return False

    def process_ids(self) -> set[int]:
        """Return every process of this installation, found by its environment, whoever its parent is now."""
        mark = f"DUBLINE_DATA_DIR={self.data}\0".encode()
        found = set()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and mark in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
        return found


@contextlib.contextmanager
def running_system(data: Path, environment: Mapping[str, str] | None = None) -> Iterator[StandaloneSystem]:
    """Yield a Dubline that is ready; it is stopped at the end."""
    system = StandaloneSystem(data, environment=environment or {})
    system.start_and_wait()
    try:
        yield system
    finally:
        system.stop()
