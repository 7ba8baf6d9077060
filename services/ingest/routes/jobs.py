"""`POST /api/jobs`: submitting a video.

Lives here: the route and the two kinds of body. Does not live here: reading one source (`submitting`), many videos at
once (`batch`), and what becomes of them (`services.ingest.submission`).
"""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from services.ingest.accounts import throttle
from services.ingest.asker import Asker, By
from services.ingest.body import chunks_of, pump
from services.ingest.fields import UploadSubmission, parse_body, parse_form
from services.ingest.form import FormReader, boundary_of
from services.ingest.routes.context import FromApp, Service
from services.ingest.routes.examples import JOB_ID, SUBMIT_BODY
from services.ingest.routes.submitting import check_rate, new_part, read_json, submit_part, submit_source
from services.ingest.storage import too_large
from services.ingest.submission import Accepted
from shared.access.current import ClientAddress
from shared.job.model import JobState
from shared.openapi import problem
from shared.problems import Problem

FORM_OVERHEAD_BYTES = 20 << 20
"""What a form's other fields and headers may add to the video, at their limits."""

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
        404: problem("No such file in the input folder, or no such upload", "video_not_found", "upload_not_found"),
        409: problem(
            "The key, or the upload, was used up",
            *("idempotency_mismatch", "idempotency_job_deleted", "upload_used", "upload_incomplete", "upload_in_use"),
        ),
        410: problem("The upload expired, or was removed", "upload_gone"),
        408: problem("Nothing arrived for a minute", "upload_stalled"),
        413: problem("Too large; a video above MAX_UPLOAD_MB", "upload_too_large", "form_too_large", "body_too_large"),
        415: problem("Neither JSON nor a form by its Content-Type", "unsupported_body"),
        429: problem(
            "A limit of this user, which the member `quota` names; or too many a minute",
            *("quota_exceeded", "too_many_requests"),
        ),
        422: problem(
            "Not acceptable",
            *("invalid_request", "invalid_language", "invalid_tags", "unknown_project", "unknown_preset", "no_file"),
            *("same_language", "unsupported_pair", "not_a_video", "no_audio", "no_speech", "truncated_file"),
            *("invalid_import", "not_supported_yet"),
        ),
        500: problem("The media check itself failed", "media_check_failed"),
        503: problem("Nothing was accepted; try again", "log_unavailable", "no_worker", "too_many_checks"),
        507: problem("No room on the disk", "disk_full"),
    },
)
async def submit(request: Request, by: Asker, address: ClientAddress, service: FromApp) -> Response:
    """Accept a video as multipart/form-data (`file`) or, by its path in the input folder, as JSON.

    The answer comes after the job is in the log: 202 means that it will be dubbed, or end FAILED with a reason.
    """
    check_rate(service, throttle.SUBMIT, by, address)
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        accepted = await _submit_form(request, by, service)
    elif kind == "application/json":
        accepted = await _submit_path(request, by, service)
    else:
        raise Problem(415, "unsupported_body", "Send multipart/form-data with a file, or application/json.")
    answer = JobAnswer.of(accepted.job_id, accepted.state)
    status = 202 if accepted.created else 200
    return JSONResponse(answer.model_dump(mode="json"), status, {"Location": answer.url})


async def _submit_form(request: Request, by: By, service: Service) -> Accepted:
    _ = service.bus.log  # a video is not taken for a log that is away
    limit = service.settings.max_upload_bytes
    if int(request.headers.get("content-length", "0")) > limit + FORM_OVERHEAD_BYTES:
        raise too_large(limit)
    async with new_part(service) as part:
        reader = FormReader(boundary_of(request.headers["content-type"]), lambda _name: part.write)
        await pump(chunks_of(request, service.settings.body_idle_s), reader.feed)
        reader.finish()
        fields = parse_form(reader.fields, request.headers.get("idempotency-key"))
        if isinstance(fields, UploadSubmission) and reader.file_name is None:
            return await submit_source(fields, request, by, service)
        if isinstance(fields, UploadSubmission):
            raise Problem(422, "invalid_request", "The form has a file and an upload_id. Send one of them.")
        if reader.file_name is None:
            raise Problem(422, "no_file", "The form has no field named file. Attach the video there.")
        return await submit_part(fields, reader.file_name, part, request, by, service)


async def _submit_path(request: Request, by: By, service: Service) -> Accepted:
    fields = parse_body(await read_json(request, service), request.headers.get("idempotency-key"))
    return await submit_source(fields, request, by, service)
