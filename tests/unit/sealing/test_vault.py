"""Artifacts of the configured classes are sealed as they are published, and read back as what they were."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.worker import reuse
from shared.artifacts import atomic_path, describe, matches, publish_again, readable, set_rules, write_bytes
from shared.identity import uuid7
from shared.layout import JobPaths, Layout
from shared.sealing.classes import CLASSES, class_of
from shared.sealing.format import DamagedError, SealError
from shared.sealing.keyring import Keyring
from shared.sealing.reader import SealedReader, is_sealed
from shared.sealing.unnamed import open_unnamed, path_of
from shared.sealing.vault import Vault

JOB = uuid7()
SECRET = b"what she said " * 100


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


@pytest.fixture
def vault(layout: Layout) -> Iterator[Vault]:
    made = Vault(Keyring((b"k" * 32,)), frozenset(CLASSES), layout.output)
    set_rules(None, None, made)
    yield made
    set_rules(None, None)


@pytest.fixture
def paths(layout: Layout) -> JobPaths:
    return layout.job(JOB, "a project/film", "film")


def on_disk(root: Path) -> bytes:
    return b"".join(file.read_bytes() for file in root.rglob("*") if file.is_file())


def test_each_class_has_its_files_and_nothing_else(layout: Layout, paths: JobPaths) -> None:
    expected = {
        "audio": [paths.asr_audio, paths.dialogue, paths.final_mix, layout.take("owner", "k" * 64),
                  paths.own_take("k" * 64)],
        "transcripts": [paths.transcript, paths.translation, paths.speech_manifest],
        "outputs": [paths.dub_mkv, paths.dub_mp4, paths.subtitle("pt", "srt"), paths.subtitle("pt", "vtt")],
        None: [paths.job_manifest, paths.stage_manifest("mux"), paths.job_log, layout.pointer(JOB) / "target.txt",
               layout.reuse_entry("owner", "k" * 64), layout.scheduler_snapshot],
    }  # fmt: skip
    for name, files in expected.items():
        assert {class_of(file.relative_to(layout.output).as_posix()) for file in files} == {name}


def test_a_published_file_is_sealed_and_its_plain_bytes_never_have_a_name(vault: Vault, paths: JobPaths) -> None:
    target = paths.transcript
    with atomic_path(target) as temporary:
        temporary.write_bytes(SECRET)
        assert list(target.parent.iterdir()) == []
    assert vault.wants(target)
    assert SECRET[:14] not in on_disk(target.parent)
    artifact = describe("transcript", target, paths.output_root)
    assert (artifact.size, artifact.sealed is not None) == (len(SECRET), True)
    assert matches(artifact, paths.output_root)
    with readable(target, artifact.sealed, paths.work) as plain:
        assert plain.read_bytes() == SECRET


def test_a_file_of_another_class_stays_plain(layout: Layout, paths: JobPaths) -> None:
    set_rules(None, None, Vault(Keyring((b"k" * 32,)), frozenset({"audio"}), layout.output))
    try:
        write_bytes(paths.transcript, SECRET)
        write_bytes(paths.dialogue, SECRET)
    finally:
        set_rules(None, None)
    assert paths.transcript.read_bytes() == SECRET
    assert SECRET[:14] not in paths.dialogue.read_bytes()


@pytest.mark.usefixtures("vault")
def test_a_failed_stage_leaves_nothing(paths: JobPaths) -> None:
    with pytest.raises(RuntimeError), atomic_path(paths.dialogue) as temporary:  # noqa: PT012 -- the block is the test
        temporary.write_bytes(SECRET)
        raise RuntimeError
    assert list(paths.work.iterdir()) == []


@pytest.mark.usefixtures("vault")
def test_another_sealed_file_in_its_place_is_no_input(paths: JobPaths) -> None:
    write_bytes(paths.transcript, SECRET)
    write_bytes(paths.translation, SECRET + b"!")
    artifact = describe("transcript", paths.transcript, paths.output_root)
    paths.translation.replace(paths.transcript)
    assert not matches(artifact, paths.output_root)
    with pytest.raises(DamagedError, match="another one"), readable(paths.transcript, artifact.sealed, paths.work):
        pass


@pytest.mark.usefixtures("vault")
def test_a_plain_file_in_the_place_of_a_sealed_one_is_no_input(paths: JobPaths) -> None:
    write_bytes(paths.transcript, SECRET)
    artifact = describe("transcript", paths.transcript, paths.output_root)
    paths.transcript.unlink()
    paths.transcript.write_bytes(SECRET)
    assert not matches(artifact, paths.output_root)
    with pytest.raises(SealError, match="plain"), readable(paths.transcript, artifact.sealed, paths.work):
        pass


def test_a_plain_artifact_is_not_used_again_once_its_class_is_encrypted(layout: Layout, paths: JobPaths) -> None:
    write_bytes(paths.transcript, SECRET)
    artifact = describe("transcript", paths.transcript, paths.output_root)
    assert matches(artifact, paths.output_root)
    set_rules(None, None, Vault(Keyring((b"k" * 32,)), frozenset({"transcripts"}), layout.output))
    try:
        assert not matches(artifact, paths.output_root)
    finally:
        set_rules(None, None)


@pytest.mark.usefixtures("vault")
def test_two_jobs_share_a_sealed_artifact_as_they_share_a_plain_one(layout: Layout, paths: JobPaths) -> None:
    ours = layout.job(uuid7(), "other", "other")
    write_bytes(paths.dub_mkv, SECRET)
    artifact = describe("dub_mkv", paths.dub_mkv, paths.output_root)
    (adopted,) = reuse.adopt([artifact], paths, ours)
    assert adopted == artifact.model_copy(update={"path": "other/other.dub.mkv"})
    assert matches(adopted, paths.output_root)
    assert ours.dub_mkv.samefile(paths.dub_mkv)


@pytest.mark.usefixtures("vault")
def test_the_key_of_a_stage_does_not_depend_on_encryption(paths: JobPaths) -> None:
    write_bytes(paths.transcript, SECRET)
    sealed = describe("transcript", paths.transcript, paths.output_root)
    set_rules(None, None)
    paths.transcript.unlink()
    write_bytes(paths.transcript, SECRET)
    plain = describe("transcript", paths.transcript, paths.output_root)
    assert (plain.sha256, plain.size, plain.sealed) == (sealed.sha256, sealed.size, None)


@pytest.mark.usefixtures("vault")
def test_publishing_again_keeps_the_sealed_bytes(paths: JobPaths) -> None:
    write_bytes(paths.transcript, SECRET)
    publish_again(paths.transcript, paths.work / "again.json")
    assert (paths.work / "again.json").read_bytes() == paths.transcript.read_bytes()


def test_a_lost_key_makes_a_sealed_file_unreadable_and_not_plain(vault: Vault, paths: JobPaths) -> None:
    write_bytes(paths.dialogue, SECRET)
    artifact = describe("dialogue", paths.dialogue, paths.output_root)
    set_rules(None, None, Vault(Keyring((b"n" * 32,)), vault.classes, vault.output_root))
    assert not matches(artifact, paths.output_root)
    with pytest.raises(SealError, match="not here"), readable(paths.dialogue, artifact.sealed, paths.work):
        pass


def test_plain_bytes_for_programs_are_in_a_file_without_a_name(vault: Vault, paths: JobPaths, tmp_path: Path) -> None:
    write_bytes(paths.dialogue, SECRET)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    elsewhere = Vault(vault.keys, vault.classes, vault.output_root, scratch)
    with elsewhere.readable(paths.dialogue, None, paths.work) as plain:
        assert str(plain.readlink()).startswith(f"{scratch}/")
        assert list(scratch.iterdir()) == []
        assert plain.read_bytes() == SECRET


def test_a_file_system_that_makes_no_file_without_a_name_gets_one_that_loses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def without(path: str | Path, flags: int, mode: int = 0o777, **options: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return real(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", without)
    fd = open_unnamed(tmp_path)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    path_of(fd).write_bytes(SECRET)
    assert os.pread(fd, 14, 0) == SECRET[:14]
    assert os.fstat(fd).st_mode & 0o777 == 0o600
    os.close(fd)


def test_a_sealed_file_says_nothing_of_its_content_but_its_class(vault: Vault, paths: JobPaths) -> None:
    write_bytes(paths.dub_mp4, SECRET)
    fd = os.open(paths.dub_mp4, os.O_RDONLY)
    try:
        assert is_sealed(fd)
        assert SealedReader(fd, vault.keys).binding.startswith("outputs:")
    finally:
        os.close(fd)
