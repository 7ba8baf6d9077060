"""The readers' side of jobs.db: read-only connections in a few threads, off the event loop.

Lives here: threads and connections. Does not live here: what they run (`queries`).
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

READ_THREADS = 3
CACHE_KIB = 16 * 1024
MMAP_BYTES = 4 << 30
STATEMENTS = 256
"""Compiled statements kept for each connection: a page has few shapes, each costs more to compile than to run."""

T = TypeVar("T")


def open_readonly(path: Path) -> sqlite3.Connection:
    """Open a connection that cannot write, for any one thread at a time. Raises sqlite3.Error."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS
    )
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")
    return connection


class Reader:
    """A few threads with a read-only connection each."""

    def __init__(self, path: Path) -> None:
        """`path` must exist. Raises nothing: connections are opened at first use."""
        self._path = path
        self._local = threading.local()
        self._generation = 0
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._opened: list[sqlite3.Connection] = []
        self._threads = ThreadPoolExecutor(READ_THREADS, "jobs-db-reader")

    def _connection(self) -> sqlite3.Connection:
        found: tuple[int, sqlite3.Connection] | None = getattr(self._local, "found", None)
        if found is not None and found[0] == self._generation:
            return found[1]
        if found is not None:
            self._local.found = None
            self._forget(found[1])
        with self._opening:
            generation = self._generation
            opened = open_readonly(self._path)
            opened.execute("SELECT 1 FROM sqlite_schema").fetchone()  # SQLite opens the WAL at the first read
        with self._lock:
            self._opened.append(opened)
        self._local.found = (generation, opened)
        return opened

    def _forget(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            self._opened.remove(connection)
        connection.close()

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query in a reader's thread. Raises sqlite3.Error."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: query(self._connection()))

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Open nothing while the file is being replaced, and read the new one afterwards; running queries go on."""
        with self._opening:
            yield
            self.reopen()

    def reopen(self) -> None:
        """Read the file that is at the path now; queries that run finish on the old one."""
        self._generation += 1

    def close(self) -> None:
        self._threads.shutdown()
        for connection in self._opened:
            connection.close()
