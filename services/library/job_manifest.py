"""manifests/job.json: the index of one job's directory, a projection of the log like any row.

Lives here: its content, purely from the aggregate (times come from events, so replay gives the same bytes), and the
best-effort writer, which waits for nobody and whom nobody waits for.
"""

import asyncio
import posixpath
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import structlog
from pydantic import TypeAdapter

from services.library.view import outputs
from shared.events.envelope import Timestamp
from shared.job.aggregate import Job, StageStatus
from shared.job.stages import GRAPH
from shared.layout import JobPaths, Layout
from shared.manifests import JobInfo, JobLayoutInfo, JobManifest, JobOutputs, SpecialFiles

_TIMESTAMP: TypeAdapter[object] = TypeAdapter(Timestamp)

log = structlog.get_logger()


def paths_of(job: Job, layout: Layout) -> JobPaths:
    return layout.job(job.id, job.submitted.base_dir, job.submitted.stem)


def build(job: Job, layout: Layout) -> JobManifest:
    """Return the content of job.json. `layout.output` is named in it as it is configured."""
    submitted, paths = job.submitted, paths_of(job, layout)

    def inside(path: str) -> str:
        return posixpath.relpath(path, submitted.base_dir)

    found = outputs(job)
    spoken = job.stages["tts"].status is StageStatus.DONE
    return JobManifest(
        job=JobInfo(
            id=job.id,
            owner_id=submitted.owner,
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
            work_dir_rel=paths.relative(paths.work),
        ),
        manifests={
            stage: inside(paths.relative(paths.stage_manifest(stage))) for stage in GRAPH if stage in job.done_stages
        },
        special=SpecialFiles(tts_manifest=inside(paths.relative(paths.speech_manifest)) if spoken else None),
        outputs=JobOutputs(
            primary={output.kind: inside(output.path) for output in found if output.kind != "subs"},
            subs=[inside(output.path) for output in found if output.kind == "subs"],
        ),
    )


def write(job: Job, layout: Layout) -> None:
    """Write job.json; a job whose directory somebody removed does not get it back. Raises OSError."""
    paths = paths_of(job, layout)
    if paths.base.is_dir():
        build(job, layout).write(paths.job_manifest)


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

    def offer(self, jobs: Iterable[Job], seq: int) -> None:
        """Take the jobs of a committed batch that ends at this sequence."""
        self._pending |= {job.id: job for job in jobs}
        self._seq = max(self._seq, seq)
        self._work.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                jobs, self._pending, seq = self._pending, {}, self._seq
                for job in jobs.values():
                    try:
                        await loop.run_in_executor(self._thread, write, job, self._layout)
                    except OSError as error:
                        log.warning("job_manifest_not_written", job_id=job.id, error=error.strerror)
                await self._written(seq)
        finally:
            self._thread.shutdown()
