"""Encryption at rest is on with a usable key, or nothing starts: it never falls back to plain files."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.standalone.cli import app
from services.standalone.plan import ConfigurationError, make_plan
from shared.sealing.keys import EX_CONFIG, SealingConfigError, vault_of
from shared.settings import Settings

KEY = base64.b64encode(b"k" * 32).decode()
OLD = base64.b64encode(b"o" * 32).decode()


def settings(data: Path, **environment: str) -> Settings:
    return Settings.model_validate({"data_dir": data, **environment})


def key_file(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_without_a_key_and_without_the_switch_nothing_is_encrypted(tmp_path: Path) -> None:
    assert vault_of(settings(tmp_path)) is None


def test_without_a_key_the_switch_refuses_and_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SealingConfigError, match="dubline encryption-key create"):
        vault_of(settings(tmp_path, ENCRYPT_AT_REST="1"))


def test_a_key_comes_from_the_environment_a_named_file_or_the_data_directory(tmp_path: Path) -> None:
    named = key_file(tmp_path / "named", KEY)
    assert vault_of(settings(tmp_path, ENCRYPT_AT_REST="1", ARTIFACTS_KEY=KEY))
    assert vault_of(settings(tmp_path, ENCRYPT_AT_REST="1", ARTIFACTS_KEY_FILE=str(named)))
    key_file(settings(tmp_path).layout.artifacts_key, KEY)
    vault = vault_of(settings(tmp_path, ENCRYPT_AT_REST="1"))
    assert vault is not None
    assert vault.classes == {"uploads", "audio", "transcripts", "outputs"}


def test_with_the_switch_off_again_old_files_can_be_opened_and_none_is_encrypted(tmp_path: Path) -> None:
    vault = vault_of(settings(tmp_path, ARTIFACTS_KEY=KEY))
    assert vault is not None
    assert vault.classes == frozenset()
    assert not vault.seals_uploads


def test_a_key_file_of_several_lines_seals_with_the_first_and_opens_with_all(tmp_path: Path) -> None:
    file = key_file(tmp_path / "keys", "# rotated in May", KEY, "", OLD)
    vault = vault_of(settings(tmp_path, ENCRYPT_AT_REST="1", ARTIFACTS_KEY_FILE=str(file)))
    assert vault is not None
    assert vault.keys.keys == (b"k" * 32, b"o" * 32)


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"ARTIFACTS_KEY": "not base64!"}, "not Base64"),
        ({"ARTIFACTS_KEY": base64.b64encode(b"short").decode()}, "5 bytes"),
        ({"ARTIFACTS_KEY_FILE": "/nowhere/key"}, "cannot be read"),
        ({"ARTIFACTS_KEY_FILE": "/dev/null"}, "holds no key"),
        ({"ARTIFACTS_KEY": KEY, "ARTIFACTS_KEY_FILE": "/nowhere/key"}, "keep one"),
        ({"ARTIFACTS_KEY": KEY, "ENCRYPT_CLASSES": "uploads,voice_memory,review"}, "review, voice_memory"),
    ],
)
def test_what_cannot_work_is_refused_and_no_key_is_in_the_message(
    tmp_path: Path, environment: dict[str, str], complaint: str
) -> None:
    with pytest.raises(SealingConfigError, match=complaint) as refused:
        vault_of(settings(tmp_path, ENCRYPT_AT_REST="1", **environment))
    assert KEY not in str(refused.value)


def test_the_key_is_in_no_printed_settings(tmp_path: Path) -> None:
    assert KEY not in repr(settings(tmp_path, ARTIFACTS_KEY=KEY))


@pytest.mark.parametrize("service", ["ingest", "library", "worker"])
def test_no_service_starts_with_the_switch_and_no_key(tmp_path: Path, service: str) -> None:
    environment = {**os.environ, "DUBLINE_DATA_DIR": str(tmp_path), "ENCRYPT_AT_REST": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", f"services.{service}"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == EX_CONFIG, ended.stderr
    lines = [line for line in (ended.stdout + ended.stderr).splitlines() if "encryption_not_possible" in line]
    assert len(lines) == 1
    assert "dubline encryption-key create" in lines[0]


def test_dubline_up_says_so_before_it_starts_anything(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="dubline encryption-key create"):
        make_plan(settings(tmp_path, ENCRYPT_AT_REST="1"), {})


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    environment = {"DUBLINE_DATA_DIR": str(tmp_path), "ENCRYPT_AT_REST": "1"}
    made = CliRunner().invoke(app, ["encryption-key", "create"], env=environment)
    assert made.exit_code == 0, made.output
    file = settings(tmp_path).layout.artifacts_key
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_text()
    assert before.strip() not in made.output
    assert vault_of(settings(tmp_path, ENCRYPT_AT_REST="1")) is not None
    again = CliRunner().invoke(app, ["encryption-key", "create"], env=environment)
    assert again.exit_code == 1
    assert file.read_text() == before
