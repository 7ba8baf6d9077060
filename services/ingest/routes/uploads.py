"""`/api/uploads/init`, `/{id}/chunk`, `/{id}`, `/{id}/complete`: the predecessor's uploads, and how any upload stands.

Lives here: the routes and their answers. Does not live here: which chunk may come when
(`services.ingest.uploads.chunks`), and tus (`routes.tus`).
"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from services.ingest.accounts.throttle import UPLOAD_CHUNK, UPLOAD_COMPLETE
from services.ingest.asker import Asker
from services.ingest.body import chunks_of
from services.ingest.fields import whole
from services.ingest.naming import clean_title
from services.ingest.routes.context import FromApp, Service
from services.ingest.routes.submitting import check_rate
from services.ingest.routes.tus import REFUSALS, UploadId, begin
from services.ingest.uploads.chunks import MISSING_TOLD, append_chunk, complete
from services.ingest.uploads.record import Wanted
from services.ingest.uploads.store import Upload
from shared.access.current import ClientAddress
from shared.access.principal import Principal
from shared.openapi import problem
from shared.problems import Problem

CHUNK_HASH = "X-Chunk-Sha256"
SHA256 = r"^[0-9A-Fa-f]{64}$"
FILENAME_MAX = 1024
HIGHEST = 1 << 50
"""More could not be a size; the real limit is MAX_UPLOAD_MB."""

Digest = Annotated[str, StringConstraints(pattern=SHA256)]

router = APIRouter(prefix="/api/uploads", tags=["uploads"])

_UNKNOWN: dict[int | str, dict[str, Any]] = {key: REFUSALS[key] for key in (404, 410)}


class Init(BaseModel):
    """An upload to begin, or with `upload_id` one to go on with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filename: Annotated[str, StringConstraints(min_length=1, max_length=FILENAME_MAX)] = Field(examples=["film.mp4"])
    total_bytes: Annotated[int, Field(ge=0, le=HIGHEST, strict=True, examples=[10485760]), BeforeValidator(whole)]
    mime: Annotated[str, StringConstraints(max_length=200)] | None = Field(None, examples=["video/mp4"])
    expected_sha256: Digest | None = None
    upload_id: str | None = None


