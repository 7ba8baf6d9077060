"""The one writing connection of jobs.db, in the shape that SqliteDict expects of a connection.

Lives here: opening, the lock, transactions. Does not live here: tables (`schema`), values (`codec`), reading for
HTTP (`reader`).
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BUSY_TIMEOUT_S = 5.0
CACHE_KIB = 64 * 1024
MMAP_BYTES = 4 << 30


class SharedConnection:
    """What SqliteDict expects of a connection, over one SQLite connection for all of its tables; no thread of its own.

    Any thread may use it; a transaction holds the lock, so that two never mix.
    """

    autocommit = True

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises sqlite3.Error."""
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            # NORMAL: a power cut may take the last transactions, cursor included; the log gives them back.
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            self._connection.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")
            self._connection.execute("PRAGMA temp_store = MEMORY")
        except sqlite3.Error:
            self._connection.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what happens inside one unit; a nested one joins its outer. Raises sqlite3.Error."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself rolls back on some errors, a full disk for one
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def exclusive(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection itself to one thread, outside of any transaction of ours."""
        with self._lock:
            assert not self._connection.in_transaction, "a transaction is open"
            yield self._connection

    def execute(self, sql: str, parameters: tuple[Any, ...] = ()) -> None:
        with self._lock:
            self._connection.execute(sql, parameters)

    def executemany(self, sql: str, items: Iterable[tuple[Any, ...]]) -> None:
        with self.transaction():
            self._connection.executemany(sql, items)

    def select(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()

    def select_one(self, sql: str, parameters: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        with self._lock:
            row: tuple[Any, ...] | None = self._connection.execute(sql, parameters).fetchone()
            return row

    def commit(self, blocking: bool = True) -> None:
        """Nothing to do: a statement outside of `transaction` has committed, one inside commits with it."""

    def close(self, force: bool = False) -> None:
        """Nothing to do: one table does not close the others' connection; `shut` does."""

    def shut(self) -> None:
        with self._lock:
            self._connection.close()
