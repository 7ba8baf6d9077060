"""Lists of 10,000 to 1,000,000 jobs: jobs.db itself, without HTTP.

Lives here: the measurement. Every figure is a ratio: to 50 raw primary-key gets of the rows that page 1 shows, in the
same file and run, and to what a plain SqliteDict has to do for the same page: load all, filter, sort. A list of
everything is an administrator's; a reader's is merged from their own and the shared jobs.
Does not live here: the jobs (`synthetic_jobs`). BENCH_JOBS sets the sizes, such as "10000,100000".
"""

import json
import os
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from sqlitedict import SqliteDict

from benchmarks.rows import Row, percentile
from benchmarks.synthetic_jobs import COMMON_TEXT, OWNERS, RARE_TEXT, fill
from services.library.jobstore.filters import JobFilter, PageQuery
from services.library.jobstore.plans import plan_page
from services.library.jobstore.queries import read_page
from services.library.jobstore.reader import open_readonly
from services.library.jobstore.store import JobStore

SIZES = "10000,100000,1000000"
BYTES_PER_JOB = 8_000
"""With its index, and with as much again in the WAL while the index is built."""

LIMIT = 50
MEASURE_S = 1.5
"""For each query, so many times as fit, but never less often than MINIMUM."""

MINIMUM = 5
LOAD_ALL_UP_TO = 100_000

PAGE_GOAL = "<= 1.5"
TOTAL_GOAL = "<= 3"
GROWTH_GOAL = "<= 1.5"

HOT = (
    "page 1", "keyset page, deep", "state+project+tag page", "reader's page 1", "reader's keyset page, deep",
    "reader's own page 1",
)  # fmt: skip
READER = OWNERS[0]

Seconds = list[float]
Work = Callable[[], object]


def rows(directory: Path) -> Iterator[Row]:
    """Yield p50 and p99 of each query at each size, as ratios, and the growth from the smallest to the largest."""
    sizes = [int(size) for size in os.environ.get("BENCH_JOBS", SIZES).split(",")]
    built: list[Path] = []
    for size in sizes:
        free = shutil.disk_usage(directory).free
        if free < size * BYTES_PER_JOB:
            print(f"library_store: {size:,} jobs are skipped: {free / 1e9:.1f} GB are free in {directory}")
            continue
        path = directory / f"jobs-{size}.db"
        yield from _build(path, size)
        yield from _measure(path, size)
        built.append(path)
    if len(built) > 1:
        yield from _growth(built[0], built[-1])


def _build(path: Path, size: int) -> Iterator[Row]:
    started = time.perf_counter()
    store = JobStore(path)
    fill(store, size)
    store.close()
    yield Row(f"rows and index of {size:,} jobs", time.perf_counter() - started, "s")
    yield Row(f"jobs.db of {size:,} jobs", path.stat().st_size / 2**20, "MiB")


def _measure(path: Path, size: int) -> Iterator[Row]:
    with closing(open_readonly(path)) as connection:
        shapes = _shapes(connection)
        exact = shapes["state+project+tag page"].filter
        totals = {"none": JobFilter(), "state": JobFilter("DONE"), "state+project+tag": exact}
        totals["reader's"] = JobFilter(reader=READER)
        keys = [key for key, _ in read_page(connection, shapes["page 1"]).rows]
        work: dict[str, Work] = {"gets": partial(_gets, connection, keys)}
        work |= {name: partial(read_page, connection, query) for name, query in shapes.items()}
        for name, wanted in totals.items():
            work[f"exact total, {name}"] = partial(plan_page, connection, PageQuery(LIMIT, filter=wanted))
        timed = _interleaved(work)
    gets, page = statistics.median(timed["gets"]), statistics.median(timed["page 1"])
    yield Row(f"{LIMIT} gets, {size:,} jobs, p50", 1000 * gets, "ms")
    for name in shapes:
        goal = PAGE_GOAL if name in HOT else None
        yield Row(f"{name}, {size:,} jobs, p50", statistics.median(timed[name]) / gets, "x", "50 gets", goal)
        yield Row(f"{name}, {size:,} jobs, p99", 1000 * percentile(timed[name], 0.99), "ms")
    for total in totals:
        name = f"exact total, {total}"
        yield Row(f"{name}, {size:,} jobs, p50", statistics.median(timed[name]) / page, "x", "page 1", TOTAL_GOAL)
    if size <= LOAD_ALL_UP_TO:
        slow = min(_load_all(path, exact) for _ in range(2))
        fast = statistics.median(timed["state+project+tag page"])
        yield Row(f"state+project+tag page, {size:,} jobs", slow / fast, "x faster", "load all, filter, sort")


