"""What the worker and its child say to each other: JSON lines over pipes, never pickle.

Lives here: the messages. Does not live here: either end (`child_process` in the parent, `child` in the child).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from shared.artifacts import Artifact
from shared.events.types import EngineUsed, Issue, Timings


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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
    kind: Literal["failed"] = "failed"
    code: str
    message: str
    retryable: bool


FromChild = Progressed | Finished | Failed
FROM_CHILD: TypeAdapter[FromChild] = TypeAdapter(Annotated[FromChild, Field(discriminator="kind")])
