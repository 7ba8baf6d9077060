"""manifests/job.json: the index of one job's directory, a projection of the log like any row.

Lives here: its content, purely from the aggregate (times come from events, so replay gives the same bytes), the
best-effort writer, which waits for nobody and whom nobody waits for, and writing all of them anew from the log.
Does not live here: its schema (`shared.manifests`) and reading it (`shared.outputs`).
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from services.library.committed import Committed
from shared.base_dirs import marker_of
from shared.below import directory_at, directory_below, read_at, write_at
from shared.eventlog.job_history import step
from shared.eventlog.port import EventLog, Recorded
from shared.events.envelope import Timestamp
from shared.events.library import JobDeleted
from shared.events.subjects import job_of
from shared.job.kept import goes_from_work
from shared.job.model import Job
from shared.job.stages import GRAPH
from shared.layout import Layout
from shared.manifests import JobInfo, JobLayoutInfo, JobManifest, JobOutputs, PrivacyFlags, SpecialFiles
from shared.outputs import Kind, kind_of, place

READ_AT_ONCE = 256
_TIMESTAMP: TypeAdapter[object] = TypeAdapter(Timestamp)
_PRIMARY: tuple[Kind, ...] = ("mkv", "mp4", "hls_manifest", "lipsync_mp4")
_MOBILE: tuple[Kind, ...] = ("mobile_mp4", "mobile_original_mp4", "mobile_hls_manifest")

log = structlog.get_logger()


class NotItsDirectoryError(OSError):
    """The job's base directory does not have the job's marker, so nothing is written there."""


def build(job: Job, layout: Layout) -> JobManifest:
    """Return the content of job.json. `layout.output` is named in it as it is configured."""
    submitted = job.submitted
    paths = layout.job(job.id, submitted.base_dir, submitted.stem)

    def inside(path: Path) -> str:
        return path.relative_to(paths.base).as_posix()

    made, keeping = _made(job), submitted.keeping
    has_sound, has_speech = (
        job.imported is None and not goes_from_work(keeping, job.state, path.name)
        for path in (paths.dialogue, paths.speech_manifest)
    )

    def if_made(path: Path) -> str | None:
        return inside(path) if inside(path) in made else None

    return JobManifest(
        job=JobInfo(
            id=job.id,
            owner_id=submitted.owner,
            visibility=job.visibility,
            created_at=_TIMESTAMP.dump_python(job.created_at),
            updated_at=_TIMESTAMP.dump_python(job.updated_at),
            mode=job.mode,
            device=submitted.device,
            src_lang=submitted.src_lang,
            tgt_lang=submitted.tgt_lang,
            state=job.state,
        ),
        layout=JobLayoutInfo(
            output_root=str(layout.output),
            base_dir_rel=submitted.base_dir,
            jobs_ptr_rel=paths.relative(layout.pointer(job.id)),
            work_dir_rel=paths.relative(paths.work) if has_sound or has_speech else None,
        ),
        manifests={stage: inside(paths.stage_manifest(stage)) for stage in GRAPH if stage in job.done_stages},
        special=SpecialFiles(
            stream_manifest=if_made(paths.stream_manifest),
            tts_manifest=inside(paths.speech_manifest) if "tts" in job.done_stages and has_speech else None,
            review_state=if_made(paths.review_state),
            qa_summary=if_made(paths.qa_summary),
        ),
        outputs=_outputs(job, made),
        privacy=PrivacyFlags(
            privacy_mode=keeping.private,
            no_store_transcript=not keeping.transcript,
            no_store_source_audio=not keeping.source_audio,
            minimal_artifacts=not keeping.logs,
        ),
    )


def _made(job: Job) -> frozenset[str]:
    """Return the files that the job's stages published, or that came with it, relative to its base directory."""
    base = f"{job.submitted.base_dir}/"
    artifacts = [*(job.imported or ()), *(made for stage in job.done_stages for made in job.stages[stage].outputs)]
    return frozenset(artifact.path.removeprefix(base) for artifact in artifacts if artifact.path.startswith(base))


