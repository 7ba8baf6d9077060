"""From an append to its row in jobs.db, and whole logs into a new jobs.db.

Lives here: the measurements. Publish to projection: a real broker and a real library process; the clock starts before
the append, so the broker's fsync is in it, and the append alone is measured in the same run as the peer.
Projection: prepared events, against plain key-value writes of the same rows in a file without triggers.
Rebuild: prepared events (`BENCH_EVENTS`, 100,000 without it), decoded as they are read, and the same from a broker.
"""

import asyncio
import itertools
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.rows import Row, percentile
from services.library.jobstore.store import JobStore
from services.library.projection import Projection
from services.library.rebuild import rebuild_into
from services.standalone import ports
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.eventlog.port import Expect, Recorded
from shared.eventlog.streams import create_streams
from shared.events.subjects import ALL_EVENTS, event_subject, job_filter
from shared.events.types import (
    AudioTrack,
    Event,
    JobCompleted,
    JobStarted,
    JobSubmitted,
    JobSubmittedData,
    SourceMedia,
    StageClaimed,
    StageCompleted,
    VideoTrack,
)
from shared.identity import uuid7
from shared.job.stages import GRAPH
from shared.settings import Settings

EVENTS = 200
REBUILT_EVENTS = int(os.environ.get("BENCH_EVENTS", "100000"))
BROKER_EVENTS = 100_000
REBUILD_GOAL_S = 20
PROJECTED_EVENTS = 3000
JOBS_AT_ONCE = 50
PUBLISHED_AT_ONCE = 500
BROKER = """
listen: 127.0.0.1:{port}
jetstream {{
  store_dir: "{store}"
  sync_interval: always
}}
"""


def rows(directory: Path) -> Iterator[Row]:
    """Yield publish to projection, projection against plain writes, and rebuilds."""
    yield from _projected(directory)
    yield _rebuilt(directory)
    chosen = ports.choose(["nats", "library"], {})
    config = directory / "nats.conf"
    config.write_text(BROKER.format(port=chosen["nats"], store=directory / "store"))
    environment = os.environ | {
        "DUBLINE_DATA_DIR": str(directory / "library"),
        "DUBLINE_NATS_URL": f"nats://127.0.0.1:{chosen['nats']}",
        "DUBLINE_LIBRARY_PORT": str(chosen["library"]),
    }
    broker = [str(Path(sys.executable).parent / "nats-server"), "-c", str(config)]
    library = [sys.executable, "-m", "services.library"]
    settings = Settings(nats_url=environment["DUBLINE_NATS_URL"], data_dir=directory / "library")
    with (directory / "log").open("wb") as log, subprocess.Popen(broker, stderr=log) as nats:
        try:
            asyncio.run(make_streams(settings))
            with subprocess.Popen(library, env=environment, stderr=log) as service:
                try:
                    wait_until_ready(chosen["library"])
                    appends, projections = asyncio.run(_measure(settings))
                finally:
                    service.terminate()
            from_broker = asyncio.run(_rebuilt_from_broker(settings, directory / "from-broker.db"))
        finally:
            nats.terminate()
    yield Row("append of an event, p50", 1000 * statistics.median(appends), "ms")
    yield Row("publish to projection, p50", 1000 * statistics.median(projections), "ms", "append alone (row above)")
    yield Row("publish to projection, p95", 1000 * percentile(projections, 0.95), "ms", None, "<= 150")
    yield Row(f"rebuild of {BROKER_EVENTS:,} events from a broker", from_broker, "s", None, f"<= {REBUILD_GOAL_S}")


class PreparedLog:
    """A log as a broker would hold it, in memory: bytes, decoded when they are read."""

    def __init__(self, events: int) -> None:
        self.stored: list[tuple[str, bytes]] = []
        while len(self.stored) < events:
            stories = [history_of_one_job() for _ in range(JOBS_AT_ONCE)]
            self.stored += [
                (event_subject(event), event.encode()) for step in zip(*stories, strict=True) for event in step
            ]
        del self.stored[events:]

    async def append(self, event: Event, expect: Expect | None = None) -> int:
        raise NotImplementedError

    async def read(self, subject: str = ALL_EVENTS, *, after: int = 0, limit: int = 256) -> list[Recorded]:
        wanted = subject.removesuffix(">")
        found: list[Recorded] = []
        for seq, (at, raw) in enumerate(itertools.islice(self.stored, after, None), start=after + 1):
            if len(found) == limit:
                break
            if at.startswith(wanted):
                found.append(Recorded.of(seq, at, raw))
        return found

    async def last(self, subject: str = ALL_EVENTS) -> Recorded | None:  # noqa: ARG002 -- the port's, only asked for all
        return Recorded.of(len(self.stored), *self.stored[-1])

    def follow(self, *, after: int = 0) -> AsyncIterator[list[Recorded]]:
        raise NotImplementedError


