"""The worker's own configuration."""

import os
import platform
from pathlib import Path

from pydantic import Field

from shared.events.names import Pool
from shared.settings import Settings


class WorkerSettings(Settings):
    """What a worker reads besides what all services read."""

    worker_id: str = Field(default_factory=lambda: f"{platform.node()}-{os.getpid()}")
    """Stable over restarts where one is given; `dubline up` gives `<host>-<pool>-<number>`."""
    worker_pool: Pool = "cpu"
    worker_threads: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1)
    """CPU threads that an engine may use."""
    worker_host: str = "127.0.0.1"
    worker_port: int = 0
    """Where `/livez` and `/readyz` answer; 0: nowhere."""
    model_cache_max: int = Field(3, validation_alias="MODEL_CACHE_MAX", ge=1)
    """Engines with weights in memory at once."""
    child_max_mem_mb: int = Field(0, validation_alias="WATCHDOG_CHILD_MAX_MEM_MB", ge=0)
    """Megabytes that the stage's process, and each program that it starts, may allocate; 0: no limit."""
    journal_dir: Path | None = None
    """The child's journal of unpublished files; its parent says where."""
    cancel_grace_s: float = 2.0
    """How long a stage that was asked to end may take before it is killed."""
