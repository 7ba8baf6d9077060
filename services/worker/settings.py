"""The worker's own configuration."""

import os
import platform
from collections.abc import Mapping

from pydantic import Field

from shared.events.types import Pool, Stage
from shared.settings import Settings

STAGE_TIMEOUT_S: Mapping[Stage, float] = {
    "audio": 600,
    "transcribe": 2700,
    "translate": 600,
    "tts": 1800,
    "mix": 1200,
    "mux": 1200,
}
"""How long a stage may run before its child is killed: the predecessor's watchdogs, in seconds."""


class WorkerSettings(Settings):
    """`DUBLINE_WORKER_POOL` and `DUBLINE_WORKER_ID`, besides what all services read."""

    worker_id: str = Field(default_factory=lambda: f"{platform.node()}-{os.getpid()}")
    worker_pool: Pool = "cpu"
    worker_threads: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """CPU threads that an engine may use."""
