"""`/api/uploads/tus`: tus 1.0.0 with creation, creation-with-upload, checksum, termination and expiration.

Lives here: the routes. Does not live here: the headers (`services.ingest.uploads.tus`) and what they do to an upload
(`services.ingest.uploads`).
"""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.routing import APIRoute

from services.ingest.accounts.throttle import UPLOAD_CHUNK, UPLOAD_CREATE
from services.ingest.asker import Asker, By
from services.ingest.body import chunks_of
from services.ingest.bus import unavailable
from services.ingest.fields import UPLOAD_ID
from services.ingest.naming import clean_title
from services.ingest.routes.context import FromApp, Service
from services.ingest.routes.submitting import check_rate
from services.ingest.uploads import tus
from services.ingest.uploads.record import Wanted
from services.ingest.uploads.store import Upload
from shared.access.current import ClientAddress
from shared.eventlog.port import LogUnavailableError
from shared.openapi import problem
from shared.problems import Problem

PATH = "/api/uploads/tus"

UploadId = Annotated[str, Path(json_schema_extra={"pattern": UPLOAD_ID}, examples=["up_0123456789abcdef"])]
"""The pattern is told but not enforced: what is no id is an unknown upload, 404."""

Answer = Callable[[Request], Coroutine[Any, Any, Response]]


class TusRoute(APIRoute):
    """Says the version with every answer, refusals too."""

    def get_route_handler(self) -> Answer:
        answer = super().get_route_handler()

        async def told(request: Request) -> Response:
            try:
                response = await answer(request)
            except Problem as refusal:
                response = refusal.response()
            except LogUnavailableError:
                response = unavailable().response()
            response.headers["Tus-Resumable"] = tus.VERSION
            response.headers["Cache-Control"] = "no-store"
            return response

        return told


router = APIRouter(prefix=PATH, tags=["uploads"], route_class=TusRoute)


def _header(name: str, pattern: str, example: str, *, required: bool = True) -> dict[str, Any]:
    schema = {"type": "string", "pattern": pattern}
    return {"name": name, "in": "header", "required": required, "schema": schema, "example": example}


_BASE64 = "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_NUMBER = rf"^[0-9]{{1,{tus.NUMBER_MAX_DIGITS}}}$"
_VERSION = _header("Tus-Resumable", r"^1\.0\.0$", tus.VERSION)
_METADATA = _header(
    "Upload-Metadata",
    rf"^[!-+\\--~]+( {_BASE64})?(,[!-+\\--~]+( {_BASE64})?)*$",
    "filename ZmlsbS5tcDQ=,filetype dmlkZW8vbXA0",
    required=False,
)
_CHECKSUM = _header(
    "Upload-Checksum",
    "^(sha256 [A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=|sha1 [A-Za-z0-9+/]{26}[AEIMQUYcgkosw048]=)$",
    "sha256 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    required=False,
)
_BYTES = {"content": {tus.CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}}}

REFUSALS: dict[int | str, dict[str, Any]] = {
    404: problem("Unknown upload", "upload_not_found"),
    410: problem("It expired, or was removed", "upload_gone"),
    412: problem("Not this version of tus", "tus_version"),
    507: problem("No room on the disk", "disk_full"),
}
_OF_BYTES: dict[int | str, dict[str, Any]] = {
    400: problem("A header of tus", "tus_header", "tus_checksum", "tus_metadata", "tus_unsupported"),
    408: problem("Nothing arrived for a minute", "upload_stalled"),
    409: problem("Not where the upload goes on, which Upload-Offset says", "wrong_offset", "upload_taken_over"),
    413: problem("More than the upload has, or may have", "upload_too_long", "upload_too_large"),
    415: problem("Not bytes at an offset by its Content-Type", "unsupported_body"),
    460: problem("Not the bytes of the checksum; none was kept", "checksum_mismatch"),
}


@router.options("", status_code=204, summary="What this server understands of tus")
@router.options("/{upload_id}", status_code=204, summary="What this server understands of tus", include_in_schema=False)
async def options(service: FromApp) -> Response:
    """Not offered: concatenation, a deferred length, checksums in trailers, X-HTTP-Method-Override."""
    headers = {
        "Tus-Version": tus.VERSION,
        "Tus-Extension": tus.EXTENSIONS,
        "Tus-Max-Size": str(service.settings.max_upload_bytes),
        "Tus-Checksum-Algorithm": ",".join(tus.ALGORITHMS),
    }
    return Response(status_code=204, headers=headers)


