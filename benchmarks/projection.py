"""From an append to its row in jobs.db: a real broker and a real library process, nothing else.

Lives here: the measurement. The clock starts before the append, so the broker's fsync is in it; the append alone
is measured in the same run as the peer.
"""

import asyncio
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx

from benchmarks.rows import Row, percentile
from services.standalone import ports
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.eventlog.port import Expect
from shared.eventlog.streams import create_streams
from shared.events.subjects import job_filter
from shared.events.types import AudioTrack, JobSubmitted, JobSubmittedData, SourceMedia, VideoTrack
from shared.identity import uuid7
from shared.settings import Settings

EVENTS = 200
BROKER = """
listen: 127.0.0.1:{port}
jetstream {{
  store_dir: "{store}"
  sync_interval: always
}}
"""


def rows(directory: Path) -> Iterator[Row]:
    """Yield the latency of an append alone and of an append with its projection."""
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
            asyncio.run(_prepare(settings))
            with subprocess.Popen(library, env=environment, stderr=log) as service:
                try:
                    _wait_until_ready(chosen["library"])
                    appends, projections = asyncio.run(_measure(settings))
                finally:
                    service.terminate()
        finally:
            nats.terminate()
    yield Row("append of an event, p50", 1000 * statistics.median(appends), "ms")
    yield Row("publish to projection, p50", 1000 * statistics.median(projections), "ms", "append alone (row above)")
    yield Row("publish to projection, p95", 1000 * percentile(projections, 0.95), "ms", None, "<= 150")


async def _prepare(settings: Settings) -> None:
    client = await connect(settings, "init")
    await create_streams(client, settings.ack_wait_s)
    await client.close()


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 30
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
