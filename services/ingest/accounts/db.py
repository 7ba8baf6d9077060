"""auth.db: plain SQLite, numbered migrations, one connection for each thread.

Lives here: opening, migrating, and the two kinds of transaction. Does not live here: any table's meaning; the modules
beside this one are functions over a connection, and each public one says in which kind of transaction it runs.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from services.ingest.accounts.migrations import MIGRATIONS

BUSY_TIMEOUT_S = 5.0
THREADS = 4
"""Transactions here take well below a millisecond; hashing has threads of its own (`passwords`)."""

T = TypeVar("T")


class NewerDatabaseError(RuntimeError):
    """auth.db was written by a later version of Dubline; an older one must not touch it."""


class AuthDb:
    """The database. Every method may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open it and bring it up to date. Raises NewerDatabaseError, sqlite3.Error, OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="auth.db")
        path.touch(mode=0o600)
        self._migrate()

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction that nobody else writes beside; committed unless it raises."""
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            done = work(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return done

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on one state of the database."""
        connection = self._connection()
        connection.execute("BEGIN")
        try:
            return work(connection)
        finally:
            connection.execute("ROLLBACK")

    async def writing(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`write`, in a thread; once begun it is finished, also when the caller is cancelled."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.write, work)

    async def reading(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`read`, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.read, work)

    def close(self) -> None:
        """Wait for what runs, and close every connection."""
        self._threads.shutdown()
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # these rows exist nowhere else
            connection.execute("PRAGMA foreign_keys=ON")
            self._local.connection = connection
            with self._lock:
                self._open.append(connection)
        return connection

    def _migrate(self) -> None:
        def step(connection: sqlite3.Connection) -> None:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise NewerDatabaseError(f"{self._path} has version {version}; this Dubline knows {len(MIGRATIONS)}.")
            for number, statements in enumerate(MIGRATIONS[version:], version + 1):
                for statement in statements:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={number}")

        self.write(step)
