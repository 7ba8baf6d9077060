"""The contract between the worker's child process and a stage.

Lives here: what a stage is given and what it gives back. Does not live here: any stage.
A stage module has `params(command)` -> what, besides inputs and engines, decides its result (part of its key),
`engine(command, engines)` -> the engine that it will use (digest: part of its key; must not load weights),
and `run(context)` -> StageResult. All three are synchronous: a stage owns its process. What a mode means has been
decided before (`shared.job.modes`): a stage reads the command's settings, never the job's mode or device.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from services.worker.engines.memory import is_out_of_memory
from services.worker.engines.protocols import Engine, EngineError
from services.worker.engines.registry import Engines
from shared.artifacts import Artifact, readable
from shared.commands import StageCommand
from shared.events.envelope import Value
from shared.events.names import Device
from shared.events.types import EngineUsed, Issue
from shared.ffmpeg import Ffmpeg, FfmpegError
from shared.job.model import OUT_OF_MEMORY
from shared.job.modes import DEFAULTS
from shared.layout import JobPaths, Layout

Fact = str | int | float | bool


class StageError(Exception):
    """A stage cannot finish. `code` is stable, `message` has no transcript text; another try may do if `retryable`.

    `engine` is the name of the engine that failed, where it was one.
    """

    def __init__(self, code: str, message: str, *, retryable: bool = False, engine: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.engine = engine


def setting(command: StageCommand, name: str) -> Value:
    """Return what this command runs with; `DEFAULTS` where it was sent without settings."""
    return command.settings.get(name, DEFAULTS[name])


def device_of(command: StageCommand) -> Device:
    """Return where this command's engines shall compute."""
    return cast("Device", setting(command, "device"))


@contextmanager
def working(engine: Engine) -> Iterator[None]:
    """Turn what an engine raises in this block into a StageError that names it; `out_of_memory` if that is why.

    Errors of files and of ffmpeg are not the engine's.
    """
    try:
        yield
    except (StageError, FfmpegError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            message = f"{engine.name} ran out of memory"
            raise StageError(OUT_OF_MEMORY, message, retryable=True, engine=engine.name) from error
        if isinstance(error, OSError):
            raise
        # Only our own engines' words are known to repeat nothing of the text.
        reason = str(error) if isinstance(error, EngineError) else f"{engine.name} failed with {type(error).__name__}"
        raise StageError("engine_failed", reason, retryable=True, engine=engine.name) from error


@dataclass(frozen=True)
class StageContext:
    """What a running stage may touch. `source_file` is the uploaded video; `progress(fraction, message)` is cheap."""

    command: StageCommand
    layout: Layout
    paths: JobPaths
    source_file: Path
    engines: Engines
    ffmpeg: Ffmpeg
    progress: Callable[[float, str], None]
    loads: list[float] = field(default_factory=list)
    held: ExitStack = field(default_factory=ExitStack)
    """Closed when the stage has ended, and with it the plain bytes of what is encrypted at rest."""
    _plain: dict[Path, Path] = field(default_factory=dict)

    def load(self, engine: Engine) -> None:
        """Bring an engine's weights into memory before it is used, so that loading is not counted as its work.

        Raises StageError `engine_failed` or `out_of_memory`.
        """
        started = time.monotonic()
        with working(engine):
            self.engines.load(engine)
        self.loads.append(time.monotonic() - started)

    @property
    def source(self) -> Path:
        """A path to the plain bytes of the uploaded video. Raises SealError, OSError."""
        return self.plain(self.source_file, self.command.job.source.sealed)

    def input(self, name: str) -> Path:
        """Return a path to the plain bytes of an upstream artifact, by name.

        Raises StageError if it is not there, SealError, OSError.
        """
        artifact = self.command.inputs.get(name)
        if artifact is None:
            raise StageError("missing_input", f"upstream artifact {name} was not given")
        return self.plain(self.paths.output_root / artifact.path, artifact.sealed)

    def plain(self, path: Path, binding: str | None) -> Path:
        """Return a path to a file's plain bytes, good until the stage ends; a sealed file is decrypted once.

        `binding` is what it is bound to by its record. Raises SealError, OSError.
        """
        if path not in self._plain:
            self._plain[path] = self.held.enter_context(readable(path, binding, self.paths.work))
        return self._plain[path]


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