def _outputs(job: Job, made: frozenset[str]) -> JobOutputs:
    kinds = {path: kind_of(path) for path in made if not path.startswith(f"work/{job.id}/")}
    by_kind: dict[Kind, list[str]] = {}
    for _, kind, path in sorted((place(kind, path), kind, path) for path, kind in kinds.items() if kind):
        by_kind.setdefault(kind, []).append(path)
    return JobOutputs(
        primary={kind: by_kind[kind][0] for kind in _PRIMARY if kind in by_kind},
        mobile={kind: by_kind[kind][0] for kind in _MOBILE if kind in by_kind},
        tracks=by_kind.get("audio_track", []),
        subs=by_kind.get("subs", []),
    )


def write(job: Job, layout: Layout) -> bool:
    """Write job.json into the job's own directory; True if it is there now, as new as the job.

    False for a job whose directory somebody removed: it does not come back. The directory is held open, so that one
    that is moved away meanwhile takes the file with it. Raises NotItsDirectoryError, OSError.
    """
    data = build(job, layout).encode()
    path = layout.job(job.id, job.submitted.base_dir, job.submitted.stem).job_manifest
    try:
        with directory_below(layout.output, job.submitted.base_dir) as base:
            if not job.submitted.base_dir or marker_of(base) != job.id:
                raise NotItsDirectoryError(errno.EPERM, "the directory does not have its marker")
            with suppress(FileExistsError):
                os.mkdir(path.parent.name, dir_fd=base)
            with directory_at(base, path.parent.name) as manifests:
                if not _has(manifests, path.name, data):
                    write_at(manifests, path.name, data)
    except FileNotFoundError:
        return False
    return True


def _has(directory: int, name: str, data: bytes) -> bool:
    """Return whether the file is so already: a restart offers many jobs of which nothing changed."""
    try:
        return read_at(directory, name, len(data)) == data
    except OSError:
        return False


class ManifestWriter:
    """Writes job.json of the jobs that changed, newest state only, in a thread of its own.

    `written(seq)` is called when every job is as new as that event, so that a restart knows where to go on.
    """

    def __init__(self, layout: Layout, written: Callable[[int], Awaitable[None]]) -> None:
        self._layout = layout
        self._written = written
        self._pending: dict[str, Job] = {}
        self._seq = 0
        self._work = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "job-json-writer")

    def offer(self, committed: Committed) -> None:
        """Take the jobs of a committed batch; what waits for one that it deletes is dropped."""
        self._pending |= {job.id: job for job in committed.jobs}
        for recorded in committed.batch:
            if isinstance(recorded.event, JobDeleted):
                self._pending.pop(recorded.event.subject, None)
        self._seq = max(self._seq, committed.seq)
        self._work.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                seq = self._seq
                while self._pending:
                    job = self._pending.pop(next(iter(self._pending)))
                    await loop.run_in_executor(self._thread, write_or_warn, job, self._layout)
                await self._written(seq)
        finally:
            self._thread.shutdown()


def write_or_warn(job: Job, layout: Layout) -> bool:
    """Write job.json, or log why not: no job is worse off without it. True if it is there now."""
    try:
        return write(job, layout)
    except OSError as error:
        log.warning("job_manifest_not_written", job_id=job.id, error=error.strerror)
        return False


async def rebuild_manifests(log_: EventLog, layout: Layout) -> int:
    """Write job.json of every job anew from the log, byte for byte as it was, and return how many there are now.

    Reads the log twice: first to know each job's last event, so that a job is dropped from memory as soon as it is
    written. Raises LogUnavailableError.
    """
    last: dict[str, int] = {}
    async for recorded, job_id in _of_jobs(log_, 0):
        last[job_id] = recorded.seq
    jobs: dict[str, Job | None] = {}
    written = 0
    async for recorded, job_id in _of_jobs(log_, max(last.values(), default=0)):
        job, _ = step(jobs.get(job_id), recorded)
        jobs[job_id] = job
        if recorded.seq == last[job_id]:
            del jobs[job_id]
            if job is not None and not job.deleted:
                written += await asyncio.to_thread(write_or_warn, job, layout)
    return written


async def _of_jobs(log_: EventLog, up_to: int) -> AsyncIterator[tuple[Recorded, str]]:
    """Yield the records of all jobs in order, up to a sequence (0: to the end)."""
    after = 0
    while batch := await log_.read(after=after, limit=READ_AT_ONCE):
        for recorded in batch:
            if up_to and recorded.seq > up_to:
                return
            if job_id := job_of(recorded.subject):
                yield recorded, job_id
        after = batch[-1].seq
