"""The supervisor: starts the processes of a plan in order, restarts one that dies, and stops all in order.

Lives here: order, readiness, back-off, signals. Does not live here: what the processes are (`plan`), how one is
started and ended (`child`).
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from services.standalone import run_state
from services.standalone.admin_tools import setup_address
from services.standalone.child import Child, RotatingLog
from services.standalone.plan import Plan, Service
from services.standalone.run_state import Phase, ProcessState, RunState
from shared.access.local_key import read_local_key
from shared.layout import Layout

BACKOFF_FIRST_S = 0.2
BACKOFF_CAP_S = 5.0
STABLE_S = 30.0
"""A process that ran so long is forgiven what was before."""

READY_S = 120.0
READY_POLL_S = 0.05
STOP_POLL_S = 0.05
INIT_S = 30.0
STARTS_MAX = 3
"""A process that never became ready is not started more often."""

TAIL_LINES = 5
TAIL_BYTES = 4000


class StartError(RuntimeError):
    """Something does not start; the message names its log and quotes the end of it."""


def next_backoff(previous_s: float | None, ran_s: float) -> float:
    """Return how many seconds to wait before a restart: 0.2 doubling to 5, from the beginning after 30 s of life."""
    if previous_s is None or ran_s >= STABLE_S:
        return BACKOFF_FIRST_S
    return min(previous_s * 2, BACKOFF_CAP_S)


@dataclass
class _Kept:
    """A supervised process over its restarts."""

    service: Service
    log: RotatingLog
    child: Child | None = None
    restarts: int = 0
    was_ready: bool = False
    keeping: "asyncio.Task[None] | None" = None
    gave_up: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Runs one plan. `say` gets one line for each thing that a person may want to know."""

    def __init__(self, plan: Plan, layout: Layout, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._layout = layout
        self._say = say
        self._phase: Phase = "starting"
        self._kept: dict[str, _Kept] = {}
        self._asked_to_stop = asyncio.Event()

    def ask_to_stop(self) -> None:
        """Stop in order; a second call ends everything at once. For signal handlers."""
        if self._asked_to_stop.is_set():
            for kept in self._kept.values():
                if kept.child:
                    kept.child.kill()
        self._asked_to_stop.set()

    async def run(self) -> None:
        """Run until asked to stop. Raises StartError (after everything was stopped), OSError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.ask_to_stop)
        stopping = asyncio.create_task(self._asked_to_stop.wait())
        starting = asyncio.create_task(self._start())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                await self._tell("ready")
                self._say(f"Dubline is ready: {self._plan.url}")
                if address := await asyncio.to_thread(setup_address, self._layout, self._plan.url):
                    self._say(f"Nobody can sign in yet. Make the first admin within an hour: {address}")
                await stopping
        finally:
            starting.cancel()
            stopping.cancel()
            await asyncio.wait({starting, stopping})
            await self._stop()

    async def _start(self) -> None:
        await self._start_service(self._plan.broker)
        await self._initialise()
        for service in self._plan.services:
            await self._launch(service)
        for service in self._plan.services:
            await self._ready(service)
        await self._start_service(self._plan.gateway)

    async def _start_service(self, service: Service) -> None:
        await self._launch(service)
        await self._ready(service)

    async def _launch(self, service: Service) -> None:
        kept = _Kept(service, RotatingLog(self._log_path(service.name)))
        self._kept[service.name] = kept
        kept.keeping = asyncio.create_task(self._keep(kept))

    async def _keep(self, kept: _Kept) -> None:
        """Start the process again and again until the supervisor stops."""
        loop = asyncio.get_running_loop()
        backoff: float | None = None
        while not self._asked_to_stop.is_set():
            started = loop.time()
            ending = await self._run_once(kept)
            if self._asked_to_stop.is_set():
                return
            kept.restarts += 1
            if not kept.was_ready and kept.restarts >= STARTS_MAX:
                kept.gave_up.set()
                return
            backoff = next_backoff(backoff, loop.time() - started)
            self._say(f"{kept.service.name} ended ({ending}); starting it again in {backoff:.1f} s")
            await self._tell()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked_to_stop.wait(), backoff)

    async def _run_once(self, kept: _Kept) -> str:
        """Start the process and return how it ended."""
        try:
            kept.child = await Child.start(kept.service.argv, kept.service.environment, kept.log)
        except OSError as error:
            return str(error)
        try:
            await self._tell()
            status = await kept.child.wait()
        finally:
            kept.child = None
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"

    async def _ready(self, service: Service) -> None:
        """Return when the service answers. Raises StartError."""
        kept = self._kept[service.name]
        answering = asyncio.create_task(_answers(service))
        failing = asyncio.create_task(kept.gave_up.wait())
        await asyncio.wait({answering, failing}, timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
        ready = answering.done()
        for task in (answering, failing):
            task.cancel()
        await asyncio.wait({answering, failing})
        if not ready:
            raise StartError(self._failure(service.name, "does not become ready"))
        kept.was_ready = True

    async def _initialise(self) -> None:
        """Make the streams, once and idempotently. Raises StartError."""
        log = RotatingLog(self._log_path("init"))
        child = await Child.start(self._plan.init_argv, self._plan.init_environment, log)
        try:
            status = await asyncio.wait_for(child.wait(), INIT_S)
        except TimeoutError:
            raise StartError(self._failure("init", "does not end")) from None
        finally:
            await child.stop(0)
            log.close()
        if status:
            raise StartError(self._failure("init", "failed"))

    async def _stop(self) -> None:
        self._phase = "stopping"
        self._asked_to_stop.set()
        if self._kept:
            await self._tell()
        await self._end(self._plan.gateway)
        await asyncio.gather(*(self._end(service) for service in self._plan.services))
        await self._end(self._plan.broker)

    async def _end(self, service: Service) -> None:
        kept = self._kept.get(service.name)
        if kept is None or kept.keeping is None:
            return
        while not kept.keeping.done():
            if kept.child:
                await kept.child.stop(service.stop_grace_s)
            await asyncio.wait({kept.keeping}, timeout=STOP_POLL_S)  # it may be just starting the process
        kept.log.close()

    async def _tell(self, phase: Phase | None = None) -> None:
        self._phase = phase or self._phase
        processes = {
            name: ProcessState(
                pid=kept.child.pid if kept.child else None, port=kept.service.port, restarts=kept.restarts
            )
            for name, kept in self._kept.items()
        }
        state = RunState(
            supervisor=os.getpid(),
            phase=self._phase,
            url=self._plan.url,
            ports=dict(self._plan.ports),
            processes=processes,
            access_mode=self._plan.access_mode,
        )
        with contextlib.suppress(OSError):  # a full disk: the file is for others, the processes are not
            await asyncio.to_thread(run_state.write, self._layout, state)

    def _log_path(self, name: str) -> Path:
        return self._layout.logs / f"{name}.log"

    def _failure(self, name: str, what: str) -> str:
        path = self._log_path(name)
        return f"{name} {what}; {path} ends with:\n{_tail(path)}"


def _tail(path: Path) -> str:
    lines = path.read_bytes()[-TAIL_BYTES:].decode(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:]) or "  (nothing)"


async def _answers(service: Service) -> None:
    """Return when its address answers 200."""
    key = await asyncio.to_thread(read_local_key, service.ready_key) if service.ready_key else None
    headers = {"X-Api-Key": key} if key else {}
    async with httpx.AsyncClient(timeout=5.0, trust_env=False, headers=headers) as client:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get(service.ready_url)).status_code == 200:
                    return
            await asyncio.sleep(READY_POLL_S)
