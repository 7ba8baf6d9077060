"""`POST /api/jobs/batch`: several submissions in one request.

Lives here: the route, and submitting the items one after another. Does not live here: the bodies' rules
(`services.ingest.batch`). Each item is checked, and counted against the quotas, as a submission of its own (predecessor
trap A11: its batch looked at no quota).
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from services.ingest.accounts import throttle
from services.ingest.asker import Asker, By
from services.ingest.batch import ITEMS_MAX, items_of, shared_fields
from services.ingest.body import chunks_of, pump
from services.ingest.bus import unavailable
from services.ingest.form import FormReader, boundary_of
from services.ingest.routes.context import FromApp, Service
from services.ingest.routes.examples import BATCH_BODY, JOB_ID
from services.ingest.routes.jobs import JobAnswer
from services.ingest.routes.submitting import check_rate, open_part, read_json, submit_part, submit_source
from services.ingest.storage import Part
from services.ingest.submission import Accepted
from shared.access.current import ClientAddress
from shared.eventlog.port import LogUnavailableError
from shared.openapi import problem
from shared.problems import Problem
from shared.threads import in_thread

FILE_FIELDS = ("files", "files[]")

router = APIRouter(prefix="/api/jobs", tags=["jobs"])

Submit = Callable[[], Awaitable[Accepted]]


class BatchItem(BaseModel):
    """What became of one item: its job, or the problem that the same submission alone would have had."""

    index: int = Field(examples=[0])
    id: str | None = Field(None, examples=[JOB_ID])
    state: str | None = Field(None, examples=["QUEUED"])
    url: str | None = Field(None, examples=[f"/api/jobs/{JOB_ID}"])
    problem: dict[str, Any] | None = None


class BatchAnswer(BaseModel):
    """`ids` are the jobs, in the order of their items; a refused item has none."""

    ids: list[str] = Field(examples=[[JOB_ID]])
    items: list[BatchItem]


@router.post(
    "/batch",
    status_code=202,
    summary="Submit several videos",
    response_model=BatchAnswer,
    openapi_extra=BATCH_BODY,
    responses={
        400: problem("Neither JSON nor a form", "malformed_json", "malformed_form"),
        408: problem("Nothing arrived for a minute", "upload_stalled"),
        413: problem("Too large", "upload_too_large", "form_too_large", "body_too_large"),
        415: problem("Neither JSON nor a form by its Content-Type", "unsupported_body"),
        422: problem(
            "The whole batch, or each of its items, is refused",
            *("invalid_request", "invalid_items", "batch_refused", "no_file", "not_supported_yet"),
            *("invalid_language", "invalid_tags", "invalid_import"),
        ),
        404: problem("None of the files or uploads is there", "batch_refused"),
        409: problem("Each key or upload was used up", "batch_refused"),
        410: problem("Each upload expired", "batch_refused"),
        429: problem("Too many a minute; or each item is over a limit", "too_many_requests", "batch_refused"),
        503: problem("Nothing was accepted; try again", "log_unavailable", "batch_refused"),
        507: problem("No room on the disk", "disk_full", "batch_refused"),
    },
)
async def submit_batch(request: Request, by: Asker, address: ClientAddress, service: FromApp) -> Response:
    """Submit up to 50 videos, as JSON by their paths or uploads, or as multipart/form-data (`files`).

    A body that is wrong is refused whole. After that each item is for itself: 202 has a job or a problem for each, and
    only where no item made a job the answer is a refusal, with the items in its member `items`. With an idempotency
    key for the batch, the items have keys of their own (`key#0`, `key#1`, …), and a retry makes only what is missing.
    """
    check_rate(service, throttle.BATCH, by, address)
    _ = service.bus.log  # nothing is taken for a log that is away
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        items = await _submit_form(request, by, service)
    elif kind == "application/json":
        wanted = items_of(await read_json(request, service), request.headers.get("idempotency-key"))
        items = await _each([partial(submit_source, fields, request, by, service) for fields in wanted])
    else:
        raise Problem(415, "unsupported_body", "Send multipart/form-data with files, or application/json.")
    ids = [item.id for item in items if item.id is not None]
    if not ids:
        raise _refused(items)
    answer = BatchAnswer(ids=ids, items=items)
    return JSONResponse(answer.model_dump(mode="json", exclude_none=True), 202)


async def _submit_form(request: Request, by: By, service: Service) -> list[BatchItem]:
    async with _parts(service) as (parts, open_sink):
        boundary = boundary_of(request.headers["content-type"])
        reader = FormReader(boundary, open_sink, files=FILE_FIELDS, most=ITEMS_MAX)
        await pump(chunks_of(request, service.settings.body_idle_s), reader.feed)
        reader.finish()
        wanted = shared_fields(reader.fields, request.headers.get("idempotency-key"), len(parts))
        return await _each(
            [
                partial(submit_part, fields, name, part, request, by, service)
                for fields, name, part in zip(wanted, reader.file_names, parts, strict=True)
            ]
        )


@asynccontextmanager
async def _parts(service: Service) -> AsyncIterator[tuple[list[Part], Callable[[str], Callable[[memoryview], None]]]]:
    """Have as many files to receive videos into as begin; in the end nothing is left that no job has."""
    parts: list[Part] = []

    def open_sink(_name: str) -> Callable[[memoryview], None]:
        parts.append(open_part(service))
        return parts[-1].write

    def discard() -> None:
        for part in parts:
            part.discard()

    try:
        yield parts, open_sink
    finally:
        await in_thread(discard)


async def _each(submits: list[Submit]) -> list[BatchItem]:
    """Submit one after another: each takes its place in the queue, and its part of the quotas, before the next asks."""
    return [await _one(index, submit) for index, submit in enumerate(submits)]


async def _one(index: int, submit: Submit) -> BatchItem:
    try:
        accepted = await submit()
    except Problem as refused:
        return BatchItem(index=index, problem=refused.body)
    except LogUnavailableError:
        return BatchItem(index=index, problem=unavailable().body)
    answer = JobAnswer.of(accepted.job_id, accepted.state)
    return BatchItem(index=index, id=answer.id, state=answer.state.value, url=answer.url)


def _refused(items: list[BatchItem]) -> Problem:
    """Return the refusal of a batch that made no job: with the status of its items where all have the same one."""
    statuses = {item.problem["status"] for item in items if item.problem is not None}
    status = statuses.pop() if len(statuses) == 1 else 422
    detail = "None of the items could be submitted; each one's problem is in items."
    told = [item.model_dump(mode="json", exclude_none=True) for item in items]
    return Problem(status, "batch_refused", detail, items=told)
