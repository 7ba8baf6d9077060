"""The job as a value: its states, its stages, and what all of its events have told.

Lives here: the types. Does not live here: how events change them (`aggregate`), and commands (`transitions`).
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from shared.artifacts import Artifact
from shared.events.envelope import Value
from shared.events.library import Visibility
from shared.events.names import Mode, Stage
from shared.events.types import EngineUsed, Issue, JobSubmittedData, Setting, Timings
from shared.job.stages import GRAPH

DISK_FULL = "disk_full"
"""The failure code of a stage that waits for space instead of using up its attempts."""
OUT_OF_MEMORY = "out_of_memory"
"""The failure code after which a stage is tried again with smaller settings (`shared.job.modes`)."""
IMPORT = "import"
"""In place of a job's id: the stage was done by the submission's own files."""


_Model = TypeVar("_Model", "StageState", "Job")


class JobState(StrEnum):
    QUEUED = "QUEUED"
    PAUSED = "PAUSED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    @property
    def terminal(self) -> bool:
        """A finished job changes only by an explicit re-run."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELED)


class StageStatus(StrEnum):
    PENDING = "pending"
    CLAIMED = "claimed"
    DONE = "done"
    FAILED = "failed"
    RELEASED = "released"


class StageState(BaseModel):
    """One stage of one job; `seq` is the last sequence of its subject and so the expected one of the next append."""

    model_config = ConfigDict(frozen=True)

    status: StageStatus = StageStatus.PENDING
    seq: int = 0
    attempt: int = 0
    claimed_from: int = 0
    """The sequence that it had before it was claimed: what tells the command that a claim was made from."""
    worker: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outputs: list[Artifact] = Field(default_factory=list)
    engine: EngineUsed | None = None
    timings: Timings | None = None
    issues: list[Issue] = Field(default_factory=list)
    facts: dict[str, Value] = Field(default_factory=dict)
    reused_from: str | None = None
    """The job whose files these are, or `IMPORT` for what came with the submission and was never run."""
    completed_id: str | None = None
    error_code: str | None = None
    error: str | None = None
    failed_engine: str | None = None
    retryable: bool = False
    failures: int = 0
    """How many of its attempts in this run failed by themselves; a full disk uses none up."""
    out_of_memory: int = 0
    """How many of them ran out of memory."""


class Job(BaseModel):
    """The folded job; `version` is the last sequence of any of its events."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: JobState
    version: int
    run: int
    submitted: JobSubmittedData
    submitted_event_id: str
    traceparent: str | None = None
    """The span that submitted it: what every later span of the job begins from."""
    mode: Mode
    """The one that it runs in: backpressure may have lowered what `submitted` asks for."""
    priority: int
    created_at: datetime
    updated_at: datetime
    queued_at: datetime
    """When it was submitted, or queued for a re-run: what its age in the queue counts from."""
    started_at: datetime | None = None
    started_seq: int = 0
    started_run: int = 0
    """The run that was started last: one that goes on after a pause is the same."""
    ended_at: datetime | None = None
    stages: dict[Stage, StageState]
    issues: list[Issue] = Field(default_factory=list)
    error_code: str | None = None
    error: str | None = None
    pause_requested: bool = False
    degraded: list[str] = Field(default_factory=list)
    """Reasons why its mode is lower than asked for; empty again once it is restored."""
    restored: bool = False
    """It had its mode given back, and is not degraded a second time."""
    not_before: datetime | None = None
    delayed_because: str = ""
    settings: dict[str, Setting] = Field(default_factory=dict)
    created_seq: int = 0
    """The sequence of the event that made it."""
    tags: list[str] = Field(default_factory=list)
    archived_at: datetime | None = None
    visibility: Visibility = "private"
    deleted: bool = False
    imported: list[Artifact] | None = None
    """The outputs of a job that came finished from elsewhere; None for one that ran here."""

    @property
    def claimed_stages(self) -> list[Stage]:
        """Stages that a worker owns; a cancelled job may have one until its process has ended."""
        return [name for name, stage in self.stages.items() if stage.status is StageStatus.CLAIMED]

    @property
    def done_stages(self) -> frozenset[Stage]:
        return frozenset(name for name, stage in self.stages.items() if stage.status is StageStatus.DONE)

    def outputs_of(self, stages: frozenset[Stage]) -> dict[str, Artifact]:
        """Return the artifacts of these stages by name."""
        return {a.name: a for name in GRAPH if name in stages for a in self.stages[name].outputs}

    def facts_of(self, stages: frozenset[Stage]) -> dict[str, Value]:
        """Return the facts of these stages, flat; a later stage's value wins."""
        return {key: value for name in GRAPH if name in stages for key, value in self.stages[name].facts.items()}


def changed(model: _Model, updates: dict[str, Any]) -> _Model:
    """Return a copy with these fields replaced, as `model_copy` does: equal, with the same fields set.

    Nothing is validated. Folding a log is mostly this, so it does only what these two models need, in a quarter of the
    time: they are frozen, and have neither extra nor private members.
    """
    kind = type(model)
    copy = kind.__new__(kind)
    put = object.__setattr__
    put(copy, "__dict__", model.__dict__ | updates)
    put(copy, "__pydantic_fields_set__", model.__pydantic_fields_set__ | updates.keys())
    put(copy, "__pydantic_extra__", None)
    put(copy, "__pydantic_private__", None)
    return copy