def _shapes(connection: sqlite3.Connection) -> dict[str, PageQuery]:
    (project,) = connection.execute("SELECT name FROM job_projects ORDER BY n DESC LIMIT 1").fetchone()
    (size,) = connection.execute("SELECT count(*) FROM job_index").fetchone()
    (deep,) = connection.execute("SELECT place FROM job_index LIMIT 1 OFFSET ?", (size // 3,)).fetchone()
    return {
        "page 1": PageQuery(LIMIT),
        "keyset page, deep": PageQuery(LIMIT, before=deep),
        "state+project+tag page": PageQuery(LIMIT, filter=JobFilter("DONE", project=project, tag="news")),
        "state page": PageQuery(LIMIT, filter=JobFilter("DONE")),
        "offset page, n/2": PageQuery(LIMIT, offset=size * 9 // 20),
        "offset page, last": PageQuery(LIMIT, offset=size * 9 // 10 - size // 100),
        "reader's page 1": PageQuery(LIMIT, filter=JobFilter(reader=READER)),
        "reader's keyset page, deep": PageQuery(LIMIT, before=deep, filter=JobFilter(reader=READER)),
        "reader's own page 1": PageQuery(LIMIT, filter=JobFilter(reader=READER, owner=READER)),
        "reader's state page": PageQuery(LIMIT, filter=JobFilter("DONE", reader=READER)),
        "reader's offset page, n/2": PageQuery(LIMIT, offset=size // 25, filter=JobFilter(reader=READER)),
        "reader's q common": PageQuery(LIMIT, filter=JobFilter(text=COMMON_TEXT, reader=READER)),
        "q common": PageQuery(LIMIT, filter=JobFilter(text=COMMON_TEXT)),
        "q rare": PageQuery(LIMIT, filter=JobFilter(text=RARE_TEXT)),
    }


def _growth(small: Path, large: Path) -> Iterator[Row]:
    """Yield the p50 of the large file over that of the small one, both timed by turns."""
    with closing(open_readonly(small)) as one, closing(open_readonly(large)) as other:
        of = {connection: _shapes(connection) for connection in (one, other)}
        work = {
            f"{name} {at}": partial(read_page, connection, of[connection][name])
            for name in HOT
            for at, connection in (("small", one), ("large", other))
        }
        timed = _interleaved(work)
    for name in HOT:
        value = statistics.median(timed[f"{name} large"]) / statistics.median(timed[f"{name} small"])
        yield Row(f"{name}, {large.stem}", value, "x", small.stem, GROWTH_GOAL)


def _interleaved(work: Mapping[str, Work]) -> dict[str, Seconds]:
    """Time all by turns, so that a busy moment of the machine falls on each alike."""
    timed: dict[str, Seconds] = {name: [] for name in work}
    for function in work.values():
        function()
    deadline = time.perf_counter() + MEASURE_S * len(work)
    while time.perf_counter() < deadline or any(len(seconds) < MINIMUM for seconds in timed.values()):
        for name, function in work.items():
            slow = sum(timed[name]) > MEASURE_S and len(timed[name]) >= MINIMUM
            if not slow:
                started = time.perf_counter()
                function()
                timed[name].append(time.perf_counter() - started)
    return timed


def _gets(connection: sqlite3.Connection, keys: list[str]) -> list[bytes]:
    found = (connection.execute("SELECT value FROM jobs WHERE key = ?", (key,)).fetchone() for key in keys)
    return [value.encode() for (value,) in found]


def _load_all(path: Path, wanted: JobFilter) -> float:
    """Return the seconds that a plain SqliteDict takes for the same page and total."""
    started = time.perf_counter()
    with SqliteDict(str(path), "jobs", flag="r", encode=json.dumps, decode=json.loads, journal_mode="WAL") as jobs:
        found = [
            job
            for job in jobs.values()
            if job["state"] == wanted.state
            and job["project_name"] == wanted.project
            and wanted.tag in job["tags"]
            and not job["archived"]
        ]
        found.sort(key=lambda job: job["created_at"], reverse=True)
        json.dumps({"items": found[:LIMIT], "total": len(found)})
    return time.perf_counter() - started
