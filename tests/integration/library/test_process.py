"""The process: killed, stopped, started without a projection, and refused on other addresses."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.library.jobstore.dump import dump
from services.library.rebuild import rebuild_into
from shared.eventlog.connection import connect
from shared.eventlog.jetstream import JetStreamEventLog
from shared.events.types import JobEvent, StageEvent
from shared.identity import uuid7
from shared.settings import Settings
from tests import local_http
from tests.broker import BinaryBroker
from tests.factories import claimed, completed, submitted
from tests.integration.library.conftest import LibraryProcess, append_all


async def rebuilt(broker: BinaryBroker, path: Path) -> int:
    client = await connect(Settings(nats_url=broker.url), "test")
    try:
        return await rebuild_into(JetStreamEventLog(client), path)
    finally:
        await client.close()


def manifests(library: LibraryProcess) -> dict[str, bytes]:
    return {str(path.parent): path.read_bytes() for path in library.layout.output.glob("*/manifests/job.json")}


def cursor(library: LibraryProcess) -> int:
    connection = sqlite3.connect(library.layout.jobs_db)
    try:
        return int(connection.execute("SELECT last_seq FROM projector WHERE name = 'jobs'").fetchone()[0])
    finally:
        connection.close()


def test_e5_killed_in_the_middle_it_ends_as_a_rebuild_would(fresh_library: LibraryProcess, tmp_path: Path) -> None:
    library = fresh_library
    jobs = [uuid7() for _ in range(40)]
    for job in jobs:
        assert library.layout.claim_base_dir(job, job) == job
    chapters: list[list[JobEvent | StageEvent]] = [
        [submitted(job, base_dir=job, stem=job) for job in jobs],
        [make(job, "audio") for job in jobs for make in (claimed, completed)],
        [make(job, "transcribe") for job in jobs for make in (claimed, completed)],
    ]
    sequences: list[int] = []
    for chapter in chapters:
        half = len(chapter) // 2
        with ThreadPoolExecutor(1) as background:
            written = background.submit(asyncio.run, append_all(library.broker, tuple(chapter[:half])))
            library.wait_for_position(len(sequences) + 3)
            library.end(signal.SIGKILL)  # somewhere in the first half
        sequences += written.result() + asyncio.run(append_all(library.broker, tuple(chapter[half:])))
        assert len(sequences) - len(chapter) < cursor(library) < sequences[-1]
        library.start()
    library.wait_for_position(sequences[-1])
    assert asyncio.run(rebuilt(library.broker, tmp_path / "rebuilt.db")) == sequences[-1]
    assert dump(library.layout.jobs_db) == dump(tmp_path / "rebuilt.db")
    assert local_http.get(f"{library.url}/api/jobs").json()["total"] == len(jobs)

    deadline = time.monotonic() + 10
    while sum("transcribe" in str(text) for text in manifests(library).values()) < len(jobs):  # written after the rows
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert library.end(signal.SIGTERM) == 0
    incremental = manifests(library)
    shutil.rmtree(library.layout.state)
    for path in library.layout.output.glob("*/manifests"):
        shutil.rmtree(path)
    library.start()
    library.wait_for_position(sequences[-1])
    assert dump(library.layout.jobs_db) == dump(tmp_path / "rebuilt.db")
    deadline = time.monotonic() + 10
    while manifests(library) != incremental:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(incremental) == len(jobs)


def test_sigterm_ends_it_in_seconds_although_clients_listen(fresh_library: LibraryProcess) -> None:
    library = fresh_library
    with local_http.stream("GET", f"{library.url}/api/events", timeout=20) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("retry:")
        start = time.monotonic()
        assert library.end(signal.SIGTERM) == 0
        assert time.monotonic() - start < 4
        assert "id:" not in "".join(lines)


def test_reads_go_on_without_the_broker(fresh_library: LibraryProcess) -> None:
    library = fresh_library
    job = library.finished_job()
    library.broker.kill()
    assert local_http.get(f"{library.url}/api/jobs/{job}").json()["state"] == "DONE"
    assert local_http.get(f"{library.url}/livez").status_code == 200
    deadline = time.monotonic() + 10
    while (answer := local_http.get(f"{library.url}/readyz", timeout=10)).status_code != 503:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert answer.json()["status"] == "not ready"
    library.broker.start()
    other = uuid7()
    library.append(submitted(other))
    assert local_http.get(f"{library.url}/api/jobs/{other}").json()["state"] == "QUEUED"


def test_an_address_that_others_could_reach_is_refused() -> None:
    environment = os.environ | {"DUBLINE_LIBRARY_HOST": "0.0.0.0"}
    command = [sys.executable, "-m", "services.library"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False)
    assert done.returncode == 78
    assert b"refused_address" in done.stderr
