"""Making the models of a mode ready before the first job needs them, on an operator's request.

Lives here: the task: which models, fetching each in a process of its own, telling each step as an event. Does not live
here: fetching (`models`), loading (`warm`, in the child).
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

import structlog
from nats.aio.msg import Msg
from pydantic import ValidationError

from services.worker.capabilities import Inventory
from services.worker.claims import SOURCE
from services.worker.messages import Warmed
from services.worker.models.manifest import Lock
from shared.eventlog.port import EventLog, LogUnavailableError
from shared.events.envelope import Value
from shared.events.names import Mode
from shared.events.runtime import PrewarmProgressed, PrewarmProgressedData, PrewarmRequestedData
from shared.job.modes import ASR_MODELS, Hardware, effective

AGGREGATE = "runtime"
FETCH_COMMAND = (sys.executable, "-P", "-m", "services.worker.models.fetch")
DETAIL_CHARS = 300

log = structlog.get_logger()


def plan(mode: Mode, inventory: Inventory, lock: Lock) -> tuple[list[str], dict[str, Value]]:
    """Return the models that a mode uses if all can be had, and its settings then."""
    ids = [model.id for model in lock.models]
    had = inventory.hardware
    settings = effective(mode, "auto", {}, Hardware(had.gpu, frozenset(ids), had.engines))
    chosen = settings["asr_model"].value
    models = [model for model in ids if model == chosen or model not in ASR_MODELS]
    return models, {name: setting.value for name, setting in settings.items()}


async def fetch_model(model: str) -> str | None:
    """Fetch and verify a model in a process of its own; return what went wrong, None if it is there."""
    process = await asyncio.create_subprocess_exec(
        *FETCH_COMMAND,
        model,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return None
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1][:DETAIL_CHARS] if lines else f"fetching ended with code {process.returncode}"


class Prewarmer:
    """Takes one request after the other. `warm` loads engines by settings; `refresh` takes a new inventory."""

    def __init__(
        self,
        events: EventLog,
        worker: str,
        lock: Lock,
        refresh: Callable[[], Awaitable[Inventory]],
        warm: Callable[[Mapping[str, Value]], Awaitable[Warmed]],
    ) -> None:
        self._events = events
        self._worker = worker
        self._lock = lock
        self._refresh = refresh
        self._warm = warm
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def on_request(self, message: Msg) -> None:
        """Begin what a message on `PREWARM_WORKERS` asks for."""
        try:
            request = PrewarmRequestedData.model_validate_json(message.data)
        except ValidationError:
            log.warning("prewarm_undecodable")
            return
        task = asyncio.create_task(self.run(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Drop what is under way: a fetch begins again the next time it is asked for."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def run(self, request: PrewarmRequestedData) -> None:
        """Make everything ready, and tell it; what fails is told and does not stop the rest."""
        async with self._turn:
            models, settings = plan(request.preset, await self._refresh(), self._lock)
            for model in models:
                await self._tell(request.task, model, "started")
                problem = await fetch_model(model)
                await self._tell(request.task, model, "failed" if problem else "ready", problem or "")
            await self._refresh()
            warmed = await self._warm(settings)
            for kind, problem in warmed.failures.items():
                await self._tell(request.task, kind, "failed", problem[:DETAIL_CHARS])
            await self._tell(request.task, "", "finished", f"loaded: {', '.join(warmed.loaded_engines) or 'nothing'}")

    async def _tell(
        self, task: str, model: str, state: Literal["started", "ready", "failed", "finished"], detail: str = ""
    ) -> None:
        data = PrewarmProgressedData(task=task, worker=self._worker, model=model, state=state, detail=detail)
        event = PrewarmProgressed(
            source=SOURCE,
            subject=AGGREGATE,
            time=datetime.now(UTC),
            actor=self._worker,
            correlationid=task,
            causationid=task,
            data=data,
        )
        log.info("prewarm", task=task, model=model, state=state)
        try:
            await self._events.append(event)
        except LogUnavailableError:  # a step that nobody hears of is no reason to stop
            log.warning("prewarm_untold", task=task, model=model, state=state)
