"""The stage command: what the scheduler puts on the work queue and a worker takes from it.

Lives here: the message. It carries all that a worker needs, so that a claim costs no replay of the job.
"""

from pydantic import BaseModel, ConfigDict, Field

from shared.artifacts import Artifact
from shared.events.envelope import Value
from shared.events.names import Mode, Pool, Stage
from shared.events.types import JobSubmittedData


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
    version: int = 0
    """Last sequence of any event of the job when this was sent: a claim that expects it needs no read before."""
    mode: Mode = "medium"
    settings: dict[str, Value] = Field(default_factory=dict)
    """The job's effective settings (`shared.job.modes`), made smaller for this attempt after running out of memory."""
    avoid: list[str] = Field(default_factory=list)
    """Engines whose circuit breaker is open: the next one runs instead, unless there is none."""
    timeout_s: float = 1200.0
    budget_s: float | None = None
    """Longer than this is flagged on the stage, not stopped."""
    job: JobSubmittedData
    inputs: dict[str, Artifact]
    """Outputs of the stages that this one depends on, by artifact name."""
    facts: dict[str, Value]
    """Facts of those stages, flat (for instance `language` from transcribe)."""
    correlationid: str
    causationid: str
    traceparent: str | None = None
