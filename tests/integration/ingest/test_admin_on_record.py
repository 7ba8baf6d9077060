"""`dubline admin` on record: each change is in the log, whatever ran when it was made. The command is the real one."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from services.ingest.accounts import invites, users
from services.ingest.accounts.db import AuthDb
from shared.events.access import AuditRecorded
from shared.events.subjects import audit_subject
from shared.identity import LOCAL_OWNER
from shared.layout import Layout
from tests.broker import BinaryBroker, free_port
from tests.integration.ingest.conftest import make_streams
from tests.integration.ingest.service import event_log, running_ingest

PASSWORD = "correct horse battery staple"
ACTIONS = ["user.created", "invite.created", "password.reset_made"]


def dubline_admin(data: Path, *arguments: str) -> str:
    """Run the command, with the password on its input; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "services.standalone", "admin", *arguments],
        env={**os.environ, "DUBLINE_DATA_DIR": str(data)},
        input=f"{PASSWORD}\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def change_accounts(data: Path) -> list[str]:
    """Make a user, an invite and a reset; return the two tokens."""
    dubline_admin(data, "create", "maria", "--role", "editor", "--password-stdin")
    invite = dubline_admin(data, "invite", "--role", "viewer", "--hours", "2")
    reset = dubline_admin(data, "reset-password", "maria")
    return [address.partition("#")[2] for address in (invite, reset)]


async def recorded(url: str, count: int) -> list[tuple[AuditRecorded, bytes]]:
    """Return what the log has of this machine's operator, with the bytes, once there is so much."""
    async with event_log(url) as log, asyncio.timeout(20):
        while True:
            found = [
                (record.event, record.raw)
                for record in await log.read(audit_subject(LOCAL_OWNER))
                if isinstance(record.event, AuditRecorded)
            ]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.05)


def abouts(layout: Layout) -> list[str]:
    """Return the ids of what was changed, in the order of `ACTIONS`."""
    db = AuthDb(layout.auth_db)
    try:
        maria = db.read(lambda connection: users.by_name(connection, "maria"))
        (invite,) = db.read(invites.everyone)
    finally:
        db.close()
    assert maria is not None
    return [maria.id, invite.id, maria.id]


async def test_what_the_operator_changes_while_all_runs_is_in_the_log_within_seconds_and_has_no_secret(
    own_broker: BinaryBroker, tmp_path: Path
) -> None:
    with running_ingest(tmp_path / "data", own_broker.url) as ingest:
        tokens = await asyncio.to_thread(change_accounts, ingest.layout.data)
        found = await recorded(own_broker.url, len(ACTIONS))
        assert [event.data.action for event, _ in found] == ACTIONS
        assert [event.data.about for event, _ in found] == abouts(ingest.layout)
        assert [event.data.detail for event, _ in found] == [{"role": "editor"}, {"role": "viewer", "hours": 2}, {}]
        assert {(event.actor, event.data.agent, event.data.outcome) for event, _ in found} == {
            (LOCAL_OWNER, "dubline admin", "succeeded")
        }
        for secret in (PASSWORD, *tokens):
            assert all(secret.encode() not in raw for _, raw in found)
        with ingest.client() as operator:
            items = operator.get("/api/audit/recent", params={"user": LOCAL_OWNER}).json()["items"]
        assert [item["action"] for item in items] == ACTIONS[::-1]


async def test_what_the_operator_changes_while_nothing_runs_is_in_the_log_when_it_can_be(tmp_path: Path) -> None:
    data, broker = tmp_path / "data", BinaryBroker(tmp_path, free_port())
    await asyncio.to_thread(dubline_admin, data, "invite", "--role", "admin")
    try:
        with running_ingest(data, broker.url, ready=False) as ingest:
            with ingest.client() as operator:
                answer = await asyncio.to_thread(operator.get, "/api/audit/recent")
            assert answer.json() == {"items": []}, "what the log has not is not told"
            await asyncio.to_thread(broker.start)
            await make_streams(broker.url)
            ((event, _),) = await recorded(broker.url, 1)
        assert (event.data.action, event.data.detail) == ("invite.created", {"role": "admin", "hours": 24})
        with running_ingest(data, broker.url) as ingest, ingest.client() as operator:
            items = operator.get("/api/audit/recent").json()["items"]
        assert [item["id"] for item in items] == [event.id], "once, also after another start"
    finally:
        broker.stop()
