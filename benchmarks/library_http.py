"""The list over HTTP: 16 clients ask for the same page of 50 among 100,000 jobs.

Lives here: the measurement. The peers run in the same run on the same jobs.db: the read alone, in one process and
without HTTP, and Datasette with the same SQL. Each is measured in turn, a few times, and the best turn counts: the
machine has other things to do.
"""

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import httpx

from benchmarks.load import Load, measure
from benchmarks.orchestration.peers import NoPeerError, environment
from benchmarks.projection import BROKER
from benchmarks.rows import Row
from services.library.jobstore.filters import PageQuery
from services.library.jobstore.plans import plan_page
from services.library.jobstore.queries import read_page, rows_sql
from services.library.jobstore.reader import open_readonly
from services.library.jobstore.store import JobStore
from services.library.routes import examples
from services.standalone import ports
from shared.eventlog.connection import connect
from shared.eventlog.streams import create_streams
from shared.identity import uuid7
from shared.settings import Settings

JOBS = 100_000
LIMIT = 50
CLIENTS = 16
SECONDS = 4.0
TURNS = 3
PROJECTS = 500
TAGS = ("news", "music", "kids", "sport", "draft", "hd")
STATES = ("DONE",) * 7 + ("QUEUED", "RUNNING", "FAILED")
BATCH = 5_000
FIRST_MS = 1_700_000_000_000
READY_TIMEOUT_S = 60.0


def rows(directory: Path) -> Iterator[Row]:
    """Yield requests per second of the list over HTTP, against the read alone and against Datasette."""
    settings = Settings(data_dir=directory / "data")
    build(settings.layout.jobs_db, JOBS)
    with ExitStack() as stack:
        ours = stack.enter_context(library(directory))
        datasette = None
        try:
            datasette = stack.enter_context(datasette_of(settings.layout.jobs_db))
        except NoPeerError as error:
            print(f"The list over HTTP is not compared with Datasette: {error}")
        page = f"{ours}/api/jobs?limit={LIMIT}"
        raw, http, peer = 0.0, Load(0.0, None, ""), Load(0.0, None, "")
        for _ in range(TURNS):
            raw = max(raw, raw_rate(settings.layout.jobs_db))
            http = max(http, measure(page, CLIENTS, SECONDS), key=lambda load: load.rate)
            if datasette:
                peer = max(peer, measure(datasette, CLIENTS, SECONDS), key=lambda load: load.rate)
    size = f"{LIMIT} of {JOBS:,} jobs"
    yield Row(f"read of a page and its total, {size}, no HTTP", raw, "1/s")
    yield Row(f"GET /api/jobs, {size}, {CLIENTS} clients", http.rate, "1/s", "the read alone (row above)")
    yield Row("GET /api/jobs, share of the read alone", http.rate / raw, "x", "the read alone", ">= 0.35")
    if datasette:
        yield Row(f"Datasette, the same SQL, {CLIENTS} clients", peer.rate, "1/s")
        yield Row("GET /api/jobs, times Datasette", http.rate / peer.rate, "x", "Datasette, same file", ">= 4")


def build(path: Path, jobs: int) -> None:
    """Make a jobs.db with this many rows; a tenth is archived, most are done."""
    store = JobStore(path)
    try:
        with store.bulk():
            for first in range(0, jobs, BATCH):
                with store.transaction():
                    store.jobs.update(_job(number) for number in range(first, min(first + BATCH, jobs)))
    finally:
        store.close()


def _job(number: int) -> tuple[str, dict[str, object]]:
    ms = FIRST_MS + 1000 * number
    job_id = uuid7(ms)
    created = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(ms / 1000))
    changed = {
        "id": job_id,
        "seq": number + 1,
        "title": f"video {number}.mp4",
        "project_name": f"Project {number * number % PROJECTS}",
        "tags": sorted({TAGS[number % 6], TAGS[number % 5]})[: number % 3],
        "archived": number % 10 == 3,
        "state": STATES[number * 7 % 10],
        "created_at": created,
        "updated_at": created,
    }
    return job_id, examples.JOB | changed


def raw_rate(path: Path) -> float:
    """Return how often a second one thread reads the page and its total, every row in hand."""
    connection = open_readonly(path)
    query = PageQuery(LIMIT)
    count, started = 0, time.perf_counter()
    try:
        while (elapsed := time.perf_counter() - started) < SECONDS / 2:
            assert len(read_page(connection, query).rows) == LIMIT
            count += 1
    finally:
        connection.close()
    return count / elapsed


@contextmanager
def library(directory: Path) -> Iterator[str]:
    """Run the library, with a broker that has nothing to tell, and yield its address."""
    chosen = ports.choose(["nats", "library"], {})
    config = directory / "nats.conf"
    config.write_text(BROKER.format(port=chosen["nats"], store=directory / "store"))
    variables = os.environ | {
        "DUBLINE_DATA_DIR": str(directory / "data"),
        "DUBLINE_NATS_URL": f"nats://127.0.0.1:{chosen['nats']}",
        "DUBLINE_LIBRARY_PORT": str(chosen["library"]),
    }
    broker = [str(Path(sys.executable).parent / "nats-server"), "-c", str(config)]
    with (directory / "log").open("wb") as log, ExitStack() as stack:
        _start(stack, broker, stderr=log)
        asyncio.run(_prepare(Settings(nats_url=variables["DUBLINE_NATS_URL"])))
        _start(stack, [sys.executable, "-m", "services.library"], env=variables, stderr=log)
        url = f"http://127.0.0.1:{chosen['library']}"
        _wait(f"{url}/readyz")
        yield url


@contextmanager
def datasette_of(path: Path) -> Iterator[str]:
    """Run Datasette over the file and yield the address of the same page. Raises NoPeerError."""
    binary = environment() / "datasette"
    if not binary.exists():
        raise NoPeerError("it is not in the peers' environment")
    port = ports.choose(["datasette"], {})["datasette"]
    with ExitStack() as stack:
        command = [str(binary), "serve", str(path), "--port", str(port), "--setting", "sql_time_limit_ms", "5000"]
        _start(stack, command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}/{path.stem}.json?{urlencode(page_parameters(path))}"
        _wait(url)
        yield str(httpx.get(url, timeout=10, follow_redirects=True).url)  # newer ones have moved it


def page_parameters(path: Path) -> dict[str, str]:
    """Return what Datasette is asked: the statement of our page, with the total beside each row."""
    connection = sqlite3.connect(path)
    try:
        plan = plan_page(connection, PageQuery(LIMIT - 1))  # a plan asks for one more than the page
    finally:
        connection.close()
    total = "SELECT sum(n) FROM job_totals WHERE tag = '' AND archived = 0"
    sql = f"SELECT ({total}) AS total, page.* FROM ({rows_sql(plan)}) AS page ORDER BY page.place DESC"
    return {"sql": sql, "_shape": "array"} | {name: str(value) for name, value in plan.parameters.items()}


def _start(stack: ExitStack, command: list[str], **options: object) -> None:
    process = subprocess.Popen(command, **options)  # type: ignore[call-overload]  # options of Popen
    stack.callback(process.wait)
    stack.callback(process.terminate)


async def _prepare(settings: Settings) -> None:
    client = await connect(settings, "init")
    await create_streams(client, settings.ack_wait_s)
    await client.close()


def _wait(url: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=10, follow_redirects=True).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer")
