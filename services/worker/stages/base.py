"""The contract between the worker's child process and a stage.

Lives here: what a stage is given and what it gives back. Does not live here: any stage.
A stage module has `params(command)` -> what, besides inputs and engines, decides its result (part of its key),
`engine(command, engines)` -> the engine that it will use (digest: part of its key; must not load weights),
and `run(context)` -> StageResult. All three are synchronous: a stage owns its process.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from services.worker.engines.protocols import Engine
from services.worker.engines.registry import Engines
from shared.artifacts import Artifact
from shared.commands import StageCommand
from shared.events.types import EngineUsed, Issue
from shared.ffmpeg import Ffmpeg
from shared.layout import JobPaths, Layout

Fact = str | int | float | bool


class StageError(Exception):
    """A stage cannot finish. `code` is stable, `message` has no transcript text; another try may do if `retryable`."""

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable


@dataclass(frozen=True)
class StageContext:
    """What a running stage may touch. `source` is the uploaded video; `progress(fraction, message)` is cheap."""

    command: StageCommand
    layout: Layout
    paths: JobPaths
    source: Path
    engines: Engines
    ffmpeg: Ffmpeg
    progress: Callable[[float, str], None]
    loads: list[float] = field(default_factory=list)

    def load(self, engine: Engine) -> None:
        """Bring an engine's weights into memory before it is used, so that loading is not counted as its work."""
        started = time.monotonic()
        engine.load()
        self.loads.append(time.monotonic() - started)

    def input(self, name: str) -> Path:
        """Return the path of an upstream artifact by name. Raises StageError if it is not there."""
        artifact = self.command.inputs.get(name)
        if artifact is None:
            raise StageError("missing_input", f"upstream artifact {name} was not given")
        return self.paths.output_root / artifact.path


@dataclass(frozen=True)
class StageResult:
    """Published artifacts, what was learned, and what a person should look at."""

    outputs: list[Artifact]
    facts: dict[str, Fact] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)


class StageModule(Protocol):
    """The functions every stage module has."""

    def params(self, command: StageCommand) -> dict[str, Fact]: ...
    def engine(self, command: StageCommand, engines: Engines) -> EngineUsed: ...
    def run(self, context: StageContext) -> StageResult: ...
