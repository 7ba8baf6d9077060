"""The queue of deliveries, `_state/webhooks.db`: what is to be sent, what was tried, and how far the log was read.

Lives here: the file. Synchronous: it owns the dispatcher's thread. Every transaction is on the disk when it returns;
the cursor moves in the same one as the messages that it stands for. It is a queue of side effects and no projection:
losing it loses the delivery log and what was waiting, never a job.
Does not live here: who wants what (`subscriptions`), and when to try again (`retries`).
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, assert_never

import orjson
import structlog

from services.library.webhooks.changes import Add, Change, DropAll, FailWaiting, SendAgain, SendWaitingNow
from services.library.webhooks.retries import DAY, Outcome, Schedule, Verdict
from shared.layout import Layout
from shared.webhooks import TEST_EVENT

KEPT_S = 30 * DAY
FINISHED_MAX = 10_000
WAITING_MAX = 10_000
"""Messages that may wait for one webhook; beyond it the oldest are given up."""
ATTEMPTS_SHOWN = 20
BUSY_TIMEOUT_S = 5.0

TOO_MANY = "too many newer messages wait for this webhook"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
  place INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  webhook TEXT NOT NULL,
  seq INTEGER NOT NULL,
  type TEXT NOT NULL,
  job_id TEXT,
  body BLOB NOT NULL,
  created_at REAL NOT NULL,
  state TEXT NOT NULL,
  tries INTEGER NOT NULL,
  next_at REAL,
  attempts TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_waiting ON deliveries (webhook, next_at) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS deliveries_of ON deliveries (webhook, place);
CREATE TABLE IF NOT EXISTS streaks (webhook TEXT PRIMARY KEY, since REAL NOT NULL, last REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS position (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  seq INTEGER NOT NULL,
  digest TEXT NOT NULL
) STRICT;
"""

log = structlog.get_logger()


@dataclass(frozen=True)
class Position:
    """How far the log was read: the last event's sequence, and what tells that event from any other."""

    seq: int = 0
    digest: str = ""


@dataclass(frozen=True)
class Due:
    """A message that is to be sent now; `tries` attempts were made in this round."""

    id: str
    webhook: str
    type: str
    body: bytes
    tries: int


@dataclass(frozen=True)
class Health:
    """How a webhook does: what waits for it, and since when it only fails (seconds since the epoch)."""

    pending: int = 0
    failing_since: float | None = None


def database(layout: Layout) -> Path:
    """Return where the queue lies."""
    return layout.state / "webhooks.db"


