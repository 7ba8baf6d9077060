"""Bringing the predecessor's jobs, presets and projects into the log, and its finished files into the output.

Lives here: the order of it (files first, then the event), what a second run passes over, and the report. Files are hard
links where old and new output lie on one file system, copies elsewhere; the old ones are never changed.
Does not live here: what a record means (`records`), reading rows (`unpickle`), the broker's address (`cli`).
"""

import asyncio
import hashlib
import posixpath
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.standalone.predecessor.records import OldJob, SkippedError, old_job, old_preset, old_project
from services.standalone.predecessor.unpickle import RefusedRowError, read_row
from shared import base_dirs
from shared.artifacts import Artifact, publish_again
from shared.eventlog.port import ConflictError, EventLog, Expect
from shared.events.library import PresetSaved, ProjectSaved
from shared.events.subjects import job_filter, preset_subject, project_subject
from shared.events.types import Event, JobImported
from shared.identity import LOCAL_OWNER, uuid7
from shared.layout import Layout
from shared.outputs import discover_outputs

SOURCE = "urn:dubline:import"
TABLES = ("projects", "presets", "jobs")
"""Projects and presets first: jobs name them. Idempotency keys and unfinished uploads have no meaning here."""
HLS_SUFFIXES = frozenset({".m3u8", ".ts", ".m4s", ".mp4"})
HASH_BLOCK = 1 << 20


@dataclass(frozen=True)
class Left:
    """A row, or a part of one, that was not taken over."""

    table: str
    key: str
    reason: str


@dataclass
class Report:
    """What became of every row."""

    imported: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    already_here: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    skipped: list[Left] = field(default_factory=list)
    notes: list[Left] = field(default_factory=list)
    """Rows that came over, but for something in them."""
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Origin:
    """The predecessor's data: its jobs.db, and the output folder that its records speak of."""

    database: Path
    output: Path


def rows(database: Path, table: str) -> Iterator[tuple[str, object]]:
    """Yield (key, stored value) of a sqlitedict table; none if there is no such table. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    try:
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone()
        if known:
            yield from connection.execute(f'SELECT key, value FROM "{table}" ORDER BY rowid')  # noqa: S608 -- TABLES only
    finally:
        connection.close()


async def run_import(
    origin: Origin, layout: Layout, events: EventLog | None, say: Callable[[str], None] = lambda _line: None
) -> Report:
    """Take everything over and return the report; without a log nothing is written, and the report says what would be.

    A second run passes over what is here already. Raises sqlite3.Error, OSError, LogUnavailableError, and ValueError
    if the old output is this installation's own.
    """
    if layout.output.resolve() in (origin.output.resolve(), *origin.output.resolve().parents):
        raise ValueError(f"{origin.output} is inside this installation's own output: name the old one with --output")
    report = Report()
    for table in TABLES:
        for key, stored in rows(origin.database, table):
            try:
                taken = await _take(table, key, read_row(stored), origin, layout, events, report)
            except (RefusedRowError, SkippedError) as error:
                report.skipped.append(Left(table, key, str(error)))
                continue
            counted = report.imported if taken else report.already_here
            counted[table] += 1
            if sum(report.imported.values()) % 100 == 0:
                say(f"{sum(report.imported.values())} rows imported")
    return report


async def _take(
    table: str, key: str, record: Any, origin: Origin, layout: Layout, events: EventLog | None, report: Report
) -> bool:
    """Take one row over; False if it is here already."""
    if table == "presets":
        preset_id, preset = old_preset(key, record)
        event: Event = PresetSaved(**_attributes(preset_id, preset.owner), data=preset)
        return await _append(events, event, preset_subject(preset_id))
    if table == "projects":
        project_id, project = old_project(key, record)
        event = ProjectSaved(**_attributes(project_id, project.owner), data=project)
        return await _append(events, event, project_subject(project_id))
    job = old_job(key, record)
    if events is not None and await events.last(job_filter(job.id)):
        return False
    report.notes += [Left(table, key, note) for note in job.notes]
    old_base, outputs = await asyncio.to_thread(_outputs, job, origin)
    if not outputs:
        report.notes.append(Left(table, key, "no finished file of it was found"))
    if events is None:
        report.files += len(outputs)
        return True
    base_dir, artifacts = await asyncio.to_thread(_bring_files, job, old_base, outputs, layout)
    data = job.data.model_copy(
        update={"submitted": job.data.submitted.model_copy(update={"base_dir": base_dir}), "outputs": artifacts}
    )
    event = JobImported(**_attributes(job.id, data.submitted.owner), data=data)
    taken = await _append(events, event, job_filter(job.id))
    if taken:
        report.files += len(artifacts)
        report.bytes += sum(artifact.size for artifact in artifacts)
        await asyncio.to_thread(layout.write_pointer, job.id, base_dir, data.submitted.title)
    return taken


def _attributes(subject: str, owner: str) -> dict[str, Any]:
    event_id = uuid7()
    return {
        "id": event_id,
        "source": SOURCE,
        "subject": subject,
        "time": datetime.now(UTC),
        "actor": owner or LOCAL_OWNER,
        "correlationid": event_id,
    }


async def _append(events: EventLog | None, event: Event, scope: str) -> bool:
    if events is None:
        return True
    try:
        await events.append(event, Expect(scope, 0))
    except ConflictError:
        return False
    return True


def _outputs(job: OldJob, origin: Origin) -> tuple[Path, list[Path]]:
    """Return a job's old directory and its finished files, with the segments of its streams: regular files only."""
    root = origin.output.resolve()
    named = posixpath.join(job.project_subdir, job.data.submitted.stem)
    base_dir = base_dirs.resolve(root, job.id, job.recorded, named)
    if base_dir is None:
        return root, []
    found = discover_outputs(root, base_dir, ())
    paths = {root / file.path for file in found.files}
    for playlist in [path for path in paths if path.suffix == ".m3u8"]:
        paths |= {path for path in playlist.parent.iterdir() if path.suffix in HLS_SUFFIXES}
    return root / base_dir, sorted(path for path in paths if path.is_file() and not path.is_symlink())


def _bring_files(job: OldJob, old_base: Path, outputs: list[Path], layout: Layout) -> tuple[str, list[Artifact]]:
    """Claim a directory and put the files in it, under the paths that they had. Undoes itself. Raises OSError."""
    layout.output.mkdir(parents=True, exist_ok=True)
    base_dir = layout.claim_base_dir(job.id, job.data.submitted.stem, job.project_subdir)
    base = layout.output / base_dir
    try:
        return base_dir, [_bring(path, base / path.relative_to(old_base), layout) for path in outputs]
    except BaseException:
        shutil.rmtree(base, ignore_errors=True)
        raise


def _bring(old: Path, new: Path, layout: Layout) -> Artifact:
    publish_again(old, new)
    digest = hashlib.sha256()
    with new.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    path = new.relative_to(layout.output).as_posix()
    return Artifact(name=new.name, path=path, size=new.stat().st_size, sha256=digest.hexdigest())
