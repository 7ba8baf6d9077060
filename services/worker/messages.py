"""What the worker and its child say to each other: JSON lines over pipes, never pickle.

Lives here: the messages. Does not live here: either end (`child_process` in the parent, `child` in the child).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from shared.artifacts import Artifact
from shared.commands import StageCommand
from shared.events.envelope import Value
from shared.events.types import EngineUsed, Issue, Timings


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Run(Message):
    """Run one stage, this worker's at `at` (`Renewed`); answered by `Finished` or `Failed`."""

    kind: Literal["run"] = "run"
    command: StageCommand
    at: float


class Warm(Message):
    """Load the engines that these settings choose; answered by `Warmed`."""

    kind: Literal["warm"] = "warm"
    settings: dict[str, Value]


class Renewed(Message):
    """The stage was still this worker's at `at` (`gate.now`): the child may publish for one ack wait from then on."""

    kind: Literal["renewed"] = "renewed"
    at: float


class Progressed(Message):
    kind: Literal["progressed"] = "progressed"
    fraction: float
    message: str = ""


class Finished(Message):
    """The stage's artifacts are published; the parent commits them by an event."""

    kind: Literal["finished"] = "finished"
    key: str
    outputs: list[Artifact]
    engine: EngineUsed
    timings: Timings
    issues: list[Issue]
    facts: dict[str, str | int | float | bool]
    reused_from: str | None = None
    loaded_engines: list[str] = []


class Failed(Message):
    """The stage failed. `canceled` is the code of one that was asked to end and did."""

    kind: Literal["failed"] = "failed"
    code: str
    message: str
    retryable: bool
    engine: str | None = None
    """Name of the engine that failed, where it was one."""
    loaded_engines: list[str] = []


class Warmed(Message):
    """`failures` are sentences, one for each engine that could not be loaded."""

    kind: Literal["warmed"] = "warmed"
    loaded_engines: list[str]
    failures: dict[str, str] = {}


CANCELED = "canceled"

ToChild = Run | Warm | Renewed
TO_CHILD: TypeAdapter[ToChild] = TypeAdapter(Annotated[ToChild, Field(discriminator="kind")])
FromChild = Progressed | Finished | Failed | Warmed
FROM_CHILD: TypeAdapter[FromChild] = TypeAdapter(Annotated[FromChild, Field(discriminator="kind")])