def open_deliveries(path: Path) -> "DeliveryStore":
    """Open the queue, or a new one if the file is damaged; the damaged one is kept beside it. Raises sqlite3.Error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return DeliveryStore(path)
    except sqlite3.OperationalError:
        raise  # a full disk or a lock is no damage
    except sqlite3.DatabaseError as error:
        kept = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        log.error("webhooks_db_damaged", kept_as=kept.name, error=str(error))
        for suffix in ("", "-wal", "-shm"):
            damaged = path.with_name(path.name + suffix)
            if damaged.exists():
                damaged.replace(kept.with_name(kept.name + suffix))
        return DeliveryStore(path)


class DeliveryStore:
    """The queue. Times are seconds since the epoch."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            self._connection.row_factory = sqlite3.Row
            found = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # some errors have ended it already
                self._connection.execute("ROLLBACK")
            raise

    def position(self) -> Position | None:
        """Return how far the log was read; None in a new file."""
        row = self._connection.execute("SELECT seq, digest FROM position").fetchone()
        return Position(row["seq"], row["digest"]) if row else None

    def commit(self, changes: Sequence[Change], position: Position, now: float) -> None:
        """Make the changes of a batch and move the cursor behind it, all or nothing. Raises sqlite3.Error."""
        with self._transaction() as connection:
            for change in changes:
                _apply(connection, change, now)
            for webhook in {change.webhook for change in changes if isinstance(change, Add)}:
                _give_up_oldest(connection, webhook)
            connection.execute("REPLACE INTO position VALUES (1, ?, ?)", (position.seq, position.digest))

    def due(self, now: float, room: Mapping[str, int], busy: Iterable[str]) -> tuple[list[Due], float | None]:
        """Return up to `room[webhook]` messages of each webhook that are due and not `busy`, the longest due first.

        Also returns when the next one that is not due yet will be.
        """
        under_way = set(busy)
        found: list[Due] = []
        soonest: list[float] = []
        for webhook, limit in room.items():
            rows = self._connection.execute(
                "SELECT id, webhook, type, body, tries, next_at FROM deliveries"
                " WHERE webhook = ? AND state = 'pending' ORDER BY next_at LIMIT ?",
                (webhook, limit + len(under_way) + 1),
            )
            ready = [row for row in rows if row["id"] not in under_way]
            later = [row["next_at"] for row in ready if row["next_at"] > now]
            soonest += later[:1]
            taken = ready[: min(limit, len(ready) - len(later))]
            found += [Due(row["id"], row["webhook"], row["type"], row["body"], row["tries"]) for row in taken]
        return found, min(soonest, default=None)

    def record(self, due: Due, at: float, outcome: Outcome, verdict: Verdict, schedule: Schedule) -> float | None:
        """Remember an attempt begun at `at`, and return since when its webhook has only failed, if it has.

        A message that was given up or asked for again meanwhile stays so, unless it was delivered.
        Raises sqlite3.Error.
        """
        entry = {
            "at": printed_time(at),
            "status": outcome.status,
            "error": outcome.error,
            "duration_ms": outcome.duration_ms,
        }
        with self._transaction() as connection:
            row = connection.execute("SELECT state, tries, attempts FROM deliveries WHERE id = ?", (due.id,)).fetchone()
            if row is None:
                return None  # its webhook was deleted
            attempts = orjson.dumps([*orjson.loads(row["attempts"]), entry][-ATTEMPTS_SHOWN:]).decode()
            current = row["state"] == "pending" and row["tries"] == due.tries
            if outcome.ok or current:
                connection.execute(
                    "UPDATE deliveries SET state = ?, next_at = ?, tries = ?, attempts = ? WHERE id = ?",
                    (verdict.state, verdict.next_at, due.tries + 1, attempts, due.id),
                )
            else:
                connection.execute("UPDATE deliveries SET attempts = ? WHERE id = ?", (attempts, due.id))
            if due.type == TEST_EVENT and not outcome.ok:
                return None
            return _streak(connection, due.webhook, at, schedule, ok=outcome.ok)

    def page(self, webhook: str, limit: int, below: int | None) -> tuple[list[dict[str, Any]], int | None]:
        """Return deliveries of a webhook, the newest first, and where the next page goes on."""
        rows = self._connection.execute(
            "SELECT place, id, type, job_id, seq, created_at, state, next_at, attempts FROM deliveries"
            " WHERE webhook = ? AND place < ? ORDER BY place DESC LIMIT ?",
            (webhook, below if below is not None else 1 << 62, limit + 1),
        ).fetchall()
        more = rows[limit - 1]["place"] if len(rows) > limit else None
        return [_shown(row) for row in rows[:limit]], more

    def health(self) -> dict[str, Health]:
        """Return how each webhook does of which something is known."""
        counted = "SELECT webhook, count(*) AS n FROM deliveries WHERE state = 'pending' GROUP BY webhook"
        pending = {row["webhook"]: row["n"] for row in self._connection.execute(counted)}
        since = {row["webhook"]: row["since"] for row in self._connection.execute("SELECT webhook, since FROM streaks")}
        return {webhook: Health(pending.get(webhook, 0), since.get(webhook)) for webhook in pending | since}

    def prune(self, now: float) -> None:
        """Forget what is older than 30 days, and finished deliveries beyond the newest 10,000. Raises sqlite3.Error."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM deliveries WHERE created_at < ?", (now - KEPT_S,))
            connection.execute(
                "DELETE FROM deliveries WHERE state != 'pending' AND place <= (SELECT place FROM deliveries"
                " WHERE state != 'pending' ORDER BY place DESC LIMIT 1 OFFSET ?)",
                (FINISHED_MAX,),
            )


def _apply(connection: sqlite3.Connection, change: Change, now: float) -> None:
    match change:
        case Add():
            connection.execute(
                "INSERT INTO deliveries"
                " (id, webhook, seq, type, job_id, body, created_at, state, tries, next_at, attempts)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', 0, ?, '[]') ON CONFLICT (id) DO NOTHING",
                (change.id, change.webhook, change.seq, change.type, change.job_id, change.body, now, now),
            )
        case SendAgain():
            connection.execute(
                "UPDATE deliveries SET state = 'pending', tries = 0, next_at = ? WHERE id = ? AND webhook = ?",
                (now, change.id, change.webhook),
            )
        case DropAll():
            connection.execute("DELETE FROM deliveries WHERE webhook = ?", (change.webhook,))
            connection.execute("DELETE FROM streaks WHERE webhook = ?", (change.webhook,))
        case FailWaiting():
            waiting = "SELECT id, attempts FROM deliveries WHERE webhook = ? AND state = 'pending' AND type != ?"
            rows = connection.execute(waiting, (change.webhook, TEST_EVENT)).fetchall()
            _give_up(connection, rows, change.why, now)
        case SendWaitingNow():
            sooner = "UPDATE deliveries SET next_at = min(next_at, ?) WHERE webhook = ? AND state = 'pending'"
            connection.execute(sooner, (now, change.webhook))
            connection.execute("DELETE FROM streaks WHERE webhook = ?", (change.webhook,))
        case _:
            assert_never(change)


def _give_up(connection: sqlite3.Connection, rows: Sequence[sqlite3.Row], why: str, now: float) -> None:
    entry = {"at": printed_time(now), "status": None, "error": why, "duration_ms": 0}
    for row in rows:
        attempts = orjson.dumps([*orjson.loads(row["attempts"]), entry][-ATTEMPTS_SHOWN:]).decode()
        connection.execute(
            "UPDATE deliveries SET state = 'failed', next_at = NULL, attempts = ? WHERE id = ?", (attempts, row["id"])
        )


def _give_up_oldest(connection: sqlite3.Connection, webhook: str) -> None:
    rows = connection.execute(
        "SELECT id, attempts, created_at FROM deliveries WHERE webhook = ? AND state = 'pending'"
        " ORDER BY place DESC LIMIT -1 OFFSET ?",
        (webhook, WAITING_MAX),
    ).fetchall()
    if rows:
        log.warning("webhook_messages_given_up", webhook=webhook, messages=len(rows))
        _give_up(connection, rows, TOO_MANY, rows[0]["created_at"])


def _streak(connection: sqlite3.Connection, webhook: str, at: float, schedule: Schedule, *, ok: bool) -> float | None:
    if ok:
        connection.execute("DELETE FROM streaks WHERE webhook = ?", (webhook,))
        return None
    row = connection.execute("SELECT since, last FROM streaks WHERE webhook = ?", (webhook,)).fetchone()
    since = float(row["since"]) if row and at - row["last"] <= schedule.streak_gap else at
    connection.execute("REPLACE INTO streaks VALUES (?, ?, ?)", (webhook, since, at))
    return since


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "type": row["type"],
        "job_id": row["job_id"],
        "seq": row["seq"],
        "created_at": printed_time(row["created_at"]),
        "state": row["state"],
        "attempts": orjson.loads(row["attempts"]),
        "next_attempt_at": None if row["next_at"] is None else printed_time(row["next_at"]),
    }


def printed_time(seconds: float) -> str:
    """Return a time in seconds since the epoch as the API shows it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
