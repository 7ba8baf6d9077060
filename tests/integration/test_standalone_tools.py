"""What stands around the services: pinned binaries, the gateway's file, the doctor, the command line's refusals."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.standalone import doctor
from services.standalone.binaries import BROKER, GATEWAY, Binary, BinaryUnusableError, require
from services.standalone.deployment import deploy_dir
from services.standalone.doctor import Finding
from shared.settings import Settings
from tests.broker import free_port

OPTIONAL = {"GPU (NVIDIA)", "Docker engine", "Chromium"}


def dubline(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "services.standalone", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("binary", [BROKER, GATEWAY], ids=lambda binary: binary.file_name)
def test_the_pinned_binaries_are_of_this_environment(binary: Binary) -> None:
    assert require(binary).parent == Path(sys.executable).parent


def test_another_version_is_refused() -> None:
    older = Binary(BROKER.title, BROKER.file_name, "2.9.10", BROKER.version_argument)
    with pytest.raises(BinaryUnusableError, match=r"is version 2\.15\.1, but 2\.9\.10 is pinned: run `make setup`"):
        require(older)


def test_a_missing_binary_is_named() -> None:
    with pytest.raises(BinaryUnusableError, match="no-such-broker is missing: run `make setup`"):
        require(Binary("broker", "no-such-broker", "1.0.0", "-v"))


def test_the_gateway_accepts_its_file_and_it_is_formatted() -> None:
    file = deploy_dir() / "gateway" / "Caddyfile"
    environment = {
        **os.environ,
        "DUBLINE_GATEWAY_ADDRESS": f"http://:{free_port()}",
        "DUBLINE_INGEST_ADDR": "127.0.0.1:1",
        "DUBLINE_LIBRARY_ADDR": "127.0.0.1:2",
        "DUBLINE_SCHEDULER_ADDR": "127.0.0.1:3",
    }
    arguments = ["validate", "--config", str(file), "--adapter", "caddyfile"]
    subprocess.run([require(GATEWAY), *arguments], env=environment, check=True, capture_output=True)
    formatted = subprocess.run([require(GATEWAY), "fmt", str(file)], check=True, capture_output=True, text=True)
    assert formatted.stdout == file.read_text()


def test_the_doctor_finds_every_required_piece_of_a_finished_set_up() -> None:
    findings = doctor.examine(Settings(), os.environ)
    missing = [finding for finding in findings if finding.required and not finding.ok]
    assert missing == []
    names = {finding.name for finding in findings}
    assert {"Python", "ffmpeg", "ffprobe", "disk space", "language pairs"} | OPTIONAL <= names


def test_the_doctor_says_what_to_do_about_missing_models(tmp_path: Path) -> None:
    done = dubline("doctor", "--json", DUBLINE_MODELS_DIR=str(tmp_path))
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["healthy"] is False
    missing = [Finding(**finding) for finding in report["findings"] if finding["required"] and not finding["ok"]]
    assert {"model whisper-base", "model kokoro", "speech recognition", "language pairs"} <= {m.name for m in missing}
    assert all("dubline models fetch" in finding.remedy for finding in missing)


def test_every_missing_piece_comes_with_a_remedy_and_only_required_ones_make_it_unhealthy() -> None:
    findings = doctor.examine(Settings(data_dir=Path("/")), {"PATH": os.defpath, "FFMPEG_BIN": "/nonexistent"})
    ffmpeg = next(finding for finding in findings if finding.name == "ffmpeg")
    assert not ffmpeg.ok
    assert "FFMPEG_BIN" in ffmpeg.detail
    assert not doctor.healthy(findings)
    assert all(finding.remedy or finding.detail for finding in findings if not finding.ok)
    assert all(not finding.required for finding in findings if finding.name in OPTIONAL)
    assert doctor.healthy([finding for finding in findings if not finding.required])


def test_the_doctor_says_which_sandbox_is_in_use_and_what_to_install_for_a_better_one() -> None:
    def sandbox(wanted: str) -> Finding:
        findings = doctor.examine(Settings(), {**os.environ, "DUBLINE_SANDBOX": wanted})
        return next(finding for finding in findings if finding.name == "media sandbox")

    found = sandbox("auto")
    assert "seccomp" in found.detail or (not found.ok and "bubblewrap" in found.remedy)
    assert sandbox("limits").detail == "resource limits only: as wanted"
    wrong = sandbox("chroot")
    assert wrong.required
    assert not wrong.ok
    assert "DUBLINE_SANDBOX=auto" in wrong.remedy


def test_a_named_server_that_does_not_answer_is_not_replaced_by_another(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = dubline("dub", __file__, "--to", "pt", DUBLINE_URL=url, DUBLINE_DATA_DIR=str(tmp_path))
    assert done.returncode == 69
    assert done.stderr == f"error: No Dubline answers at {url} (DUBLINE_URL).\n"


def test_a_video_that_does_not_exist_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    done = dubline("dub", str(tmp_path / "no.mp4"), "--to", "pt", DUBLINE_DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 2
    assert "no.mp4' is not a file" in done.stderr
    assert not (tmp_path / "data").exists()


def test_the_version_is_printed() -> None:
    assert dubline("version").stdout == "dubline 0.1.0\n"
