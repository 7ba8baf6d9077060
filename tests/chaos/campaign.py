"""One run under fire, from a seed: start, faults and users, peace, proof.

Lives here: the order of things and the report. Does not live here: any fault (`faults`), user
(`users`) or check (`proof`).
"""

import asyncio
import contextlib
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from shared.layout import Layout
from tests.chaos import proof
from tests.chaos.cluster import CAPS, Cluster, running_cluster
from tests.chaos.faults import Chaos
from tests.chaos.small_disk import small_disk
from tests.chaos.users import Users, make_clip
from tests.history import Caps, violations

SETTLE_S = 180.0
ENDING_S = 5.0


@dataclass
class Report:
    """What happened; `broken` is empty if every promise was kept."""

    seed: int
    faults: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    actions: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, int] = field(default_factory=dict)
    events: int = 0
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        injected, jobs = sum(self.faults.values()), sum(self.jobs.values())
        lines = [
            f"seed {self.seed}: {injected} faults over {jobs} jobs, {self.events} events",
            f"  faults   {_counted(self.faults)}",
            f"  actions  {_counted(self.actions)}",
            f"  jobs     {_counted(self.jobs)}",
            *(f"  left out {kind}: {reason}" for kind, reason in self.skipped.items()),
            *(f"  BROKEN   {what}" for what in self.broken),
        ]
        return "\n".join(lines)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


async def run(report: Report, scratch: Path, kept: Path, *, faults: int, seconds: float) -> None:
    """Run the report's seed in `scratch` (an absolute path) and fill it. What explains a failure is left in `kept`."""
    data = scratch / "data"
    clip = await asyncio.to_thread(make_clip, scratch / "clip.mp4")
    with small_disk(data) as disk:
        await asyncio.to_thread(_broker_elsewhere, data, scratch / "broker")
        async with running_cluster(data) as cluster, users_of(cluster, report.seed, clip) as users:
            chaos = Chaos(cluster, random.Random(f"faults {report.seed}"), disk)
            try:
                async with _working(users):
                    await chaos.run(faults, seconds)
                await _prove(report, cluster, chaos, users, scratch / "rebuilt.db")
            except BaseException as error:
                report.broken.append(f"the run was cut short: {error!r}")
                raise
            finally:
                _account(report, chaos, users)
                if report.broken:
                    await asyncio.to_thread(_keep, kept, cluster, chaos, users)


def _broker_elsewhere(data: Path, store: Path) -> None:
    """The broker has another disk: without room for it there is no log, and so nothing that could be proven."""
    store.mkdir()
    Layout(data).broker.symlink_to(store)


async def _prove(report: Report, cluster: Cluster, chaos: Chaos, users: Users, rebuilt: Path) -> None:
    """Let the system settle, and check everything: the log, then the disk, then what is left after the end."""
    await cluster.ready()
    async with cluster.event_log() as log:
        await users.settle(log, SETTLE_S)
        report.broken += await proof.projection_differs(log, cluster.layout.jobs_db, rebuilt)
    report.broken += await proof.commands_left(f"http://127.0.0.1:{cluster.plan.ports['nats_monitor']}")
    await cluster.stop()
    await asyncio.sleep(ENDING_S)
    await asyncio.to_thread(_conclude, report, cluster, chaos, users)


def _account(report: Report, chaos: Chaos, users: Users) -> None:
    report.faults, report.skipped = chaos.counts(), chaos.left_out()
    report.actions, report.events = dict(users.actions.most_common()), len(users.seen)
    report.jobs = dict(Counter(job.state.value for job in proof.folded(users.seen).values()))


def _conclude(report: Report, cluster: Cluster, chaos: Chaos, users: Users) -> None:
    records, output = users.seen, cluster.layout.output
    report.broken += violations(records, Caps({**Caps().by_name, **CAPS}))
    report.broken += proof.run_twice(records)
    report.broken += proof.broken_promises(records, users.jobs)
    report.broken += proof.unexplained_failures(records, chaos.done)
    report.broken += proof.missing_artifacts(records, output)
    report.broken += [f"process {pid} is left" for pid in cluster.process_ids()]
    report.broken += proof.temporary_files(output, cluster.temporary)


def _keep(kept: Path, cluster: Cluster, chaos: Chaos, users: Users) -> None:
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(cluster.layout.logs, kept / "logs")
    for logs in cluster.layout.output.glob("*/logs"):
        shutil.copytree(logs, kept / "jobs" / logs.parent.name)
    (kept / "faults.jsonl").write_text(chaos.record())
    (kept / "history.jsonl").write_bytes(b"".join(b"%d %s\n" % (record.seq, record.raw) for record in users.seen))


@contextlib.asynccontextmanager
async def users_of(cluster: Cluster, seed: int, clip: bytes) -> AsyncIterator[Users]:
    """Yield users who have not begun."""
    users = Users(cluster, random.Random(f"users {seed}"), clip)
    try:
        yield users
    finally:
        await users.close()


@contextlib.asynccontextmanager
async def _working(users: Users) -> AsyncIterator[None]:
    """Let users work in the meantime; ends when they have the answer to their last submission."""
    working = asyncio.create_task(users.work())
    try:
        yield
    finally:
        working.cancel()
        await asyncio.wait({working})
        if not working.cancelled():
            working.result()
