"""Security events: none gets lost while the broker is away, none holds anybody up, none carries a secret."""

import asyncio
import contextlib
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from services.ingest.accounts import audit as recording
from services.ingest.accounts import audit_outbox, audit_trail
from services.ingest.accounts.audit import REMOVED, Audit, event_of, scrub
from services.ingest.accounts.audit_trail import Asked, AuditTrail, Entry
from services.ingest.accounts.client import Client
from services.ingest.accounts.db import AuthDb
from shared.access.credentials import new_key, new_token
from shared.eventlog.memory import MemoryEventLog
from shared.eventlog.port import Expect, LogUnavailableError, Recorded
from shared.events.access import AuditRecorded
from shared.events.subjects import ALL_AUDIT, ALL_EVENTS
from shared.events.types import Event
from tests.factories import submitted
from tests.unit.ingest.accounts.accounts_db import ADMIN, CLIENT, EDITOR, VIEWER, opened


class SometimesLog(MemoryEventLog):
    """A log whose broker goes away."""

    away = False

    async def append(self, event: Event, expect: Expect | None = None) -> int:
        self._there()
        return await super().append(event, expect)

    async def read(self, subject: str = ALL_EVENTS, *, after: int = 0, limit: int = 256) -> list[Recorded]:
        self._there()
        return await super().read(subject, after=after, limit=limit)

    async def last(self, subject: str = ALL_EVENTS) -> Recorded | None:
        self._there()
        return await super().last(subject)

    def _there(self) -> None:
        if self.away:
            raise LogUnavailableError("not connected")

    def audited(self) -> list[AuditRecorded]:
        return [record.event for record in self.records if isinstance(record.event, AuditRecorded)]


@pytest.fixture
def log() -> SometimesLog:
    return SometimesLog()


@pytest.fixture
async def audit(log: SometimesLog) -> AsyncIterator[Audit]:
    found = Audit(log)
    async with running(found):
        yield found


@contextlib.asynccontextmanager
async def running(audit: Audit) -> AsyncIterator[None]:
    task = asyncio.create_task(audit.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def db(tmp_path: Path) -> Iterator[AuthDb]:
    found = opened(tmp_path)
    yield found
    found.close()


async def test_an_event_names_who_did_what_to_whom_and_from_where(audit: Audit, log: SometimesLog) -> None:
    audit.record(ADMIN, "user.disabled", about=EDITOR, client=CLIENT, role="editor", keys_left=2)
    assert await audit.settle(5)
    (record,) = await log.read(ALL_AUDIT)
    assert record.subject == f"dub.evt.audit.{ADMIN}"
    event = record.event
    assert isinstance(event, AuditRecorded)
    assert (event.actor, event.data.action, event.data.outcome, event.data.about) == (
        ADMIN, "user.disabled", "succeeded", EDITOR,
    )  # fmt: skip
    assert (event.data.address, event.data.agent) == (CLIENT.address, CLIENT.agent)
    assert event.data.detail == {"role": "editor", "keys_left": 2}


@pytest.mark.parametrize("actor", ["", "maria smith", "a.b", "*", ">", "u" * 65, "mär", "dubs_x", f"{EDITOR}\n"])
async def test_what_can_be_no_word_of_a_subject_is_nobodys(audit: Audit, log: SometimesLog, actor: str) -> None:
    audit.record(actor, "login", outcome="failed")
    assert await audit.settle(5)
    assert log.records[0].subject == "dub.evt.audit.anonymous"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", "hunter2"),
        ("new_password", "hunter2"),
        ("refresh_token", "x"),
        ("recovery_code", "12345"),
        ("totp", "123456"),
        ("api_key", "x"),
        ("src_text", "Guten Tag"),
        ("transcript", "Guten Tag"),
    ],
)
def test_what_is_called_a_secret_or_text_is_not_stored(name: str, value: str) -> None:
    assert scrub(name, value) == REMOVED


def test_ids_counts_and_words_are_stored() -> None:
    for name, value in {"key_id": "k0123456789abcdef", "tokens_left": 3, "method": "totp", "first": True}.items():
        assert scrub(name, value) == value


