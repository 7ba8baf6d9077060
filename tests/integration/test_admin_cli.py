"""`dubline admin`: accounts without being signed in, on the installation's own auth.db."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.ingest.accounts import invites, resets, setup, users
from services.ingest.accounts.db import AuthDb
from services.ingest.accounts.passwords import Passwords
from services.standalone.admin_tools import setup_address
from services.standalone.cli import app
from shared.layout import Layout

PASSWORD = "correct horse battery staple"
NOW = 1_700_000_000.0


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv("DUBLINE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PUBLIC_BASE_URL", "https://dub.example.org/")
    return Layout(tmp_path / "data")


def run(*arguments: str, typed: str | None = None) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["admin", *arguments], input=typed)
    return done.exit_code, done.output


def test_a_first_admin_is_made_with_a_password_from_a_pipe_and_set_up_closes(layout: Layout, tmp_path: Path) -> None:
    with closing(AuthDb(layout.auth_db)) as db:
        setup.write_token(layout, db.write(lambda c: setup.renew_token(c, NOW)) or "")
    assert (setup_address(layout, "http://x") or "").startswith("http://x/ui/setup#dubsetup_")
    command = [sys.executable, "-m", "services.standalone", "admin", "create", "maria", "--password-stdin"]
    done = subprocess.run(command, input=f"{PASSWORD}\n", text=True, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "maria may sign in as admin.\n"), done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert setup_address(layout, "http://x") is None
    with closing(AuthDb(layout.auth_db)) as db, closing(Passwords()) as passwords:
        maria = db.read(lambda c: users.by_name(c, "maria"))
        assert maria is not None
        assert maria.role == "admin"
        assert passwords.verify_now(db.read(lambda c: users.password_hash(c, maria.id)), PASSWORD).right
        assert not db.read(setup.needed)


def test_a_password_that_is_typed_is_asked_for_twice(layout: Layout) -> None:
    code, output = run("create", "otto", "--role", "viewer", typed=f"{PASSWORD}\nanother\n{PASSWORD}\n{PASSWORD}\n")
    assert code == 0
    assert PASSWORD not in output
    assert output.endswith("otto may sign in as viewer.\n")


def test_what_cannot_be_chosen_is_refused_in_words(layout: Layout) -> None:
    assert run("create", "maria", "--password-stdin", typed="iloveyou\n")[0] == 2
    assert run("create", "no/name", "--password-stdin", typed=PASSWORD)[0] == 2
    assert run("create", "maria", "--password-stdin", typed="")[0] == 2
    assert run("create", "maria", "--password-stdin", typed=PASSWORD)[0] == 0
    code, output = run("create", "MARIA", "--password-stdin", typed=PASSWORD)
    assert (code, "user name already" in output) == (2, True)
    with closing(AuthDb(layout.auth_db)) as db:
        recorded = db.read(lambda c: c.execute("SELECT event FROM audit_outbox").fetchall())
    assert len(recorded) == 1, "what was refused is not on record as done"


def test_invites_and_reset_tokens_are_printed_as_addresses_and_work(layout: Layout) -> None:
    run("create", "maria", "--password-stdin", typed=PASSWORD)
    invite, reset = run("invite", "--role", "editor", "--hours", "1")[1], run("reset-password", "Maria")[1]
    assert invite.startswith("https://dub.example.org/ui/invite#dubinvite_")
    assert reset.startswith("https://dub.example.org/ui/reset#dubreset_")
    with closing(AuthDb(layout.auth_db)) as db:
        made = db.read(invites.everyone)[0]
        guest = db.write(
            lambda c: invites.redeem(c, invite.strip().partition("#")[2], "guest", "hash", made.created_at)
        )
        maria = db.read(lambda c: resets.check(c, reset.strip().partition("#")[2], made.created_at))
    assert (guest.role, maria.username) == ("editor", "maria")
    assert run("reset-password", "nobody")[0] == 2
    assert run("invite", "--hours", "169")[0] == 2


def test_users_are_listed(layout: Layout) -> None:
    run("create", "maria", "--password-stdin", typed=PASSWORD)
    with closing(AuthDb(layout.auth_db)) as db:
        otto = db.write(lambda c: users.create(c, "otto", None, "viewer", NOW))
        db.write(lambda c: users.set_disabled(c, otto.id, disabled=True, now=NOW))
    lines = [line.split() for line in run("list")[1].splitlines()]
    assert lines[1][:2] == ["maria", "admin"]
    assert lines[2] == ["otto", "viewer", "disabled", otto.id]


def test_an_auth_db_of_a_later_version_is_left_alone(layout: Layout) -> None:
    AuthDb(layout.auth_db).close()
    with closing(sqlite3.connect(layout.auth_db)) as connection:
        connection.execute("PRAGMA user_version=999")
    assert run("list")[0] == 1
    started = subprocess.run(
        [sys.executable, "-m", "services.ingest"], capture_output=True, text=True, timeout=60, check=False
    )
    assert started.returncode == 78
    assert "version 999" in started.stdout + started.stderr
