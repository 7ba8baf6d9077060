"""What orchestration costs: no-op jobs through the real path, beside Celery and taskiq, and with a long queue.

Lives here: the course of the measurement and its rows. Does not live here: the processes (`benchmarks.stack`, `peers`),
the client (`client`), the arithmetic (`figures`). docs/benchmarks.md says what each side makes durable.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.history import submitted
from benchmarks.noop_worker import HOLD
from benchmarks.orchestration import peers
from benchmarks.orchestration.client import Dubline, spans
from benchmarks.orchestration.figures import Round, ratio, stage_latencies
from benchmarks.orchestration.peers import NoPeerError, Peer
from benchmarks.rows import Row, percentile
from benchmarks.stack import Process, Stack, resident_mib
from shared.job.stages import GRAPH

ROUNDS = 3
WARM_UP = 5
ONE_BY_ONE = 30
AT_ONCE = 100
QUEUED = 10_000
OWNERS = 1_000
HELD_TIMEOUT_S = 30.0
MS = 1000.0


@dataclass
class Measured:
    """One system's rounds: jobs one after the other, jobs all at once, and single tasks one after the other."""

    one_by_one: list[Round] = field(default_factory=list)
    at_once: list[Round] = field(default_factory=list)
    single: list[Round] = field(default_factory=list)
    stages: list[float] = field(default_factory=list)
    """What each stage of the jobs that ran one after the other cost; only ours are traced."""

    @property
    def latencies(self) -> list[float]:
        return [latency for each in self.one_by_one for latency in each.latencies]

    @property
    def medians(self) -> list[float]:
        """The median latency of each round."""
        return [statistics.median(each.latencies) for each in self.one_by_one]

    @property
    def rates(self) -> list[float]:
        return [each.rate for each in self.at_once]


def rows(directory: Path) -> Iterator[Row]:
    """Yield our figures beside the peers', then ours with a long queue."""
    with Stack(directory / "dubline") as stack:
        trace = directory / "trace"
        stack.start_broker()
        stack.create_streams()
        scheduler = stack.start_scheduler()
        for number in range(peers.WORKERS):
            stack.start_worker(f"worker-{number}", trace)
        yield from asyncio.run(_measure(stack, scheduler, trace))


async def _measure(stack: Stack, scheduler: Process, trace: Path) -> list[Row]:
    async with Dubline.connected(stack) as dubline:
        await dubline.run(WARM_UP, at_once=False)
        ours = Measured()
        with ExitStack() as exits:
            # Peers wait for their processes: in a thread, so that our connections go on answering the broker.
            running = await asyncio.to_thread(_start_peers, stack, exits)
            theirs = {peer.name: Measured() for peer in running}
            for number in range(ROUNDS):
                turns: list[Peer | None] = [None, *running]
                for turn in turns[number % len(turns) :] + turns[: number % len(turns)]:  # nobody is always first
                    if turn is None:
                        await _our_round(dubline, trace, ours)
                    else:
                        await asyncio.to_thread(_their_round, turn, theirs[turn.name])
        made = list(_our_rows(ours, await _durable_messages(dubline)))
        for peer in running:
            made += _peer_rows(peer, theirs[peer.name], ours)
        return made + [row async for row in _with_a_queue(stack, dubline, scheduler, trace, ours)]


def _start_peers(stack: Stack, exits: ExitStack) -> list[Peer]:
    """Start what can run here; say why something cannot."""
    running: list[Peer] = []
    try:
        bin_directory = peers.environment()
        running.append(exits.enter_context(peers.taskiq(stack, bin_directory)))
        running += [exits.enter_context(peers.celery(stack, bin_directory, sync)) for sync in ("always", "everysec")]
    except NoPeerError as error:
        print(f"Without some peers: {error}")
    for peer in running:
        peer.run(WARM_UP, len(GRAPH), at_once=False)
    return running


async def _our_round(dubline: Dubline, trace: Path, ours: Measured) -> None:
    _, noted = spans(trace)
    ours.one_by_one.append(await dubline.run(ONE_BY_ONE, at_once=False))
    ours.stages += stage_latencies(spans(trace, noted)[0])
    ours.at_once.append(await dubline.run(AT_ONCE, at_once=True))


