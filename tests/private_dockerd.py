"""A Docker engine of the tests' own, where none answers and the machine allows one to be started by hand.

Lives here: starting Debian's `dockerd` beside whatever else the machine runs, and leaving the machine as it was.
Does not live here: whether to (`tests.docker_engine`).

The data root is kept between runs, so that a second run re-uses the layers of the first; everything else is new each
time. Only one run at a time uses it: the next one waits, and gives up after a while.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import docker
import requests

START_S = 60.0
LOCK_S = 180.0
MINIMUM_API = "1.41"
"""Debian's engine 20.10."""

STOP_S = 60.0
"""Containers get 10 s to stop, then the engine ends its own containerd."""

TABLES = {
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
}
"""What an engine without IPv6 writes to, with the chains that an unused table has."""

IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
LINKS = Path("/sys/class/net")
BRIDGE_NAME = re.compile(r"docker0|br-[0-9a-f]{12}")

SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCBRDELBR = 0x8913, 0x8914, 0x89A1
IFF_UP = 1


class DockerdError(RuntimeError):
    """The engine could not be started; the message says why."""


@dataclass(frozen=True)
class Network:
    """What an engine changes on a host's network."""

    tables: dict[str, str]
    forward: str
    bridges: frozenset[str]

    @classmethod
    def now(cls) -> "Network":
        """Read it. Raises OSError, CalledProcessError."""
        tables = {}
        for table, chains in TABLES.items():
            saved = _run("iptables-save", "-t", table)
            unused = "".join([f"*{table}\n", *(f":{chain} ACCEPT [0:0]\n" for chain in chains), "COMMIT\n"])
            tables[table] = saved if f"*{table}" in saved else unused
        return cls(tables, IP_FORWARD.read_text(), frozenset(_bridges()))

    def restore(self) -> None:
        """Make it so again. Raises OSError, CalledProcessError."""
        for rules in self.tables.values():
            _run("iptables-restore", given=rules)
        for bridge in set(_bridges()) - self.bridges:
            _delete_bridge(bridge)
        IP_FORWARD.write_text(self.forward)


@contextlib.contextmanager
def running_dockerd(root: Path) -> Iterator[str]:
    """Yield the DOCKER_HOST of an engine that keeps its images below `root`. Raises DockerdError, OSError."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock, contextlib.ExitStack() as undo:
        _lock(lock, root)
        network = Network.now()
        # Unix sockets have short names, and pytest's own directories do not.
        run_dir = Path(tempfile.mkdtemp(prefix="dubline-dockerd-"))
        undo.callback(shutil.rmtree, run_dir)
        undo.callback(network.restore)
        undo.callback(_unmount_below, root, run_dir)
        host = f"unix://{run_dir}/docker.sock"
        log = root / "dockerd.log"
        with log.open("wb") as output:
            own = {"host": host, "data-root": root / "data", "exec-root": run_dir / "exec", "pidfile": run_dir / "pid"}
            daemon = subprocess.Popen(
                # A killed test run must not leave an engine behind.
                ["setpriv", "--pdeathsig", "TERM", "dockerd", *(f"--{name}={value}" for name, value in own.items())],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        undo.callback(_stop, daemon)
        _wait_until_it_answers(daemon, host, log)
        yield host


def _lock(lock: IO[str], root: Path) -> None:
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise DockerdError(f"another test run has kept {root} for {LOCK_S:.0f} s") from None
            time.sleep(0.5)
        else:
            return


def answers(host: str, timeout_s: float = 5.0) -> str | None:
    """Return why no engine answers at this DOCKER_HOST, None if one does."""
    if host.startswith("unix://"):
        # The SDK leaves a socket open that it could not connect.
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(timeout_s)
            try:
                probe.connect(host.removeprefix("unix://"))
            except OSError as error:
                return error.strerror or str(error)
    client = docker.DockerClient(base_url=host, timeout=timeout_s, version=MINIMUM_API)
    try:
        client.ping()
    except (docker.errors.DockerException, requests.RequestException) as error:
        return str(error)
    finally:
        client.close()
    return None


def _wait_until_it_answers(daemon: subprocess.Popen[bytes], host: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while (reason := answers(host)) is not None:
        if daemon.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").splitlines() or [reason]
            raise DockerdError(f"dockerd does not start here; it says: {lines[-1]} (all of it: {log})")
        time.sleep(0.1)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(daemon.pid, signal.SIGKILL)  # its containerd is in the same session
        daemon.wait()


def _unmount_below(*directories: Path) -> None:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]
    for point in reversed(points):
        if any(point.is_relative_to(directory) for directory in directories):
            _run("umount", "--lazy", str(point))


def _bridges() -> list[str]:
    return [link.name for link in LINKS.iterdir() if BRIDGE_NAME.fullmatch(link.name)]


def _delete_bridge(name: str) -> None:
    """Take a bridge down and away, as `ip link delete` would where it is installed. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", name.encode(), 0)
        (flags,) = struct.unpack("16xH14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), flags & ~IFF_UP))
        fcntl.ioctl(control, SIOCBRDELBR, name.encode().ljust(16, b"\0"))


def _run(*argv: str, given: str = "") -> str:
    return subprocess.run(argv, input=given, capture_output=True, text=True, check=True).stdout
