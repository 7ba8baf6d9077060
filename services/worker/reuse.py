"""Re-use of finished stages, through the owner's index of stage keys.

Lives here: looking up, copying and recording. The index is a projection: losing it costs work, never truth. Every
file is checked against its recorded SHA-256 before it is re-used.
"""

import contextlib
from pathlib import Path

from pydantic import ValidationError

from shared.artifacts import Artifact, fsync_dir, matches, publish_again
from shared.commands import StageCommand
from shared.layout import JobPaths, Layout
from shared.manifests import ReuseEntry, StageManifest


def find(layout: Layout, command: StageCommand, key: str) -> tuple[StageManifest, JobPaths] | None:
    """Return the finished manifest with this key and its job's paths, if all its files are still as recorded."""
    entry_path = layout.reuse_entry(command.job.owner, key)
    try:
        entry = ReuseEntry.model_validate_json(entry_path.read_bytes())
        paths = layout.job(entry.job_id, entry.base_dir, entry.stem)
        manifest = StageManifest.model_validate_json(paths.stage_manifest(entry.stage).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    if manifest.key != key or not all(matches(output, layout.output) for output in manifest.outputs):
        return None
    return manifest, paths


def adopt(outputs: list[Artifact], theirs: JobPaths, ours: JobPaths) -> list[Artifact]:
    """Link the files of another job (or of this one's earlier run) to where this job keeps them. Raises OSError.

    Published artifacts are never written in place, so two jobs can share an inode.
    """
    return [_adopt_one(output, theirs, ours) for output in outputs]


def _adopt_one(output: Artifact, theirs: JobPaths, ours: JobPaths) -> Artifact:
    source = theirs.output_root / output.path
    target = translate(source, theirs, ours)
    if target != source:
        publish_again(source, target)
    return output.model_copy(update={"path": ours.relative(target)})


def translate(source: Path, theirs: JobPaths, ours: JobPaths) -> Path:
    """Return where `ours` keeps the file that `theirs` keeps at `source`."""
    if source.is_relative_to(theirs.work):
        return ours.work / source.relative_to(theirs.work)
    relative = source.relative_to(theirs.base)
    name = relative.name
    if name.startswith(f"{theirs.stem}."):
        name = ours.stem + name.removeprefix(theirs.stem)
    return ours.base / relative.with_name(name)


def record(layout: Layout, command: StageCommand, paths: JobPaths, manifest: StageManifest) -> None:
    """Write the stage's manifest and point the index at it. Raises OSError."""
    manifest.write(paths.stage_manifest(command.stage))
    entry = ReuseEntry(job_id=command.job_id, base_dir=command.job.base_dir, stem=command.job.stem, stage=command.stage)
    entry_path = layout.reuse_entry(command.job.owner, manifest.key)
    entry.write(entry_path)
    with contextlib.suppress(FileNotFoundError):
        fsync_dir(entry_path.parent)