def _their_round(peer: Peer, theirs: Measured) -> None:
    theirs.one_by_one.append(peer.run(ONE_BY_ONE, len(GRAPH), at_once=False))
    theirs.at_once.append(peer.run(AT_ONCE, len(GRAPH), at_once=True))
    theirs.single.append(peer.run(ONE_BY_ONE, 1, at_once=False))


async def _durable_messages(dubline: Dubline) -> float:
    before = await dubline.messages()
    await dubline.run(WARM_UP, at_once=False)
    return (await dubline.messages() - before) / WARM_UP + len(GRAPH)


def _our_rows(ours: Measured, durable: float) -> Iterator[Row]:
    each = "events and commands, each fsynced"
    yield Row("no-op job: durable messages", durable, "a job", each)
    yield Row("no-op job: submit to done, p50", MS * statistics.median(ours.latencies), "ms")
    yield Row("no-op job: submit to done, p95", MS * percentile(ours.latencies, 0.95), "ms")
    yield Row(f"no-op job: {AT_ONCE} at once", statistics.median(ours.rates), "jobs/s")
    yield Row("no-op job: per stage, p50", MS * statistics.median(ours.stages), "ms", None, "<= 10")
    yield Row("no-op job: per stage, p95", MS * percentile(ours.stages, 0.95), "ms")


def _peer_rows(peer: Peer, theirs: Measured, ours: Measured) -> Iterator[Row]:
    name = peer.name
    six = f"{name}: {len(GRAPH)} no-op tasks"
    yield Row(f"{six}, p50", MS * statistics.median(theirs.latencies), "ms", peer.durability)
    yield Row(f"{six}, p95", MS * percentile(theirs.latencies, 0.95), "ms", peer.durability)
    yield Row(f"{six}, {AT_ONCE} at once", statistics.median(theirs.rates), "jobs/s", peer.durability)
    single = [latency for each in theirs.single for latency in each.latencies]
    yield Row(f"{name}: one no-op task, p50", MS * statistics.median(single), "ms", peer.durability)
    yield Row("no-op job: submit to done, ours / theirs", ratio(ours.medians, theirs.medians), "x", name)
    yield Row("no-op job: jobs/s, ours / theirs", ratio(ours.rates, theirs.rates), "x", name)


async def _with_a_queue(
    stack: Stack, dubline: Dubline, scheduler: Process, trace: Path, alone: Measured
) -> AsyncIterator[Row]:
    """Hold a cap with a job that does not end, let thousands wait for it, and run others past them."""
    stack.start_worker("worker-held", trace)
    await _hold(dubline)
    before = resident_mib(scheduler.pid)
    filling = time.perf_counter()
    await dubline.submit_all(submitted(f"user-{n % OWNERS}", mode="high") for n in range(QUEUED))
    filled = time.perf_counter() - filling
    await dubline.run(WARM_UP, at_once=False)  # submitted after all of them: by its end the scheduler knows them
    queue = f"{QUEUED:,} queued"
    yield Row(f"{queue}: submissions", QUEUED / filled, "jobs/s")
    yield Row("scheduler memory, empty queue", before, "MiB")
    yield Row(f"scheduler memory per {queue}", resident_mib(scheduler.pid) - before, "MiB")
    measured = Measured()
    for _ in range(ROUNDS):
        await _our_round(dubline, trace, measured)
    empty = "empty queue, earlier in this run"
    yield Row(f"{queue}: per stage, p50", MS * statistics.median(measured.stages), "ms", empty, "<= 10")
    yield Row(f"{queue}: per stage, p95", MS * percentile(measured.stages, 0.95), "ms", empty)
    yield Row(f"{queue}: submit to done, p50", MS * statistics.median(measured.latencies), "ms", empty)
    yield Row(f"{queue}: {AT_ONCE} more at once", statistics.median(measured.rates), "jobs/s", empty)
    longer = statistics.median(measured.latencies) / statistics.median(alone.latencies)
    yield Row(f"{queue}: submit to done, queue / no queue", longer, "x", empty)


async def _hold(dubline: Dubline) -> None:
    job = submitted("holder", title=HOLD, mode="high")
    await dubline.submit(job)
    async with asyncio.timeout(HELD_TIMEOUT_S):
        while not await dubline.claimed(job.subject):  # noqa: ASYNC110 -- another process claims it
            await asyncio.sleep(0.05)
