"""What a worker gives its commands to.

Lives here: the Protocol. Implementations: `child_process.ChildProcess`, and in-process ones that do no work, for
benchmarks and simulations of everything around the work.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from services.worker.messages import Failed, Finished, Progressed, Warmed
from shared.commands import StageCommand
from shared.events.envelope import Value

Tell = Callable[[Progressed], None]


class Runner(Protocol):
    """Runs one command at a time; what it runs can be asked to end, and killed."""

    @property
    def loaded_engines(self) -> list[str]:
        """Names of the engines whose weights are in memory."""
        ...

    async def start(self) -> None:
        """Get ready, so that the first command need not wait."""
        ...

    async def run(self, command: StageCommand, tell: Tell) -> Finished | Failed:
        """Run a command to its end. Work that was asked to end or killed gives a `Failed` too."""
        ...

    async def warm(self, settings: Mapping[str, Value]) -> Warmed:
        """Load the engines that these settings choose."""
        ...

    def renew(self, at: float) -> None:
        """Say that the running stage, or the one about to run, was this worker's at a time of `gate.now`."""
        ...

    def ask_to_end(self) -> None:
        """Ask the running command to end at its next progress point."""
        ...

    async def kill(self) -> None:
        """End whatever runs, at once; the next command starts afresh."""
        ...
