"""One simulated run: schedulers, workers and users over one log, until everything has come to rest.

Lives here: putting a run together from its seed, and judging it. Every record is checked in the moment in which it is
stored (`tests.history`); at the end, no job is left open (E6) and every scheduler knows what the log says (E5).
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

from services.ingest.history import transition
from services.scheduler.board import Board
from services.scheduler.limits import Limits
from services.scheduler.policy import World
from services.scheduler.service import Scheduler
from services.scheduler.snapshot import dump, load
from shared.eventlog.port import ConflictError, Expect, LogUnavailableError, Recorded
from shared.events.runtime import LimitsChanged, LimitsChangedData
from shared.events.subjects import RUNTIME_LIMITS, job_filter, job_of
from shared.events.types import JobRequeued, JobSubmitted
from shared.identity import uuid7
from shared.job.aggregate import evolve
from shared.job.modes import Hardware
from shared.job.transitions import Cancel, Command, Pause, Reprioritize, Requeue, Resume
from shared.problems import Problem
from tests.factories import submitted_data
from tests.history import Caps, Checker
from tests.principals import by
from tests.simulation.determinism import seeded
from tests.simulation.faults import Faults
from tests.simulation.log import Actor, Network, Port, Store
from tests.simulation.loop import VirtualLoop
from tests.simulation.queue import CommandBoard, QueuePort
from tests.simulation.workers import Bus, SimulatedWorker

TROUBLE_S = 20.0
"""So long things go wrong; afterwards the system is left alone, and has to come to rest."""
PATIENCE_S = 600.0
LOG = "log"
NOT_TOLD = {"settings", "source", "outputs", "engine", "timings", "key", "stem", "base_dir", "src_lang", "tgt_lang"}
MIDNIGHT = datetime(2026, 1, 3, tzinfo=UTC)
HARDWARE = Hardware(gpu=False, models=frozenset({"whisper-base", "whisper-small"}), engines=frozenset({"asr:whisper"}))
CALM = {
    "slow": 0.0, "lost_answer": 0.0, "redelivery": 0.0, "lost_ack": 0.0, "lost_sign_of_life": 0.0, "unheard": 0.0,
    "failing": 0.0, "worker_crash": 0.0, "worker_pause": 0.0, "worker_drain": 0.0,
}  # fmt: skip
SUBMISSION = submitted_data()


class ViolationError(Exception):
    """The log broke a promise."""


@dataclass
class Outcome:
    """What came of a run; `found` is empty if every promise was kept."""

    seed: int
    found: list[str]
    records: list[Recorded]
    at: str = ""

    def story(self, around: int = 40) -> str:
        """Return the end of the history in lines."""
        lines = [f"{'(earlier)':>9} …"] if len(self.records) > around else []
        lines += [line_of(record) for record in self.records[-around:]]
        return "\n".join([*lines, *self.found, f"at {self.at}; replay: DUBLINE_SEED={self.seed}"])


def line_of(record: Recorded) -> str:
    """Return one record in words."""
    event = record.event
    assert event is not None
    data = {k: v for k, v in event.data.model_dump(exclude_defaults=True).items() if k not in NOT_TOLD}
    return f"{record.seq:>9} {event.time:%H:%M:%S.%f} {event.type[8:-3]} {event.subject[-4:]} by {event.actor} {data}"


def draw_limits(rng: Random) -> Limits:
    """Return caps that bind in a small world."""
    return Limits(
        max_running=rng.choice((1, 2, 2, 3)),
        phases={"transcribe": rng.choice((1, 1, 2)), "tts": 1},
        modes=rng.choice(({}, {}, {"high": 1}, {"medium": 1, "low": 1})),
        user_running=rng.choice((0, 1, 2)),
        user_daily_minutes=rng.choice((0, 240, 15)),
        backpressure_q_max=rng.choice((6, 1, 2, 0)),
        retry_max=rng.choice((1, 2, 3)),
        breaker_failures=rng.choice((2, 5)),
    )


@dataclass
class Peers:
    """Answers for every scheduler that lives; a frozen one says nothing, and a ping may get lost."""

    world: "SimulatedWorld"

    async def alive(self, holder: str) -> bool:
        network = self.world.network
        await asyncio.sleep(network.travel())
        actor = self.world.schedulers.get(holder)
        silent = actor is None or actor.dead or actor.frozen_until > network.loop.time()
        return not silent and (network.faults.lost_answer == 0 or network.rng.random() >= network.faults.lost_answer)


class SimulatedWorld:
    """Everything of one run."""

    def __init__(self, seed: int, loop: VirtualLoop, prepare: Callable[["SimulatedWorld"], None]) -> None:
        self.rng = Random(seed)
        self.loop = loop
        self.faults = Faults.of(self.rng)
        self.limits = draw_limits(self.rng)
        self.caps = Caps({**self.limits.named(), "RETRY_MAX": self.limits.retry_max}, lag_s=15.0)
        self.checker = Checker(self.caps)
        self.started_at = MIDNIGHT - timedelta(seconds=self.rng.choice((30, 40_000)))
        self.store = Store(loop, self._on_append, encode=seed % 20 == 0)
        self.network = Network(loop, self.rng, self.faults, self.store)
        self.commands = CommandBoard(self.network)
        self.bus = Bus(self.network)
        self.schedulers: dict[str, Actor] = {}
        self.active: dict[str, Scheduler] = {}
        self.workers: list[SimulatedWorker] = []
        """Dead ones too: their tasks end with the run."""
        self.low_disk_until = 0.0
        self.calm = False
        self.rest: asyncio.Future[None] = loop.create_future()
        self.tasks: set[asyncio.Task[None]] = set()
        self.jobs_wanted = self.rng.choice((2, 3, 3, 4))
        prepare(self)

    def now(self) -> datetime:
        return self.started_at + timedelta(seconds=self.loop.time())

    def world(self) -> World:
        low = self.loop.time() < self.low_disk_until
        return World(self.now(), 1.0 if low else 100.0, HARDWARE)

    def _on_append(self, recorded: Recorded) -> None:
        if self.checker.step(recorded) and not self.rest.done():
            self.rest.set_exception(ViolationError)
        self.bus.tell(recorded)
        self.settle()

    def settle(self) -> None:
        """Notice that nothing is left to do."""
        if self.calm and not self.rest.done() and not self.checker.unsettled():
            self.rest.set_result(None)

    def spawn(self, coroutine: "asyncio._CoroutineLike[None]") -> None:
        """Run an actor; one that ends with an exception ends the run."""
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.rest.done():
            self.rest.set_exception(error)

    async def play(self) -> None:
        """Run to rest. Raises ViolationError, or what a part of the system raised."""
        rng, faults = self.rng, self.faults
        for number in range(rng.choice((1, 1, 2))):
            self.spawn(self._scheduler(f"s{number}"))
        for number in range(rng.choice((1, 2, 3))):
            self.spawn(self._worker(f"w{number}"))
        for number in range(self.jobs_wanted):
            self.spawn(self._user(f"u{rng.randrange(2)}", number))
        if rng.random() < 0.3:
            self.spawn(self._operator())
        for _ in range(faults.outages):
            self.loop.call_later(rng.random() * TROUBLE_S, self._outage, rng.uniform(0.1, 5))
        if rng.random() < 0.2:
            self.low_disk_until = rng.random() * TROUBLE_S
        self.loop.call_later(TROUBLE_S, self._calm)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.rest, TROUBLE_S + PATIENCE_S)

    async def caught_up(self) -> None:
        """Return once every scheduler has read the whole log."""
        while any(scheduler.board.seq < len(self.store.records) for scheduler in self.active.values()):  # noqa: ASYNC110 -- it has no event
            await asyncio.sleep(0.2)

    async def stop(self) -> None:
        """Take everything down, and what is started meanwhile."""
        me = asyncio.current_task()
        while tasks := [task for task in asyncio.all_tasks() if task is not me]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=100.0)

    def _calm(self) -> None:
        self.faults = replace(self.faults, **CALM)
        self.network.faults = self.faults
        self.calm = True
        self.spawn(self._resume_what_is_paused())
        self.settle()

    def _outage(self, seconds: float) -> None:
        self.store.down_until = self.loop.time() + seconds

    # -- actors

    async def _scheduler(self, name: str) -> None:
        """One scheduler and its successors: each crash is a restart under a new name."""
        rng, faults = self.rng, self.faults
        crashes = sorted(rng.random() * TROUBLE_S for _ in range(faults.scheduler_crashes))
        for life in range(len(crashes) + 1):
            actor = Actor(f"{name}.{life}")
            self.schedulers[actor.name] = actor
            for _ in range(faults.scheduler_pauses):
                self.loop.call_later(rng.random() * TROUBLE_S, _freeze, self.loop, actor, rng.uniform(0.5, 10))
            scheduler = Scheduler(
                Port(self.network, actor), QueuePort(self.commands, actor), Board(self.limits),
                holder=actor.name, peers=Peers(self), world=self.world,
            )  # fmt: skip
            self.active[name] = scheduler
            running = self.loop.create_task(self._surviving(scheduler))
            if life == len(crashes):
                await running
                return
            await asyncio.wait({running}, timeout=max(0.0, crashes[life] - self.loop.time()))
            actor.died_at = self.loop.time()
            running.cancel()
            await asyncio.wait({running})
            await asyncio.sleep(rng.choice((0.01, 1.0, 5.0)) * rng.random())

    async def _surviving(self, scheduler: Scheduler) -> None:
        """Start again what could not start because the broker was away, as a supervisor does."""
        while True:
            try:
                await scheduler.run()
            except LogUnavailableError:
                await asyncio.sleep(1.0)

    async def _worker(self, name: str) -> None:
        life = 0
        while True:
            worker = SimulatedWorker(self.network, self.commands, self.bus, f"{name}.{life}")
            self.workers.append(worker)
            await worker.live()
            life += 1
            await asyncio.sleep(self.rng.random() * 5)

    async def _user(self, owner: str, number: int) -> None:
        rng = self.rng
        log = Port(self.network, Actor(owner))
        await asyncio.sleep(rng.choice((0.0, 2.0, 10.0)) * rng.random())
        source = SUBMISSION.source.model_copy(update={"duration_s": rng.choice((30.0, 400.0, 800.0))})
        data = SUBMISSION.model_copy(
            update={
                "owner": owner, "stem": f"film{number}", "base_dir": f"film{number}", "source": source,
                "mode": rng.choice(("high", "medium", "low")), "degrade": rng.random() < 0.7,
            }
        )  # fmt: skip
        job_id = uuid7()
        event = JobSubmitted(
            source="urn:dubline:sim", subject=job_id, time=self.now(), actor=owner, correlationid=job_id, data=data
        )
        while True:
            try:
                await log.append(event, Expect(job_filter(job_id), 0))
                break
            except LogUnavailableError:
                await asyncio.sleep(1.0)
        for _ in range(rng.choice((0, 0, 1, 2, 5))):
            await asyncio.sleep(rng.choice((0.2, 2.0, 10.0)) * rng.random())
            await self._ask(log, job_id, owner, draw_command(rng))

    async def _ask(self, log: Port, job_id: str, owner: str, command: Command) -> None:
        with contextlib.suppress(Problem, LogUnavailableError):
            await transition(log, job_id, command, by(owner, "admin"))

    async def _operator(self) -> None:
        """Change caps while everything runs."""
        rng = self.rng
        log = Port(self.network, Actor("operator"))
        for _ in range(rng.choice((1, 3))):
            await asyncio.sleep(rng.random() * TROUBLE_S / 2)
            name = rng.choice(("MAX_CONCURRENCY_GLOBAL", "MAX_CONCURRENCY_TTS", "MAX_JOBS_LOW", "MAX_CONCURRENT"))
            await self._override(log, {name: rng.choice((None, 1, 2))})

    async def _override(self, log: Port, overrides: dict[str, float | None]) -> bool:
        data = LimitsChangedData(overrides=overrides)
        event = LimitsChanged(
            source="urn:dubline:sim", subject="runtime", time=self.now(), actor="o", correlationid="o", data=data
        )
        try:
            last = await log.last(RUNTIME_LIMITS)
            await log.append(event, Expect(RUNTIME_LIMITS, last.seq if last else 0))
        except (ConflictError, LogUnavailableError):
            return False
        return True

    async def _resume_what_is_paused(self) -> None:
        log = Port(self.network, Actor("late"))
        # nobody has to wait for tomorrow
        while not await self._override(log, {"DAILY_PROCESSING_MINUTES": 0}):  # noqa: ASYNC110 -- it has no event
            await asyncio.sleep(1.0)
        while True:
            for job_id in [job_id for job_id, job in self.checker.jobs.items() if job.state == "PAUSED"]:
                await self._ask(log, job_id, "late", Resume())
            await asyncio.sleep(5.0)


def _freeze(loop: VirtualLoop, actor: Actor, seconds: float) -> None:
    actor.frozen_until = loop.time() + seconds


def draw_command(rng: Random) -> Command:
    """Return what a user asks of a job next."""
    return rng.choice(
        (Pause(), Pause(), Resume(), Resume(), Cancel(), Cancel(kill=True), Requeue(), Requeue(), Reprioritize(50))
    )


def nothing(_: SimulatedWorld) -> None:
    """The default: simulate what is there."""


def simulate(seed: int, prepare: Callable[[SimulatedWorld], None] = nothing) -> Outcome:
    """Run one seed and judge it. `prepare` may break a part before the run begins, to see that this is found."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    world = SimulatedWorld(seed, loop, prepare)
    try:
        with seeded(world.rng, world.now):
            found = _judged(world)
            at = f"{loop.time():.3f} s"
    finally:
        loop.run_until_complete(world.stop())
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
    return Outcome(seed, found, world.store.records, at)