def history_of_one_job() -> list[Event]:
    """Return the 15 events of a job that was dubbed."""
    job_id = uuid7()

    def made(kind: type[Any], **data: Any) -> Any:
        about = {"source": "urn:dubline:bench", "subject": job_id, "actor": "bench", "correlationid": job_id}
        return kind(**about, time=datetime.now(UTC), data=data)

    story: list[Event] = [_submission(job_id), made(JobStarted, run=1)]
    for stage in GRAPH:
        part = {"stage": stage, "attempt": 1}
        files = [f"none/none.dub.{suffix}" for suffix in ("mkv", "mp4")] if stage == "mux" else [f"none/work/{stage}"]
        outputs = [{"name": file, "path": file, "size": 1, "sha256": "0" * 64} for file in files]
        engine = {"name": "none", "version": "1", "device": "cpu", "digest": "0" * 64}
        story.append(made(StageClaimed, **part, worker="w", host="h", pool="cpu"))
        story.append(made(StageCompleted, **part, key="k", outputs=outputs, engine=engine, timings={}))
    return [*story, made(JobCompleted, run=1)]


def _projected(directory: Path) -> Iterator[Row]:
    """One batch size after the other: project, then write the very same rows without an index or a fold."""
    for size in (1, 100):
        log = PreparedLog(PROJECTED_EVENTS)
        records = asyncio.run(log.read(limit=PROJECTED_EVENTS))
        store = JobStore(directory / f"projected-{size}.db")
        projection = Projection(store)
        written: list[list[tuple[str, str]]] = []
        started = time.perf_counter()
        for start in range(0, len(records), size):
            rows = projection.apply(records[start : start + size]).rows
            written.append([(job_id, text.decode()) for job_id, text in rows.items()])
        projected = len(records) / (time.perf_counter() - started)
        store.close()
        plain = sqlite3.connect(directory / f"plain-{size}.db", isolation_level=None)
        plain.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
        plain.execute("CREATE TABLE jobs (key TEXT PRIMARY KEY, value BLOB)")
        started = time.perf_counter()
        for batch in written:
            plain.execute("BEGIN IMMEDIATE")
            plain.executemany("REPLACE INTO jobs VALUES (?, ?)", batch)
            plain.execute("COMMIT")
        peer = len(records) / (time.perf_counter() - started)
        plain.close()
        yield Row(f"plain writes of the same rows, batches of {size}", peer, "events/s")
        yield Row(f"projection, batches of {size}", projected, "events/s", "plain writes (row above)")


def _rebuilt(directory: Path) -> Row:
    log = PreparedLog(REBUILT_EVENTS)
    started = time.perf_counter()
    asyncio.run(rebuild_into(log, directory / "rebuilt.db"))
    goal = f"<= {REBUILD_GOAL_S}" if REBUILT_EVENTS <= BROKER_EVENTS else None
    return Row(f"rebuild of {REBUILT_EVENTS:,} prepared events", time.perf_counter() - started, "s", None, goal)


async def _rebuilt_from_broker(settings: Settings, path: Path) -> float:
    """Fill the log without waiting for each event, and read it into a new file. Returns seconds."""
    client = await connect(settings, "bench")
    stream = client.jetstream(publish_async_max_pending=PUBLISHED_AT_ONCE * 2)
    stored = PreparedLog(BROKER_EVENTS - EVENTS).stored
    for start in range(0, len(stored), PUBLISHED_AT_ONCE):
        piece = stored[start : start + PUBLISHED_AT_ONCE]
        await asyncio.gather(*[await stream.publish_async(subject, raw) for subject, raw in piece])
    started = time.perf_counter()
    await rebuild_into(JetStreamEventLog(client), path)
    taken = time.perf_counter() - started
    await client.close()
    return taken


async def make_streams(settings: Settings) -> None:
    """Make what the init identity makes."""
    client = await connect(settings, "init")
    await create_streams(client, settings.ack_wait_s)
    await client.close()


def wait_until_ready(port: int) -> None:
    """Wait for a library. Raises TimeoutError after a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the library did not become ready")


async def _measure(settings: Settings) -> tuple[list[float], list[float]]:
    client = await connect(settings, "bench")
    log = JetStreamEventLog(client)
    database = sqlite3.connect(f"file:{settings.layout.jobs_db}?mode=ro", uri=True)
    appends, projections = [], []
    for _ in range(EVENTS):
        job_id = uuid7()
        started = time.perf_counter()
        await log.append(_submission(job_id), Expect(job_filter(job_id), 0))
        appends.append(time.perf_counter() - started)
        while not database.execute("SELECT 1 FROM jobs WHERE key = ?", (job_id,)).fetchone():  # noqa: ASYNC110 -- another process writes it
            await asyncio.sleep(0.0002)
        projections.append(time.perf_counter() - started)
    database.close()
    await client.close()
    return appends, projections


def _submission(job_id: str) -> JobSubmitted:
    source = SourceMedia(
        path="uploads/none.mp4",
        sha256="0" * 64,
        size=1,
        container="mov",
        duration_s=1.0,
        video=VideoTrack(index=0, codec="h264", width=640, height=360, frame_rate="25/1"),
        audio=AudioTrack(index=1, codec="aac", channels=2, layout="stereo", sample_rate=48000),
    )
    data = JobSubmittedData(
        owner="bench", title="none.mp4", stem="none", base_dir="none", source=source, src_lang="en", tgt_lang="pt"
    )
    return JobSubmitted(
        source="urn:dubline:bench",
        subject=job_id,
        time=datetime.now(UTC),
        actor="bench",
        correlationid=job_id,
        data=data,
    )
