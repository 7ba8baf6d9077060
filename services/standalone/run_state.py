"""What `dubline up` tells about itself on disk: one lock per data directory, and `run.json`.

Lives here: both files. `run.json` serves other commands (where does it listen?) and tests (which process to kill?).
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from shared.artifacts import write_bytes
from shared.layout import Layout

Phase = Literal["starting", "ready", "stopping"]


class AlreadyRunningError(RuntimeError):
    """Another supervisor holds this data directory; the message names it."""


class ProcessState(BaseModel):
    """A supervised process. `pid` is None between its end and its next start."""

    pid: int | None
    port: int | None
    restarts: int = 0


class RunState(BaseModel):
    """The contents of `run.json`."""

    supervisor: int
    phase: Phase
    url: str
    ports: dict[str, int]
    processes: dict[str, ProcessState]
    access_mode: str = "off"
    """REMOTE_ACCESS_MODE, as the services have it."""


def run_file(layout: Layout) -> Path:
    """Return the path of `run.json`."""
    return layout.data / "run.json"


def write(layout: Layout, state: RunState) -> None:
    """Replace `run.json`. Raises OSError."""
    write_bytes(run_file(layout), state.model_dump_json(indent=2).encode() + b"\n")


def read(layout: Layout) -> RunState | None:
    """Return the state of the supervisor that runs on this data directory, or None if none does."""
    if not _is_locked(layout):
        return None
    try:
        return RunState.model_validate_json(run_file(layout).read_bytes())
    except (FileNotFoundError, ValidationError):  # it has only just started
        return None


@contextmanager
def exclusive(layout: Layout) -> Iterator[None]:
    """Hold the data directory. Raises AlreadyRunningError, OSError. The kernel lets go of it when the process ends."""
    layout.data.mkdir(parents=True, exist_ok=True)
    with _lock_file(layout).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            running = read(layout)
            who = f" (process {running.supervisor}, {running.url})" if running else ""
            raise AlreadyRunningError(
                f"Dubline already runs on the data directory {layout.data}{who}: "
                "stop that one, or give this one another directory with DUBLINE_DATA_DIR."
            ) from None
        try:
            yield
        finally:
            run_file(layout).unlink(missing_ok=True)


def _lock_file(layout: Layout) -> Path:
    return layout.data / "run.lock"


def _is_locked(layout: Layout) -> bool:
    try:
        lock = os.open(_lock_file(layout), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)