def _judged(world: SimulatedWorld) -> list[str]:
    try:
        world.loop.run_until_complete(world.play())
    except ViolationError:
        return world.checker.found
    return [*world.checker.finish(), *_not_folded(world)]


def _not_folded(world: SimulatedWorld) -> list[str]:
    """Let the schedulers read the last records, and compare each one's board with a fold of the whole log (E5).

    And the same again from a snapshot of the first half and the rest of the log.
    """
    records = world.store.records
    world.loop.run_until_complete(world.caught_up())
    half = folded(Board(world.limits), world.store, records[: len(records) // 2])
    resumed = folded(load(dump(half, LOG), world.limits), world.store, records)
    truth = dump(folded(half, world.store, records), LOG)
    boards = {name: scheduler.board for name, scheduler in world.active.items()} | {"a snapshot with its tail": resumed}
    return [
        f"E5: {name} differs from the log in {field}"
        for name, board in boards.items()
        for field, value in dump(board, LOG)
        if value != getattr(truth, field)
    ]


def folded(board: Board, store: Store, records: list[Recorded]) -> Board:
    """Fold records into a board; one that is re-run after it had ended is folded from its own history first."""
    for recorded in records[board.seq :]:
        job_id = job_of(recorded.subject)
        if isinstance(recorded.event, JobRequeued) and not board.knows(job_id):
            job = None
            for earlier in store.matching(job_filter(job_id)):
                if earlier.seq < recorded.seq and earlier.event is not None:
                    job = evolve(job, earlier.seq, earlier.event)
            assert job is not None
            board.recall(job)
        board.apply(recorded.seq, recorded.subject, recorded.event)
    return board
