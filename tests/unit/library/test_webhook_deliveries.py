"""The queue on disk: nothing twice, nothing lost, and its limits."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.library.webhooks import deliveries
from services.library.webhooks.changes import Add, Change, DropAll, FailWaiting, SendAgain, SendWaitingNow
from services.library.webhooks.deliveries import DeliveryStore, Due, Health, Position, open_deliveries
from services.library.webhooks.retries import DAY, Outcome, Schedule, Verdict

OK, DOWN = Outcome(204, None, 5), Outcome(None, "ConnectError", 5)
DELIVERED = Verdict("delivered")
SCHEDULE = Schedule(jitter=lambda: 1.0)
A, B = "hook_a", "hook_b"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DeliveryStore]:
    opened = open_deliveries(tmp_path / "webhooks.db")
    yield opened
    opened.close()


def add(number: int, webhook: str = A, kind: str = "job.completed") -> Add:
    return Add(f"msg_{webhook}_{number}", webhook, number, kind, "job", b"{}")


def put(store: DeliveryStore, *changes: Change, now: float = 100.0) -> None:
    store.commit(changes, Position(9, "d"), now)


def due(store: DeliveryStore, now: float = 100.0, limit: int = 10, busy: tuple[str, ...] = ()) -> list[Due]:
    return store.due(now, {A: limit, B: limit}, busy)[0]


def later(store: DeliveryStore, what: Due, at: float, again: float) -> float | None:
    return store.record(what, at, DOWN, Verdict("pending", again), SCHEDULE)


def states(store: DeliveryStore, webhook: str = A) -> list[str]:
    return [item["state"] for item in store.page(webhook, 100, None)[0]]


def test_the_same_batch_twice_makes_each_message_once(store: DeliveryStore) -> None:
    put(store, add(1), add(2))
    put(store, add(1), add(2), now=200)
    assert [each.id for each in due(store)] == ["msg_hook_a_1", "msg_hook_a_2"]


def test_messages_and_cursor_are_one_transaction(store: DeliveryStore) -> None:
    assert store.position() is None
    with pytest.raises(sqlite3.IntegrityError):
        store.commit([add(1), Add("x", A, 1, "t", None, None)], Position(5), 100.0)  # type: ignore[arg-type]
    assert store.position() is None
    assert due(store) == []
    put(store, add(1))
    assert store.position() == Position(9, "d")


def test_a_crash_keeps_what_was_committed(store: DeliveryStore, tmp_path: Path) -> None:
    put(store, add(1))
    again = open_deliveries(tmp_path / "webhooks.db")  # the first was never closed
    assert [each.id for each in due(again)] == ["msg_hook_a_1"]
    assert again.position() == Position(9, "d")
    assert again._connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    again.close()


def test_a_damaged_file_is_kept_and_a_new_one_begins(store: DeliveryStore, tmp_path: Path) -> None:
    store.close()
    (tmp_path / "webhooks.db").write_bytes(b"no database" * 1000)
    fresh = open_deliveries(tmp_path / "webhooks.db")
    assert fresh.position() is None
    assert len(list(tmp_path.glob("webhooks.db.damaged-*"))) == 1
    fresh.close()


def test_each_webhook_gets_its_own_room_so_that_a_slow_one_blocks_nobody(store: DeliveryStore) -> None:
    put(store, *(add(n) for n in range(50)), *(add(n, B) for n in range(3)))
    found, soonest = store.due(100.0, {A: 2, B: 2}, [])
    assert [each.webhook for each in found] == [A, A, B, B]
    assert soonest is None
    found, _ = store.due(100.0, {A: 1, B: 2}, [found[0].id, found[2].id])
    assert [each.id for each in found] == ["msg_hook_a_1", "msg_hook_b_1", "msg_hook_b_2"]


def test_what_is_due_later_says_when(store: DeliveryStore) -> None:
    put(store, add(1), add(2, B))
    for what, again in zip(due(store), (160.0, 130.0), strict=True):
        later(store, what, 100.0, again)
    assert store.due(120.0, {A: 2, B: 2}, []) == ([], 130.0)
    assert [each.webhook for each in due(store, 130.0)] == [B]
    assert [each.tries for each in due(store, 130.0)] == [1]


def test_the_delivery_log_tells_every_attempt(store: DeliveryStore) -> None:
    put(store, add(1))
    later(store, due(store)[0], 100.0, 105.0)
    store.record(due(store, 105.0)[0], 105.0, OK, DELIVERED, SCHEDULE)
    (item,), more = store.page(A, 10, None)
    assert more is None
    assert item == {
        "id": "msg_hook_a_1", "type": "job.completed", "job_id": "job", "seq": 1, "state": "delivered",
        "created_at": "1970-01-01T00:01:40.000Z", "next_attempt_at": None,
        "attempts": [
            {"at": "1970-01-01T00:01:40.000Z", "status": None, "error": "ConnectError", "duration_ms": 5},
            {"at": "1970-01-01T00:01:45.000Z", "status": 204, "error": None, "duration_ms": 5},
        ],
    }  # fmt: skip


def test_pages_of_the_log_meet_every_message_once_although_new_ones_come(store: DeliveryStore) -> None:
    put(store, *(add(n) for n in range(7)))
    seen: list[int] = []
    below: int | None = None
    while True:
        items, below = store.page(A, 3, below)
        seen += [item["seq"] for item in items]
        put(store, add(100 + len(seen)))
        if below is None:
            break
    assert seen == [6, 5, 4, 3, 2, 1, 0]


def test_a_disabled_webhook_gives_up_what_waits_but_its_test(store: DeliveryStore) -> None:
    put(store, add(1), add(2, kind="webhook.test"), add(3, B), FailWaiting(A, "gone"))
    assert [(each.webhook, each.type) for each in due(store)] == [(A, "webhook.test"), (B, "job.completed")]
    assert store.page(A, 10, None)[0][1]["attempts"][0]["error"] == "gone"


def test_a_failure_that_ends_after_the_webhook_was_disabled_does_not_revive_the_message(store: DeliveryStore) -> None:
    put(store, add(1), add(2))
    first, second = due(store)
    put(store, FailWaiting(A, "off"))
    later(store, first, 100.0, 105.0)
    store.record(second, 100.0, OK, DELIVERED, SCHEDULE)  # this one did arrive
    assert states(store) == ["delivered", "failed"]


def test_an_old_message_is_sent_again_with_all_its_retries(store: DeliveryStore) -> None:
    put(store, add(1))
    store.record(due(store)[0], 100.0, OK, DELIVERED, SCHEDULE)
    put(store, SendAgain("msg_hook_a_1", B), SendAgain("msg_unknown", A))
    assert due(store) == []
    put(store, SendAgain("msg_hook_a_1", A), now=300)
    assert [each.tries for each in due(store, 300)] == [0]


def test_a_deleted_webhook_leaves_nothing_even_of_an_attempt_under_way(store: DeliveryStore) -> None:
    put(store, add(1), add(2, B))
    what = due(store)[0]
    put(store, DropAll(A))
    assert later(store, what, 100.0, 105.0) is None
    assert states(store) == []
    assert store.health() == {B: Health(1, None)}


def test_a_streak_of_failures_is_ended_by_a_success_a_change_and_a_pause(store: DeliveryStore) -> None:
    put(store, add(1))
    assert later(store, due(store)[0], 100.0, 101.0) == 100.0
    assert later(store, due(store, 101)[0], 100 + DAY, 101.0) == 100.0
    assert store.health() == {A: Health(1, 100.0)}
    assert later(store, due(store, 101)[0], 100 + 4 * DAY, 101.0) == 100 + 4 * DAY  # nothing was tried for three days
    put(store, SendWaitingNow(A))
    assert later(store, due(store)[0], 200.0, 101.0) == 200.0
    assert store.record(due(store, 101)[0], 300.0, OK, DELIVERED, SCHEDULE) is None
    assert store.health() == {}


def test_a_failed_test_says_nothing_about_the_webhook(store: DeliveryStore) -> None:
    put(store, add(1, kind="webhook.test"))
    assert store.record(due(store)[0], 100.0, DOWN, Verdict("failed"), SCHEDULE) is None
    assert store.health() == {}


def test_the_log_is_kept_for_a_month_and_for_so_many(store: DeliveryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "FINISHED_MAX", 3)
    put(store, *(add(n) for n in range(5)), add(9, B))
    for what in due(store, limit=5)[:5]:
        store.record(what, 100.0, OK, DELIVERED, SCHEDULE)
    store.prune(200.0)
    assert [item["seq"] for item in store.page(A, 10, None)[0]] == [4, 3, 2]
    assert states(store, B) == ["pending"]  # what waits is not counted
    store.prune(101.0 + 30 * DAY)
    assert states(store) + states(store, B) == []


def test_the_queue_of_a_dead_receiver_is_bounded(store: DeliveryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "WAITING_MAX", 3)
    put(store, *(add(n) for n in range(5)), add(9, B))
    assert states(store) == ["pending"] * 3 + ["failed"] * 2
    assert states(store, B) == ["pending"]


def test_the_hot_queries_use_their_indexes(store: DeliveryStore) -> None:
    put(store, add(1))
    for sql, index in (
        ("SELECT id FROM deliveries WHERE webhook = 'a' AND state = 'pending' ORDER BY next_at LIMIT 2", "waiting"),
        ("SELECT id FROM deliveries WHERE webhook = 'a' AND place < 9 ORDER BY place DESC LIMIT 2", "deliveries_of"),
    ):
        plan = " ".join(row["detail"] for row in store._connection.execute(f"EXPLAIN QUERY PLAN {sql}"))
        assert index in plan
        assert "B-TREE" not in plan