class Complete(BaseModel):
    """What the whole file has to be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    final_sha256: Digest | None = None


class ReceivedChunk(BaseModel):
    """A chunk that is here; its SHA-256 is known where it came as a chunk."""

    offset: int
    size: int
    sha256: str | None


class UploadAnswer(BaseModel):
    """How an upload stands. Sizes are bytes, times Unix seconds."""

    upload_id: str = Field(examples=["up_0123456789abcdef"])
    filename: str = Field(examples=["film.mp4"])
    mime: str = Field(examples=["video/mp4"])
    state: Literal["receiving", "complete", "used"]
    total_bytes: int = Field(examples=[10485760])
    received_bytes: int = Field(examples=[5242880], description="What is on the disk, in one piece from the beginning.")
    chunk_bytes: int = Field(examples=[5242880])
    total_chunks: int = Field(examples=[2])
    max_upload_mb: int
    max_upload_bytes: int
    received: dict[int, ReceivedChunk]
    missing: list[int] = Field(description=f"The first {MISSING_TOLD} of them.")
    missing_count: int
    sha256: str | None = Field(description="Of the whole file, once it is complete.")
    job_id: str | None = Field(description="The job that it was used for, where that is known.")
    created_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, upload: Upload, max_upload_mb: int) -> Self:
        record, missing = upload.record, upload.record.missing(upload.offset)
        received = {}
        for index in range(missing.start):
            offset, size = record.chunk(index)
            received[index] = ReceivedChunk(offset=offset, size=size, sha256=upload.received.chunks.get(index))
        return cls(
            upload_id=upload.id,
            filename=record.title,
            mime=record.mime,
            state="receiving" if record.state == "removed" else record.state,
            total_bytes=record.total_bytes,
            received_bytes=upload.offset,
            chunk_bytes=record.chunk_bytes,
            total_chunks=record.total_chunks,
            max_upload_mb=max_upload_mb,
            max_upload_bytes=max_upload_mb << 20,
            received=received,
            missing=list(missing[:MISSING_TOLD]),
            missing_count=len(missing),
            sha256=record.sha256,
            job_id=record.job_id,
            created_at=datetime.fromtimestamp(record.created_at, UTC),
            expires_at=datetime.fromtimestamp(record.expires_at, UTC),
        )


class ChunkAnswer(BaseModel):
    """A chunk is on the disk; `dedup`: it was before this request."""

    ok: Literal[True] = True
    dedup: bool
    received_bytes: int
    missing: list[int] = Field(description=f"The first {MISSING_TOLD} of them.")
    missing_count: int


class CompleteAnswer(BaseModel):
    """The upload may be submitted, by its id."""

    ok: Literal[True] = True
    upload_id: str = Field(examples=["up_0123456789abcdef"])
    filename: str
    total_bytes: int
    final_sha256: str


@router.post(
    "/init",
    summary="Begin an upload in chunks",
    responses={
        **_UNKNOWN,
        409: problem("Another file than the one that was begun", "upload_differs"),
        413: problem("Above MAX_UPLOAD_MB", "upload_too_large"),
        429: problem("Too often, or more than one user may have", "too_many_requests", "quota_exceeded"),
        503: problem("Nothing was accepted; try again", "log_unavailable"),
        507: problem("No room on the disk", "disk_full"),
    },
)
async def init(wanted: Init, by: Asker, address: ClientAddress, service: FromApp) -> UploadAnswer:
    """Room for all of it is promised. Its chunks are `chunk_bytes` each, the last one what is left."""
    if wanted.upload_id is not None:
        upload = _same(service, wanted, by.principal)
    else:
        asked = Wanted(
            clean_title(wanted.filename),
            wanted.total_bytes,
            ends_on_request=True,
            mime=wanted.mime or "",
            expected_sha256=wanted.expected_sha256,
        )
        upload = await begin(service, asked, by, address)
    return UploadAnswer.of(upload, service.settings.max_upload_mb)


def _same(service: Service, wanted: Init, who: Principal) -> Upload:
    assert wanted.upload_id is not None
    upload = service.uploads.find(wanted.upload_id, who)
    if upload.record.total_bytes != wanted.total_bytes:
        raise Problem(409, "upload_differs", "The upload was begun for a file of another size. Begin a new one.")
    return upload


@router.post(
    "/{upload_id}/chunk",
    summary="Send one chunk",
    openapi_extra={
        "parameters": [
            {
                "name": "X-Chunk-Sha256",
                "in": "header",
                "required": True,
                "schema": {"type": "string", "pattern": SHA256},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
    },
    responses={
        **_UNKNOWN,
        400: problem("No digest, or the bytes are others", "chunk_hash_missing", "chunk_hash_mismatch"),
        408: problem("Nothing arrived for a minute", "upload_stalled"),
        409: problem(
            "Not this chunk, or not now",
            *("chunk_geometry", "chunk_not_due", "chunk_differs", "too_many_chunks", "upload_taken_over"),
        ),
        413: problem("Longer than a chunk", "upload_too_long"),
        429: problem("Too many chunks a minute", "too_many_requests"),
        507: problem("No room on the disk", "disk_full"),
    },
)
async def chunk(
    upload_id: UploadId,
    index: Annotated[int, Query(examples=[0])],
    offset: Annotated[int, Query(examples=[0], description="`index` times `chunk_bytes`.")],
    request: Request,
    by: Asker,
    address: ClientAddress,
    service: FromApp,
) -> Any:
    """A chunk before its turn waits until the ones before it are here; if none of them comes, 409 says which is due."""
    digest = request.headers.get(CHUNK_HASH, "").strip()
    if not re.match(SHA256, digest):
        raise Problem(400, "chunk_hash_missing", "Send the SHA-256 of the chunk in X-Chunk-Sha256, 64 hex digits.")
    upload = service.uploads.find(upload_id, by.principal)
    chunks = chunks_of(request, service.settings.body_idle_s)
    length = request.headers.get("content-length")
    size = None if length is None else int(length)
    try:
        check_rate(service, UPLOAD_CHUNK, by, address)
        new = await append_chunk(service.uploads, upload, index, offset, size, digest.lower(), chunks)
        if not new:
            await _drain(chunks, upload)
    except Problem as refusal:
        if refusal.code != "upload_taken_over":
            await _drain(chunks, upload)
        raise
    missing = upload.record.missing(upload.offset)
    return ChunkAnswer(
        dedup=not new,
        received_bytes=upload.offset,
        missing=list(missing[:MISSING_TOLD]),
        missing_count=len(missing),
    )


async def _drain(chunks: AsyncIterator[bytes], upload: Upload) -> None:
    """Read the rest of a chunk that is not kept: behind a gateway, who still sends does not hear an answer."""
    room = upload.record.chunk_bytes
    async for piece in chunks:
        room -= len(piece)
        if room < 0:
            return


@router.get("/{upload_id}", summary="How an upload stands", responses=_UNKNOWN)
@router.get("/{upload_id}/status", summary="How an upload stands", responses=_UNKNOWN)
async def status(upload_id: UploadId, by: Asker, service: FromApp) -> UploadAnswer:
    """Asking disturbs nobody who writes."""
    return UploadAnswer.of(service.uploads.find(upload_id, by.principal), service.settings.max_upload_mb)


@router.post(
    "/{upload_id}/complete",
    summary="Say that a whole upload is here",
    responses={
        **_UNKNOWN,
        400: problem("Chunks are missing; the member `missing` names them", "chunks_missing"),
        409: problem("Not the bytes of the digest", "upload_hash_mismatch"),
        429: problem("Too often", "too_many_requests"),
        507: problem("No room on the disk", "disk_full"),
    },
)
async def complete_upload(
    upload_id: UploadId, by: Asker, address: ClientAddress, service: FromApp, said: Complete | None = None
) -> CompleteAnswer:
    """The digest of all bytes was counted as they came. Saying it again answers the same."""
    upload = service.uploads.find(upload_id, by.principal)
    check_rate(service, UPLOAD_COMPLETE, by, address)
    await complete(service.uploads, upload, said.final_sha256 if said else None)
    record = upload.record
    assert record.sha256 is not None
    return CompleteAnswer(
        upload_id=upload.id, filename=record.title, total_bytes=record.total_bytes, final_sha256=record.sha256
    )


@router.delete(
    "/{upload_id}",
    status_code=204,
    summary="Remove an upload",
    responses=_UNKNOWN | {409: problem("A job was or is being made of it", "upload_used", "upload_in_use")},
)
async def remove(upload_id: UploadId, by: Asker, service: FromApp) -> Response:
    """Who administers may remove anybody's."""
    upload = service.uploads.find(upload_id, by.principal, administer=True)
    await service.uploads.remove(upload, "terminated", by.actor)
    return Response(status_code=204)
