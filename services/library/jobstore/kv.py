"""One key-value table of jobs.db: sqlitedict's format, our codec, the shared connection.

Lives here: the one subclass of SqliteDict. Does not live here: the connection (`connection`), the codec (`codec`).
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sqlitedict import SqliteDict

from services.library.jobstore.codec import dumps_text, loads_text
from services.library.jobstore.connection import SharedConnection

_UPSERT = 'INSERT INTO "{table}" (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value'
"""Not sqlitedict's REPLACE: rows keep their place in the file, and update triggers see what really changed."""


class KV(SqliteDict):  # type: ignore[misc]  # sqlitedict has no types
    """A mapping of keys to JSON values. Raises ForeignRowError for a row that is not JSON text, sqlite3.Error."""

    def __init__(self, shared: SharedConnection, table: str, path: Path) -> None:
        self._shared = shared
        self._upsert = _UPSERT.format(table=table)
        super().__init__(
            str(path), table, autocommit=True, journal_mode="WAL", encode=dumps_text, decode=loads_text
        )  # fmt: skip

    def _new_conn(self) -> SharedConnection:
        return self._shared

    def __setitem__(self, key: str, value: Any) -> None:
        self._shared.execute(self._upsert, (key, dumps_text(value)))

    def put_text(self, key: str, text: str) -> None:
        """Write a value that is JSON text already."""
        self._shared.execute(self._upsert, (key, text))

    def update(self, items: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), **more: Any) -> None:
        """Write several rows, in one transaction."""
        pairs = items.items() if isinstance(items, Mapping) else items
        self._shared.executemany(self._upsert, ((key, dumps_text(value)) for key, value in [*pairs, *more.items()]))
