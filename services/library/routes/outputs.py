"""GET /api/jobs/{id}/files (also /outputs) and /api/jobs/{id}/stream/manifest: what of a job is on disk now.

Lives here: those answers. Does not live here: which file is what (`shared.outputs`), sending one (`files`).
"""

import asyncio
import errno
from pathlib import Path

import orjson
from fastapi import APIRouter, Response

from services.library.answers import answer
from services.library.library import get_job
from services.library.routes import examples
from services.library.routes.documents import GONE, NO_JOB, JobId, found, problem
from services.library.routes.jobs import IfNoneMatch, NeedsLibrary
from shared.access.current import Who
from shared.base_dirs import is_reserved
from shared.below import NOT_THERE, directory_below, read_at
from shared.outputs import Outputs, discover_outputs
from shared.problems import Problem

MANIFEST_MAX_BYTES = 8 << 20
_DAMAGED = NOT_THERE | {errno.EFBIG, errno.EINVAL}

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


@router.get(
    "/{job_id}/files",
    response_model=Outputs,
    summary="The files of a job",
    responses={**found("What is on disk now.", examples.FILES), **NO_JOB, **GONE},
)
@router.get(
    "/{job_id}/outputs",
    response_model=Outputs,
    summary="The files of a job, by another name",
    responses={**found("What is on disk now.", examples.FILES), **NO_JOB, **GONE},
)
async def job_files(library: NeedsLibrary, who: Who, job_id: JobId, if_none_match: IfNoneMatch = None) -> Response:
    """The outputs that exist on disk now: all of them in `files`, and the main ones by kind, null if absent."""
    job = await get_job(library, job_id, who)
    there = await asyncio.to_thread(discover_outputs, library.layout.output, job.get("base_dir") or "", job["outputs"])
    return answer(there.model_dump_json().encode(), if_none_match)


@router.get(
    "/{job_id}/stream/manifest",
    response_model=dict[str, object],
    summary="The chunks of a streamed dub",
    responses={
        **found("stream/manifest.json as it is on disk.", examples.STREAM),
        **problem(404, "There is no such job, or it has no stream.", "job_not_found", "stream_not_found"),
        **GONE,
    },
)
async def stream_manifest(
    library: NeedsLibrary, who: Who, job_id: JobId, if_none_match: IfNoneMatch = None
) -> Response:
    """`stream/manifest.json` of the job's directory."""
    job = await get_job(library, job_id, who)
    text = await asyncio.to_thread(_read_manifest, library.layout.output, job.get("base_dir") or "")
    if text is None:
        raise Problem(404, "stream_not_found", "This job has no streamed dub.")
    return answer(text, if_none_match)


def _read_manifest(output: Path, base_dir: str) -> bytes | None:
    """Return the file if it is a JSON object. Raises OSError for a failing disk."""
    if is_reserved(base_dir):
        return None
    try:
        with directory_below(output, f"{base_dir}/stream") as directory:
            text = read_at(directory, "manifest.json", MANIFEST_MAX_BYTES)
    except OSError as error:
        if error.errno in _DAMAGED:
            return None
        raise
    try:
        return text if isinstance(orjson.loads(text), dict) else None
    except orjson.JSONDecodeError:
        return None