@router.post(
    "",
    status_code=201,
    summary="Begin an upload",
    response_class=Response,
    openapi_extra={
        "parameters": [
            _VERSION,
            _header("Upload-Length", _NUMBER, "1048576"),
            _METADATA,
            _CHECKSUM,
        ],
        "requestBody": {"required": False, **_BYTES},
    },
    responses=_OF_BYTES
    | {
        412: REFUSALS[412],
        429: problem("Too often, or more than one user may have", "too_many_requests", "quota_exceeded"),
        503: problem("Nothing was accepted; try again", "log_unavailable"),
        507: REFUSALS[507],
    },
)
async def create(request: Request, by: Asker, address: ClientAddress, service: FromApp) -> Response:
    """`Upload-Metadata` may give `filename` and `filetype`. A body is taken as the first bytes."""
    headers = request.headers
    tus.check_version(headers)
    length, checksum = tus.upload_length(headers), tus.checksum_of(headers.get("upload-checksum"))
    raw = headers.get("upload-metadata", "").strip()
    metadata = tus.metadata_of(raw)
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if has_body:
        tus.check_content_type(headers)
    title = clean_title(metadata.get("filename") or metadata.get("name") or "")
    mime = metadata.get("filetype") or metadata.get("type") or ""
    wanted = Wanted(title, length, ends_on_request=False, mime=mime, metadata=raw)
    upload = await begin(service, wanted, by, address)
    location = {"Location": f"{PATH}/{upload.id}"}
    if has_body:
        chunks = chunks_of(request, service.settings.body_idle_s)
        try:
            await service.uploads.append(upload, 0, _length(request), chunks, checksum)
        except Problem as refusal:  # the upload is there all the same
            refusal.headers = location | {"Upload-Offset": str(upload.offset)} | (refusal.headers or {})
            raise
    return Response(status_code=201, headers=location | _progress(upload))


async def begin(service: Service, wanted: Wanted, by: By, address: str) -> Upload:
    """Begin an upload of either protocol. Raises as `Uploads.create`, and Problem 429 for too many a minute."""
    with service.uploads.metrics.beginning():
        check_rate(service, UPLOAD_CREATE, by, address)
        return await service.uploads.create(wanted, by.actor)


@router.head(
    "/{upload_id}",
    summary="Where an upload goes on",
    response_class=Response,
    openapi_extra={"parameters": [_VERSION]},
    responses={key: REFUSALS[key] for key in (404, 410, 412, 507)},
)
async def head(upload_id: UploadId, request: Request, by: Asker, service: FromApp) -> Response:
    """Whoever is still writing to it is stopped: a client that asks is about to go on."""
    tus.check_version(request.headers)
    upload = service.uploads.find(upload_id, by.principal)
    await service.uploads.offset(upload)
    length = {"Upload-Length": str(upload.record.total_bytes)}
    metadata = {"Upload-Metadata": upload.record.metadata} if upload.record.metadata else {}
    return Response(status_code=200, headers=_progress(upload) | length | metadata)


@router.patch(
    "/{upload_id}",
    status_code=204,
    summary="Send bytes of an upload",
    openapi_extra={
        "parameters": [_VERSION, _header("Upload-Offset", _NUMBER, "0"), _CHECKSUM],
        "requestBody": {"required": True, **_BYTES},
    },
    responses=REFUSALS | _OF_BYTES | {429: problem("Too many pieces a minute", "too_many_requests")},
)
async def patch(upload_id: UploadId, request: Request, by: Asker, address: ClientAddress, service: FromApp) -> Response:
    """What had arrived when the connection broke is kept, unless there is a checksum. The last byte completes it."""
    headers = request.headers
    tus.check_version(headers)
    tus.check_content_type(headers)
    offset, checksum = tus.upload_offset(headers), tus.checksum_of(headers.get("upload-checksum"))
    upload = service.uploads.find(upload_id, by.principal)
    check_rate(service, UPLOAD_CHUNK, by, address)
    chunks = chunks_of(request, service.settings.body_idle_s)
    await service.uploads.append(upload, offset, _length(request), chunks, checksum)
    return Response(status_code=204, headers=_progress(upload))


@router.delete(
    "/{upload_id}",
    status_code=204,
    summary="Remove an upload",
    openapi_extra={"parameters": [_VERSION]},
    responses={
        **{key: REFUSALS[key] for key in (404, 410, 412)},
        409: problem("A job was or is being made of it", "upload_used", "upload_in_use"),
    },
)
async def terminate(upload_id: UploadId, request: Request, by: Asker, service: FromApp) -> Response:
    """Who administers may remove anybody's."""
    tus.check_version(request.headers)
    upload = service.uploads.find(upload_id, by.principal, administer=True)
    await service.uploads.remove(upload, "terminated", by.actor)
    return Response(status_code=204)


def _length(request: Request) -> int | None:
    length = request.headers.get("content-length")
    return None if length is None else int(length)


def _progress(upload: Upload) -> dict[str, str]:
    headers = {"Upload-Offset": str(upload.offset)}
    if upload.record.state == "receiving":
        headers["Upload-Expires"] = format_datetime(datetime.fromtimestamp(upload.record.expires_at, UTC), usegmt=True)
    return headers