async def test_a_secret_in_the_wrong_place_is_not_stored_e8(
    audit: Audit, log: SometimesLog, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = [new_token("session"), new_token("refresh"), new_token("invite"), new_key("k0123456789abcdef"), "f" * 64]
    for secret in secrets:
        audit.record(secret, f"a {secret}", about=f"by {secret}", client=Client("", f"curl {secret}"), reason=secret)
    assert await audit.settle(5)
    assert len(log.records) == len(secrets)
    told = capsys.readouterr().out
    for record, secret in zip(log.records, secrets, strict=True):
        for part in secret.split("_"):
            if len(part) > 20:
                assert part.encode() not in record.raw
                assert part not in told
        assert REMOVED.encode() in record.raw


async def test_what_is_recorded_while_the_broker_is_away_comes_when_it_is_back(
    audit: Audit, log: SometimesLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "RETRY_S", 0.01)
    log.away = True
    for number in range(20):
        audit.record(EDITOR, "login", number=number)
    assert not await audit.settle(0.05)
    log.away = False
    assert await audit.settle(5)
    assert [event.data.detail["number"] for event in log.audited()] == list(range(20)), "in their order, each once"


async def test_what_is_recorded_before_the_start_comes_too(log: SometimesLog) -> None:
    audit = Audit(log)
    audit.record("local", "admin.created")
    async with running(audit):
        assert await audit.settle(5)
    assert len(log.audited()) == 1


async def test_the_buffer_is_bounded_and_the_oldest_go(
    audit: Audit, log: SometimesLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "RETRY_S", 0.01)
    monkeypatch.setattr(recording, "BUFFER_MAX", 5)
    log.away = True
    with structlog.testing.capture_logs() as told:
        for number in range(12):
            audit.record(EDITOR, "login", number=number)
            await asyncio.sleep(0)
    log.away = False
    assert await audit.settle(5)
    assert [event.data.detail["number"] for event in log.audited()] == [7, 8, 9, 10, 11]
    assert [line["event"] for line in told].count("audit_event_dropped") == 7
    assert [line["detail"]["number"] for line in told if line["event"] == "audit"] == list(range(12))


async def test_any_thread_may_record(audit: Audit, log: SometimesLog) -> None:
    threads = [threading.Thread(target=audit.record, args=(EDITOR, "login")) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    await asyncio.sleep(0)
    assert await audit.settle(5)
    assert len(log.audited()) == 50


async def test_recording_never_raises_whatever_it_is_given(audit: Audit, log: SometimesLog) -> None:
    audit.record(EDITOR, "login", outcome="nonsense")  # type: ignore[arg-type]
    audit.record(EDITOR, "login", gone=None, odd=object())  # type: ignore[arg-type]
    assert await audit.settle(5)
    assert [event.data.detail for event in log.audited()] == [{}]


async def test_closing_gives_what_waits_a_last_chance(log: SometimesLog) -> None:
    audit = Audit(log)
    async with running(audit):
        await asyncio.sleep(0)
        audit.record("local", "stopped")
        await audit.close()
    assert len(log.audited()) == 1


def actions(entries: list[Entry]) -> list[str]:
    return [entry.action for entry in entries]


async def test_the_trail_has_the_newest_first_also_of_other_days_e6(
    db: AuthDb, audit: Audit, log: SometimesLog
) -> None:
    """Predecessor E6: the audit endpoint shows only today's own events, and no admin may search."""
    for number in range(10):
        audit.record(EDITOR, f"e{number}")
        audit.record(VIEWER, f"v{number}")
    await audit.settle(5)
    for number, event in enumerate(log.audited()):
        old = event.model_copy(update={"time": event.time.replace(year=2020 + number // 2), "id": f"old{number}"})
        await log.append(old)
        await log.append(submitted())
    trail = AuditTrail(db, log, audit)
    assert actions(await trail.recent(Asked(user=EDITOR, own=True), 3)) == ["e9", "e8", "e7"]
    assert len(await trail.recent(Asked(), 200)) == 40
    since = log.audited()[0].time.replace(year=2025, month=1, day=1).timestamp()
    until = log.audited()[0].time.replace(year=2026, month=1, day=1).timestamp()
    assert actions(await trail.recent(Asked(since=since, until=until), 200))[-2:] == ["v5", "e5"]


async def test_filters_hold_together(db: AuthDb, audit: Audit, log: SometimesLog) -> None:
    audit.record(ADMIN, "user.disabled", about=EDITOR)
    audit.record("anonymous", "login", outcome="failed", about=EDITOR)
    audit.record(EDITOR, "login")
    audit.record(VIEWER, "login")
    trail = AuditTrail(db, log, audit)
    assert actions(await trail.recent(Asked(user=EDITOR), 10)) == ["login", "login", "user.disabled"]
    assert len(await trail.recent(Asked(user=EDITOR, outcome="failed"), 10)) == 1
    assert len(await trail.recent(Asked(action="login"), 10)) == 3
    assert len(await trail.recent(Asked(user=VIEWER, action="login", outcome="succeeded"), 10)) == 1
    assert await trail.recent(Asked(user=VIEWER, action="user.disabled"), 10) == []


async def test_one_sees_who_tried_ones_account_but_not_where_an_admin_sits(
    db: AuthDb, audit: Audit, log: SometimesLog
) -> None:
    audit.record(ADMIN, "user.changed", about=EDITOR, client=Client("10.0.0.1", "firefox"))
    audit.record("anonymous", "login", outcome="failed", about=EDITOR, client=Client("203.0.113.6", "hydra"))
    trail = AuditTrail(db, log, audit)
    tried, changed = await trail.recent(Asked(user=EDITOR, own=True), 10)
    assert (tried.address, changed.actor, changed.address, changed.agent) == ("203.0.113.6", ADMIN, "", "")
    assert (await trail.recent(Asked(user=EDITOR), 10))[1].address == "10.0.0.1"


async def test_reads_go_on_while_the_broker_is_away(db: AuthDb, audit: Audit, log: SometimesLog) -> None:
    audit.record(EDITOR, "login")
    trail = AuditTrail(db, log, audit)
    assert len(await trail.recent(Asked(), 10)) == 1
    log.away = True
    assert len(await trail.recent(Asked(), 10)) == 1


async def test_the_table_fills_itself_again_and_follows_a_restored_log(
    db: AuthDb, audit: Audit, log: SometimesLog
) -> None:
    for number in range(600):
        audit.record(EDITOR, f"e{number}")
    assert len(await AuditTrail(db, log, audit).recent(Asked(), 1000)) == 600
    db.write(lambda connection: connection.execute("DELETE FROM audit_events"))
    assert len(await AuditTrail(db, log, audit).recent(Asked(), 1000)) == 600
    restored = SometimesLog()
    await restored.append(log.audited()[0])
    assert actions(await AuditTrail(db, restored, audit).recent(Asked(), 1000)) == ["e0"]


async def test_an_event_that_was_stored_twice_is_shown_once(db: AuthDb, audit: Audit, log: SometimesLog) -> None:
    audit.record(EDITOR, "login")
    await audit.settle(5)
    await log.append_raw(log.records[0].subject, log.records[0].raw, "as if the broker had forgotten its id")
    await log.append_raw(log.records[0].subject, b'{"of": "another version"}', "undecodable")
    audit.record(EDITOR, "logout")
    assert actions(await AuditTrail(db, log, audit).recent(Asked(), 10)) == ["logout", "login"]


def left(db: AuthDb, number: int) -> str:
    """Record an event as another process does; return its id."""
    event = event_of("local", "user.created", "succeeded", EDITOR, Client(agent="dubline admin"), {"number": number})
    db.write(lambda connection: audit_outbox.leave(connection, event))
    return event.id


async def test_what_another_process_recorded_comes_to_the_log_in_its_order_and_once(
    db: AuthDb, audit: Audit, log: SometimesLog
) -> None:
    wanted = [left(db, number) for number in range(5)]
    log.away = True
    await audit_outbox.send(db, audit.store)
    assert log.records == []
    log.away = False
    for _ in range(2):
        await audit_outbox.send(db, audit.store)
    assert [event.id for event in log.audited()] == wanted
    assert log.audited()[0].actor == "local"


async def test_an_event_whose_row_could_not_be_removed_is_in_the_log_once(
    db: AuthDb, audit: Audit, log: SometimesLog
) -> None:
    left(db, 1)
    await asyncio.gather(*(audit_outbox.send(db, audit.store) for _ in range(3)))
    assert len(log.audited()) == 1


async def test_a_change_that_is_undone_leaves_no_record(db: AuthDb, audit: Audit, log: SometimesLog) -> None:
    def change(connection: sqlite3.Connection) -> None:
        audit_outbox.leave(connection, event_of("local", "user.created", "succeeded", EDITOR, Client(), {}))
        raise sqlite3.IntegrityError

    with pytest.raises(sqlite3.IntegrityError):
        db.write(change)
    await audit_outbox.send(db, audit.store)
    assert log.records == []


async def test_a_question_is_answered_with_what_another_process_recorded_just_now(
    db: AuthDb, audit: Audit, log: SometimesLog
) -> None:
    trail = AuditTrail(db, log, audit)
    left(db, 7)
    (entry,) = await trail.recent(Asked(user=EDITOR), 10)
    assert (entry.actor, entry.agent, entry.detail) == ("local", "dubline admin", {"number": 7})


async def test_the_table_is_bounded(db: AuthDb, audit: Audit, log: SometimesLog) -> None:
    for number in range(30):
        audit.record(EDITOR, f"e{number}")
    trail = AuditTrail(db, log, audit)
    await audit.settle(5)
    await trail.catch_up()
    assert db.write(lambda connection: audit_trail.prune(connection, 10)) == 20
    assert actions(await trail.recent(Asked(), 100)) == [f"e{number}" for number in range(29, 19, -1)]
    assert json.loads(log.records[0].raw)["data"]["action"] == "e0", "the log keeps it"
