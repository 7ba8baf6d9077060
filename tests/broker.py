"""A real broker for tests: the pinned binary of this environment, on a free port with its own store.

Lives here: that, and what every kind of broker offers to tests. The other kind is `tests.broker_container`.
"""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CONFIG = """
listen: {listen}
max_payload: 1MB
jetstream {{
  store_dir: "{store}"
  sync_interval: always
}}
"""


def free_port() -> int:
    """Return a TCP port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, timeout_s: float = 10.0) -> None:
    """Return when something accepts connections; raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")


def server_binary() -> Path:
    """Return the pinned nats-server, whether it is there or not."""
    return Path(sys.executable).parent / "nats-server"


class Broker(Protocol):
    """What tests do with a broker. Its store outlives `kill` and `stop`, its address too."""

    @property
    def url(self) -> str: ...

    def start(self) -> None: ...

    def kill(self) -> None: ...

    def stop(self) -> None: ...


@dataclass
class BinaryBroker:
    """nats-server from the environment's own bin directory, never from PATH: a distribution's may be too old."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        binary = server_binary()
        version = subprocess.run([binary, "-v"], capture_output=True, text=True, check=True).stdout
        assert "v2.15.1" in version, version
        config = self.directory / "nats.conf"
        config.write_text(CONFIG.format(listen=f"127.0.0.1:{self.port}", store=self.directory / "store"))
        with (self.directory / "nats.log").open("ab") as output:
            self.process = subprocess.Popen([binary, "-c", config], stdout=output, stderr=output)
        wait_for_port(self.port)

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)


@contextlib.contextmanager
def running_broker(directory: Path) -> Iterator[BinaryBroker]:
    """Yield a started broker whose store lies in `directory`."""
    broker = BinaryBroker(directory, free_port())
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()
