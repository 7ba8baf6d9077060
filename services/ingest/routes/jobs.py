"""`POST /api/jobs`: submitting a video.

Lives here: reading the two kinds of body. Does not live here: what becomes of them (`services.ingest.submission`).
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from services.ingest import submission
from services.ingest.body import chunks_of, disconnected, pump
from services.ingest.fields import Submission, parse_body, parse_form, trace_parent
from services.ingest.form import FormReader, boundary_of
from services.ingest.naming import clean_title
from services.ingest.routes.context import FromApp, Service
from services.ingest.routes.examples import JOB_ID, SUBMIT_BODY
from services.ingest.storage import Part, copy_input, too_large
from services.ingest.submission import Accepted
from shared.job.model import JobState
from shared.openapi import problem
from shared.problems import Problem

FORM_OVERHEAD_BYTES = 4 << 20
"""What a form's other fields and headers may add to the video, at their limits."""
JSON_MAX_BYTES = 64 << 10
CLIENT_GONE = 499
"""Nobody reads this answer; the number is nginx's."""

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


class JobAnswer(BaseModel):
    """A job that a write touched; its whole story is at `url`."""

    id: str = Field(examples=[JOB_ID])
    state: JobState = Field(examples=["QUEUED"])
    url: str = Field(examples=[f"/api/jobs/{JOB_ID}"])

    @classmethod
    def of(cls, job_id: str, state: JobState) -> "JobAnswer":
        return cls(id=job_id, state=state, url=f"/api/jobs/{job_id}")


@router.post(
    "",
    status_code=202,
    summary="Submit a video to be dubbed",
    response_model=JobAnswer,
    openapi_extra=SUBMIT_BODY,
    responses={
        200: {"model": JobAnswer, "description": "An earlier request with this idempotency key made this job."},
        400: problem("Neither JSON nor a form", "malformed_json", "malformed_form"),
        404: problem("No such file in the input folder", "video_not_found"),
        409: problem("The key was used up", "idempotency_mismatch", "idempotency_job_deleted"),
        408: problem("Nothing arrived for a minute", "upload_stalled"),
        413: problem("Too large; a video above MAX_UPLOAD_MB", "upload_too_large", "form_too_large", "body_too_large"),
        415: problem("Neither JSON nor a form by its Content-Type", "unsupported_body"),
        429: problem("A limit of this user; the member `quota` names it", "quota_exceeded"),
        422: problem(
            "Not acceptable",
            *("invalid_request", "invalid_language", "invalid_tags", "unknown_project", "unknown_preset", "no_file"),
            *("same_language", "unsupported_pair", "not_a_video", "no_audio", "no_speech", "truncated_file"),
        ),
        500: problem("The media check itself failed", "media_check_failed"),
        503: problem("Nothing was accepted; try again", "log_unavailable", "no_worker"),
        507: problem("No room on the disk", "disk_full"),
    },
)
async def submit(request: Request, service: FromApp) -> Response:
    """Accept a video as multipart/form-data (`file`) or, by its path in the input folder, as JSON.

    The answer comes after the job is in the log: 202 means that it will be dubbed, or end FAILED with a reason.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            accepted = await _submit_form(request, service)
        elif kind == "application/json":
            accepted = await _submit_path(request, service)
        else:
            raise Problem(415, "unsupported_body", "Send multipart/form-data with a file, or application/json.")
    except ClientDisconnect:
        return Response(status_code=CLIENT_GONE)
    answer = JobAnswer.of(accepted.job_id, accepted.state)
    status = 202 if accepted.created else 200
    return JSONResponse(answer.model_dump(mode="json"), status, {"Location": answer.url})


async def _submit_form(request: Request, service: Service) -> Accepted:
    _ = service.bus.log  # a video is not taken for a log that is away
    limit = service.settings.max_upload_bytes
    if int(request.headers.get("content-length", "0")) > limit + FORM_OVERHEAD_BYTES:
        raise too_large(limit)
    async with _part(service) as part:
        reader = FormReader(boundary_of(request.headers["content-type"]), part.write)
        await pump(chunks_of(request, service.settings.body_idle_s), reader.feed)
        reader.finish()
        if reader.file_name is None:
            raise Problem(422, "no_file", "The form has no field named file. Attach the video there.")
        fields = parse_form(reader.fields, request.headers.get("idempotency-key"))
        await asyncio.to_thread(part.finish)
        asked = _asked(request, fields, clean_title(reader.file_name), f"sha256:{part.sha256}")
        return await service.submissions.submit(asked, part, partial(disconnected, request))


async def _submit_path(request: Request, service: Service) -> Accepted:
    body = bytearray()
    async for chunk in chunks_of(request, service.settings.body_idle_s):
        body += chunk
        if len(body) > JSON_MAX_BYTES:
            raise Problem(413, "body_too_large", f"The JSON body is larger than {JSON_MAX_BYTES} bytes.")
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError) as error:  # the latter of thousands of brackets
        raise Problem(400, "malformed_json", "The body is not JSON.") from error
    if not isinstance(raw, dict):
        raise Problem(422, "invalid_request", "The body is not a JSON object.")
    fields = parse_body(raw, request.headers.get("idempotency-key"))
    asked = _asked(request, fields, clean_title(fields.video_path), f"path:{fields.video_path}")
    if found := await service.submissions.earlier(asked):
        return found
    async with _part(service) as part:
        await asyncio.to_thread(copy_input, service.settings.layout, fields.video_path, part)
        await asyncio.to_thread(part.finish)
        return await service.submissions.submit(asked, part, partial(disconnected, request))


@asynccontextmanager
async def _part(service: Service) -> AsyncIterator[Part]:
    settings = service.settings
    part = await asyncio.to_thread(Part, settings.layout, settings.max_upload_bytes, settings.min_free_bytes)
    try:
        yield part
    except asyncio.CancelledError:
        part.discard()  # the service is stopping: a thread might not be waited for any more
        raise
    finally:
        await asyncio.to_thread(part.discard)


def _asked(request: Request, fields: Submission, title: str, content: str) -> submission.Request:
    return submission.Request(fields, title, content, trace_parent(request.headers.get("traceparent")))
