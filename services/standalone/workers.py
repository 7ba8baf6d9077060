"""How many workers `dubline up` starts, and with what.

Lives here: their number, pools, names, ids and threads. Does not live here: the other processes (`plan`).
"""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.events.names import Pool

COUNT = "DUBLINE_WORKERS"
THREADS = "DUBLINE_WORKER_THREADS"
POOL = "DUBLINE_WORKER_POOL"
MAX_WORKERS = 64
MAX_THREADS = 1024
PROBE_S = 60.0


@dataclass(frozen=True)
class WorkerSpec:
    """One worker process; `name` is the supervisor's word for it, `worker_id` everybody else's."""

    name: str
    worker_id: str
    pool: str
    threads: int
    sees_gpu: bool

    @property
    def environment(self) -> dict[str, str]:
        """What it gets besides what all workers get."""
        hidden = {} if self.sees_gpu else {"CUDA_VISIBLE_DEVICES": ""}
        own = {"DUBLINE_WORKER_ID": self.worker_id, POOL: self.pool, THREADS: str(self.threads)}
        return own | hidden


def worker_count(environ: Mapping[str, str]) -> int:
    """Return how many workers of the cpu pool are wanted. Raises ValueError that says what to change."""
    return _number(environ, COUNT, 1, MAX_WORKERS)


def _number(environ: Mapping[str, str], variable: str, default: int, most: int) -> int:
    value = environ.get(variable) or str(default)
    if not value.isdecimal() or not 0 < int(value) <= most:
        raise ValueError(f"{variable}={value}: it must be a number from 1 to {most}.")
    return int(value)


def worker_specs(environ: Mapping[str, str], *, cuda: bool, processors: int, host: str = "") -> list[WorkerSpec]:
    """Return the workers of this machine: those of the cpu pool, and one of the gpu pool if there is a device.

    The device is the gpu worker's alone, and the processors are divided among the workers of the cpu pool, unless
    DUBLINE_WORKER_THREADS says how many each may use. Ids stay the same over restarts.

    Raises ValueError that says what to change.
    """
    count = worker_count(environ)
    host = host or platform.node()
    threads = _number(environ, THREADS, max(1, processors // count), MAX_THREADS)
    if pool := environ.get(POOL):  # all of one kind, as the operator says
        pools = [pool] * count
    else:
        wanted: list[Pool] = ["cpu"] * count
        pools = [*wanted, *(["gpu"] if cuda else [])]
    numbers = [pools[: place + 1].count(pool) for place, pool in enumerate(pools)]
    return [
        WorkerSpec(
            name="worker" if place == 0 else f"worker-{pool}-{number}",
            worker_id=f"{host}-{pool}-{number}",
            pool=pool,
            threads=threads,
            sees_gpu=pool != "cpu" or "gpu" not in pools,
        )
        for place, (pool, number) in enumerate(zip(pools, numbers, strict=True))
    ]


def has_cuda(devices: Path = Path("/dev")) -> bool:
    """Return whether engines can compute on a GPU here.

    A machine without the device files has none, which saves the question; the others are asked in a process of its
    own, because asking loads large libraries.
    """
    if not any(devices.glob("nvidia[0-9]*")) and not (devices / "dxg").exists():
        return False
    try:
        probe = subprocess.run(
            [sys.executable, "-P", "-m", "services.worker.device"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0 and probe.stdout.strip() == "cuda"


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))
