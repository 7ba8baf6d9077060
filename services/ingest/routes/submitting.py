"""What the routes that take videos share: one source each, and the JSON body that names it.

Lives here: reading the body, and from a source to the submission. Does not live here: the routes (`jobs`, `batch`,
`estimate`) and what becomes of a submission (`services.ingest.submission`).
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Any

from fastapi import Request

from services.ingest import submission
from services.ingest.accounts.throttle import Limit
from services.ingest.asker import By
from services.ingest.body import chunks_of, disconnected
from services.ingest.fields import PathSubmission, Submission, UploadSubmission
from services.ingest.naming import clean_title
from services.ingest.routes.context import Service
from services.ingest.storage import Part, copy_input
from services.ingest.submission import Accepted
from services.ingest.uploads.claims import claimed, nameless
from shared.problems import Problem
from shared.threads import in_thread, made_in_thread

JSON_MAX_BYTES = 8 << 20
"""Three imported texts at their limits, and what JSON adds to them."""
JSON_AT_ONCE_BYTES = 64 << 10
"""A larger body is decoded in a thread."""


def check_rate(service: Service, limit: Limit, by: By, address: str) -> None:
    """Raise Problem 429 for too many a minute; whoever holds this machine's own key runs it, and is not counted."""
    if by.principal.kind != "local":
        service.accounts.throttle.check(limit, by.actor, address)


async def read_json(request: Request, service: Service) -> dict[str, Any]:
    """Return the object that the body is. Raises Problem 400, 408, 413, 422, starlette's ClientDisconnect."""
    body = bytearray()
    async for chunk in chunks_of(request, service.settings.body_idle_s):
        body += chunk
        if len(body) > JSON_MAX_BYTES:
            raise Problem(413, "body_too_large", f"The JSON body is larger than {JSON_MAX_BYTES} bytes.")
    try:
        raw = json.loads(body) if len(body) <= JSON_AT_ONCE_BYTES else await asyncio.to_thread(json.loads, body)
    except (ValueError, RecursionError) as error:  # the latter of thousands of brackets
        raise Problem(400, "malformed_json", "The body is not JSON.") from error
    if not isinstance(raw, dict):
        raise Problem(422, "invalid_request", "The body is not a JSON object.")
    return raw


async def submit_source(
    fields: PathSubmission | UploadSubmission, request: Request, by: By, service: Service
) -> Accepted:
    """Submit a file of the input folder, or an upload. Raises as `Submissions.submit`, and Problem 404, 409, 410."""
    if isinstance(fields, UploadSubmission):
        return await _submit_upload(fields, request, by, service)
    asked = submission.Request(fields, clean_title(fields.video_path), f"path:{fields.video_path}", by)
    if found := await service.submissions.earlier(asked):
        return found
    async with new_part(service) as part:
        await in_thread(copy_input, service.settings.layout, fields.video_path, part)
        await in_thread(part.finish)
        return await service.submissions.submit(asked, part, partial(disconnected, request))


async def submit_part(
    fields: Submission, file_name: str, part: Part, request: Request, by: By, service: Service
) -> Accepted:
    """Submit a video that the request itself brought. Raises as `Submissions.submit`."""
    await in_thread(part.finish)
    asked = submission.Request(fields, clean_title(file_name), f"sha256:{part.sha256}", by)
    return await service.submissions.submit(asked, part, partial(disconnected, request))


async def _submit_upload(fields: UploadSubmission, request: Request, by: By, service: Service) -> Accepted:
    """Of several submissions of one upload the first that makes a job has it; one with its key hears of that job."""
    upload = service.uploads.find(fields.upload_id, by.principal)
    asked = submission.Request(fields, upload.record.title, f"upload:{upload.id}", by)
    if found := await service.submissions.earlier(asked):
        return found
    try:
        async with claimed(service.uploads, service.settings.layout, upload, by.principal) as source:
            private = service.submissions.keeping(fields).private
            async with nameless(service.uploads, upload) if private else nullcontext():
                accepted = await service.submissions.submit(asked, source, partial(disconnected, request))
            source.job_id = accepted.job_id
            return accepted
    except Problem as problem:
        if problem.code == "upload_used" and (found := await service.submissions.earlier(asked)):
            return found
        raise


@asynccontextmanager
async def new_part(service: Service) -> AsyncIterator[Part]:
    """Have a file to receive a video into; in the end nothing of it is left that no job has."""
    part = await made_in_thread(partial(open_part, service), Part.discard)
    try:
        yield part
    finally:
        await in_thread(part.discard)


def open_part(service: Service) -> Part:
    """Return a new file to receive a video into. Raises Problem 507, OSError."""
    settings = service.settings
    limits = settings.max_upload_bytes, settings.min_free_bytes
    return Part(settings.layout, *limits, service.uploads.store.media)
