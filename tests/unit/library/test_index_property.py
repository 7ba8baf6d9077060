"""Whatever writes to jobs.db, and in whatever order, the index is what a recount of the rows gives."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlitedict import SqliteDict

from services.library.jobstore.store import JobStore
from services.library.jobstore.verify import verify

KEYS = st.sampled_from(["a", "b", "c", "d"])
TEXTS = st.sampled_from(["", "film", "Straße", '"', "a\nb", "🎬"])
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "seq": st.one_of(st.integers(0, 3), st.integers(1 << 20, (1 << 20) + 2), st.none(), TEXTS),
        "created_at": st.sampled_from(["2026-01-02T03:04:05.000Z", "2025-01-02T03:04:05Z", "now", None, 5]),
        "owner_id": st.sampled_from(["local", "other", "*", "", None]),
        "visibility": st.sampled_from(["private", "shared", None, "*", 1]),
        "state": st.sampled_from(["DONE", "JobState.DONE", "QUEUED", None, 7]),
        "mode": st.sampled_from(["high", None]),
        "project_name": st.one_of(TEXTS, st.none()),
        "title": TEXTS,
        "tags": st.one_of(st.lists(TEXTS, max_size=3), TEXTS, st.none()),
        "archived": st.sampled_from([True, False, None, "yes", 1]),
        "base_dir": TEXTS,
        "progress": st.floats(0, 1),
        "outputs": st.lists(st.one_of(st.fixed_dictionaries({"path": TEXTS}), TEXTS), max_size=2),
    },
)
WRITES = st.lists(st.tuples(st.sampled_from(["ours", "theirs", "both", "delete", "bulk"]), KEYS, ROWS), max_size=12)


def write(store: JobStore, stock: dict[str, SqliteDict], how: str, key: str, row: dict[str, Any]) -> None:
    if how == "delete":
        for table in (store.jobs, store.job_outputs):
            table.pop(key, None)
    elif how == "theirs":
        for table in stock.values():
            table[key] = row
            table.commit()
    elif how == "bulk":
        with store.bulk():
            store.jobs[key] = row
            store.job_outputs[key] = row
    else:
        with store.transaction():
            store.jobs[key] = row
            if how == "both":
                store.job_outputs.update({key: row, "other": row})


@settings(max_examples=20)
@given(WRITES)
def test_any_mix_of_writers_leaves_the_index_that_a_recount_gives(
    writes: list[tuple[str, str, dict[str, Any]]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "jobs.db"
        store = JobStore(path)
        stock = {
            name: SqliteDict(str(path), name, encode=json.dumps, decode=json.loads, journal_mode="WAL")
            for name in ("jobs", "job_outputs")
        }
        for how, key, row in writes:
            write(store, stock, how, key, row)
        assert verify(path).differences == []
        for table in stock.values():
            table.close()
        store.close()
