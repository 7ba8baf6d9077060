"""From a model id to a directory whose every byte is known.

Lives here: verifying, remembering that a file was verified, fetching into a staging directory and publishing it with
one rename, under a lock that other processes respect. An unverified file is never handed out.

Below MODELS_DIR: `<id>/` the model, `.verified/<id>.json` what was verified, `.staging/<id>/` a fetch under way,
`.rejected/<id>/` the last directory that did not match (it may be a person's own work, so it is not deleted),
`.locks/<id>.lock`.
"""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tarfile import TarError
from zipfile import BadZipFile

import structlog
from pydantic import BaseModel, ValidationError

from services.worker.models import hub, packs
from services.worker.models.assemble import AssemblyError, assemble
from services.worker.models.manifest import FileSpec, Lock, Model, Pack, PacksSource, load_lock
from shared.artifacts import fsync_dir, publish, sha256_file, write_bytes

FETCH_COMMAND = "python -m services.worker.models.fetch"

log = structlog.get_logger()

Download = Callable[[Pack, Path], Path]
"""Return the checked archive of a pack below a directory. Raises DownloadError."""


class ModelError(RuntimeError):
    """A model cannot be used; the message says which, why, and what to do."""


class FileStamp(BaseModel):
    """What changes with a file's content: size in bytes, times in nanoseconds, inode."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Verified(BaseModel):
    """The stamps of files whose checksums were found right; `digest` is the model's."""

    digest: str
    files: dict[str, FileStamp]


def is_present(model: Model, models_dir: Path) -> bool:
    """Return whether all files are there with the right sizes (cheap; says nothing of their content)."""
    directory = models_dir / model.id
    try:
        return all((directory / file.name).stat().st_size == file.size for file in model.files)
    except OSError:
        return False


def present_models(models_dir: Path, *, lock: Lock | None = None) -> list[str]:
    """Return the ids of all models of the lock file that are there (cheap, as `is_present`)."""
    return [model.id for model in (lock or load_lock()).models if is_present(model, models_dir)]


def resolve(model_id: str, models_dir: Path, *, lock: Lock | None = None, rehash: bool = False) -> Path:
    """Return the model's directory, every file verified.

    Hashes only what is new or changed since the last time, all of it when `rehash`. Raises ModelError, and KeyError
    for an unknown id.
    """
    model = (lock or load_lock()).model(model_id)
    directory = models_dir / model.id
    if not directory.is_dir():
        raise ModelError(f"model {model.id} is not in {models_dir}: run `{FETCH_COMMAND} {model.id}`")
    stamps = _stamps(model, directory)  # before hashing, so that a change meanwhile shows the next time
    if rehash or _read_marker(model, models_dir) != stamps:
        wrong = _first_wrong(model, directory)
        if wrong is not None:
            raise ModelError(
                f"model {model.id}: {wrong} is missing or not the file of the lock: run `{FETCH_COMMAND} {model.id}`"
            )
        _write_marker(model, stamps, models_dir)
    return directory


def fetch(
    model_id: str, models_dir: Path, download: Download, *, lock: Lock | None = None, rehash: bool = False
) -> Path:
    """Return the model's directory, fetching it from its sources unless a verified one is there.

    Processes that fetch the same model wait for each other; a reader sees the old directory or the new one. A
    directory that does not match is moved to `.rejected`. Raises ModelError, OSError, and KeyError for an unknown id.
    """
    lock = lock or load_lock()
    model = lock.model(model_id)
    with suppress(ModelError):  # no lock needed, so a read-only directory serves as well
        return resolve(model_id, models_dir, lock=lock, rehash=rehash)
    with _only_one(model, models_dir):
        with suppress(ModelError):  # another process may have been faster
            return resolve(model_id, models_dir, lock=lock)
        staging = models_dir / ".staging" / model.id
        shutil.rmtree(staging, ignore_errors=True)  # left by a fetch that was killed
        try:
            _fill(model, staging, download)
            _publish(model, staging / "final", models_dir)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return models_dir / model.id


def _fill(model: Model, staging: Path, download: Download) -> None:
    """Make the verified files below `staging/final` from the first source that gives them. Raises ModelError."""
    failures = []
    for source in model.sources:
        final, archives = staging / "final", staging / "archives"
        shutil.rmtree(staging, ignore_errors=True)
        final.mkdir(parents=True)
        archives.mkdir()
        try:
            if isinstance(source, PacksSource):
                paths = {pack.name: download(pack, archives) for pack in source.packs}
                for step in source.steps:
                    assemble(step, paths, final)
            else:
                hub.download_files(model, source, archives)
                for file in model.files:
                    (archives / file.name).rename(final / file.name)  # leaves the client's own notes behind
        except (packs.DownloadError, AssemblyError, BadZipFile, TarError) as error:
            failures.append(f"{source.kind}: {error}")
            continue
        wrong = _first_wrong(model, final)
        if wrong is None:
            return
        failures.append(f"{source.kind}: {wrong} has another SHA-256 than the lock file")
    reasons = " | ".join(failures) or "it has no source"
    raise ModelError(
        f"model {model.id} could not be fetched ({reasons}). Check the network and try again, or put "
        f"{', '.join(file.name for file in model.files)} into MODELS_DIR/{model.id} yourself."
    )


def _publish(model: Model, final: Path, models_dir: Path) -> None:
    target = models_dir / model.id
    for file in model.files:
        publish(final / file.name, final / file.name)
    if target.exists():
        rejected = models_dir / ".rejected" / model.id
        shutil.rmtree(rejected, ignore_errors=True)
        rejected.parent.mkdir(exist_ok=True)
        target.rename(rejected)
        log.warning("model_rejected", model=model.id, moved_to=str(rejected))
    final.rename(target)
    fsync_dir(models_dir)
    _write_marker(model, _stamps(model, target), models_dir)


def _matches(file: FileSpec, path: Path) -> bool:
    try:
        return path.stat().st_size == file.size and sha256_file(path) == file.sha256
    except FileNotFoundError:
        return False


def _first_wrong(model: Model, directory: Path) -> str | None:
    return next((file.name for file in model.files if not _matches(file, directory / file.name)), None)


def _stamps(model: Model, directory: Path) -> dict[str, FileStamp]:
    """Return the stamps of the files that exist."""
    stamps = {}
    for file in model.files:
        try:
            stat = (directory / file.name).stat()
        except FileNotFoundError:
            continue
        stamps[file.name] = FileStamp(
            size=stat.st_size, mtime_ns=stat.st_mtime_ns, ctime_ns=stat.st_ctime_ns, inode=stat.st_ino
        )
    return stamps


def _marker_path(model: Model, models_dir: Path) -> Path:
    return models_dir / ".verified" / f"{model.id}.json"


def _read_marker(model: Model, models_dir: Path) -> dict[str, FileStamp] | None:
    """Return the remembered stamps, None if there are none for this very digest."""
    try:
        marker = Verified.model_validate_json(_marker_path(model, models_dir).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return marker.files if marker.digest == model.digest else None


def _write_marker(model: Model, stamps: dict[str, FileStamp], models_dir: Path) -> None:
    marker = Verified(digest=model.digest, files=stamps)
    try:
        write_bytes(_marker_path(model, models_dir), marker.model_dump_json().encode())
    except OSError as error:
        # A read-only models directory is fine: its files are then hashed at every start.
        log.info("model_marker_not_written", model=model.id, error=type(error).__name__)


@contextmanager
def _only_one(model: Model, models_dir: Path) -> Iterator[None]:
    """Hold the model's lock; the kernel frees it when a process dies."""
    path = models_dir / ".locks" / f"{model.id}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
