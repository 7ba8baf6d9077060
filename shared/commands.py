"""The stage command: what the scheduler puts on the work queue and a worker takes from it.

Lives here: the message. It carries all that a worker needs, so that a claim costs no replay of the job.
"""

from pydantic import BaseModel, ConfigDict

from shared.artifacts import Artifact
from shared.events.types import JobSubmittedData, Pool, Stage


class StageCommand(BaseModel):
    """Run one stage of one job once; `expected` is the last sequence of the stage's subject (0: none yet)."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    job_id: str
    run: int
    stage: Stage
    part: int = 0
    attempt: int
    pool: Pool
    expected: int
    job: JobSubmittedData
    inputs: dict[str, Artifact]
    """Outputs of the stages that this one depends on, by artifact name."""
    facts: dict[str, str | int | float | bool]
    """Facts of those stages, flat (for instance `language` from transcribe)."""
    correlationid: str
    causationid: str
    traceparent: str | None = None
