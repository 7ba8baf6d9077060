"""In containers one step makes all secrets, and each service is handed its own."""

from pathlib import Path

import pytest

from services.standalone.container_secrets import belongings, hand_out
from shared.layout import Layout
from shared.secret_files import write_private
from shared.settings import Settings


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """All secrets that there may be; each file says its own name, and none is text."""
    layout = Layout(tmp_path / "data")
    for file in {file for files in belongings(layout).values() for file in files}:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(file, b"\xff" + file.name.encode())
    return layout


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_each_service_gets_its_own_for_itself_alone(layout: Layout, tmp_path: Path):
    hand_out(layout, tmp_path / "handed")
    assert contents(tmp_path / "handed" / "gateway") == {"gateway-word": b"\xffgateway-word"}
    assert contents(tmp_path / "handed" / "broker").keys() == {"nats/nats.conf", "nats/settings.conf"}
    for path in (tmp_path / "handed").rglob("*"):
        assert path.is_dir() or path.stat().st_mode & 0o777 == 0o600


def test_only_ingest_gets_what_accounts_hang_on_and_no_service_gets_anothers_password(layout: Layout):
    holders: dict[str, set[str]] = {}
    for service, files in belongings(layout).items():
        for file in files:
            holders.setdefault(file.name, set()).add(service)
    assert holders["auth-key"] == holders["oidc-client-secret"] == {"ingest"}
    assert holders["local-key"] == {"ingest", "library", "scheduler"}
    assert holders["artifacts-key"] == {"ingest", "library", "worker"}
    assert {name: who for name, who in holders.items() if name.startswith("nats-")} == {
        f"nats-{service}": {service} for service in ("init", "ingest", "scheduler", "library", "worker")
    }


def test_a_new_secret_replaces_the_old_one_a_deleted_one_goes_and_the_rest_is_not_touched(
    layout: Layout, tmp_path: Path
):
    ingest = tmp_path / "handed" / "ingest"
    hand_out(layout, tmp_path / "handed")
    before = (ingest / "auth-key").stat().st_ino
    write_private(layout.local_key, b"another")
    layout.artifacts_key.unlink()

    hand_out(layout, tmp_path / "handed")
    assert (ingest / "local-key").read_bytes() == b"another"
    assert not (ingest / "artifacts-key").exists()
    assert (ingest / "auth-key").stat().st_ino == before


def test_a_service_reads_the_gateways_word_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "word").write_text("the word\n")
    monkeypatch.setenv("DUBLINE_GATEWAY_TOKEN_FILE", str(tmp_path / "word"))
    assert Settings().gateway_token == "the word"
    monkeypatch.setenv("DUBLINE_GATEWAY_TOKEN", "nearer")
    assert Settings().gateway_token == "nearer"
    assert "nearer" not in repr(Settings())


def test_a_word_that_cannot_be_read_is_an_error_and_not_an_empty_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It would believe nobody, and nobody would notice."""
    monkeypatch.setenv("DUBLINE_GATEWAY_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError):
        _ = Settings().gateway_token
