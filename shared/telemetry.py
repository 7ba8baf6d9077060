"""What is measured and told, but never stored in the log: progress, heartbeats, and log lines.

Lives here: the core-NATS message schemas and the set-up of structured logging. No log line carries a secret,
a token or transcript text (E8): callers log identifiers, counts and codes.
"""

import logging
import sys

import structlog
from pydantic import BaseModel, ConfigDict

from shared.events.names import Pool, Stage

HEARTBEAT_S = 5.0


class Progress(BaseModel):
    """How far a running stage is: `fraction` is 0..1 of the stage."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    job_id: str
    stage: Stage
    attempt: int
    fraction: float
    message: str = ""


class Heartbeat(BaseModel):
    """A worker's sign of life, every `HEARTBEAT_S`; `job_id` and `stage` are what it holds, if anything."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    worker: str
    host: str
    pool: Pool
    device: str = "cpu"
    """Where its engines compute, by probe: `cpu` or `cuda`."""
    job_id: str | None = None
    stage: Stage | None = None
    loaded_engines: list[str] = []
    engines: list[str] = []
    """Every usable engine, as `kind:name`."""
    models: list[str] = []
    """Ids of the models whose weights are here."""
    draining: bool = False


def configure_logging(service: str, level: str = "INFO") -> None:
    """Log JSON lines to stderr, each with its time, level and service."""
    logging.basicConfig(stream=sys.stderr, level=level, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    structlog.contextvars.bind_contextvars(service=service)
