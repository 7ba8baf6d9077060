"""`POST /api/jobs/estimate` and `GET /api/settings/left`: what a job would take, and what is left of the quotas.

Lives here: both routes, and finding out how long a video is. Does not live here: the estimate (`services.scheduler`),
and the space that a job needs (`services.ingest.estimating`).
"""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from services.ingest import submission
from services.ingest.accounts import throttle
from services.ingest.asker import Asker, By
from services.ingest.estimating import ask_estimate, disk_bytes, engines_for, imported_stages
from services.ingest.fields import PathSubmission, Supposed, UploadSubmission, parse_estimate
from services.ingest.media import OPEN_FILES
from services.ingest.routes.context import FromApp, Service
from services.ingest.routes.examples import ESTIMATE_BODY
from services.ingest.routes.submitting import check_rate, read_json
from services.ingest.storage import open_input
from services.ingest.uploads.claims import UploadSource
from shared.access.current import ClientAddress
from shared.openapi import problem
from shared.problems import Problem
from shared.runtime_state import EstimateAnswer, EstimateRequest, QuotaLeft

router = APIRouter(tags=["jobs"])


class Disk(BaseModel):
    """Bytes: what the job would take altogether, what is free now, and below what jobs wait."""

    needed_bytes: int = Field(examples=[3_400_000_000])
    free_bytes: int | None = Field(examples=[120_000_000_000])
    floor_bytes: int = Field(examples=[10_737_418_240])
    enough: bool


class Estimated(EstimateAnswer):
    """What the job would take if it were submitted now; nothing is reserved, and nothing started."""

    duration_s: float = Field(examples=[1420.0])
    engines: dict[str, list[str]] = Field(examples=[{"asr": ["whisper-medium"], "mt": ["bergamot"], "tts": ["piper"]}])
    """Usable engines that could run, by what they do."""
    disk: Disk


@router.post(
    "/api/jobs/estimate",
    summary="Ask what a job would take",
    openapi_extra=ESTIMATE_BODY,
    responses={
        400: problem("Not JSON", "malformed_json"),
        404: problem("No such file in the input folder, or no such upload", "video_not_found", "upload_not_found"),
        408: problem("Nothing arrived for a minute", "upload_stalled"),
        409: problem("The upload is not complete, or was used up", "upload_incomplete", "upload_used"),
        410: problem("The upload expired, or was removed", "upload_gone"),
        413: problem("Too large a body", "body_too_large"),
        422: problem(
            "Not acceptable as a submission either",
            *("invalid_request", "invalid_language", "invalid_tags", "invalid_import", "not_supported_yet"),
            *("unknown_project", "unknown_preset", "same_language", "unsupported_pair"),
            *("not_a_video", "no_audio", "no_speech", "truncated_file"),
        ),
        429: problem("Too many a minute", "too_many_requests"),
        500: problem("The media check itself failed", "media_check_failed"),
        503: problem("Nobody can tell now", "log_unavailable", "no_worker", "scheduler_unavailable", "too_many_checks"),
    },
)
async def estimate(request: Request, by: Asker, address: ClientAddress, service: FromApp) -> Estimated:
    """Answer for a submission's JSON body, or for one with `duration_s` in place of a video, what it would take.

    Refused is what the submission would be refused for, but for quotas: those are part of the answer. `waiting` and
    `total` are null while no worker lives.
    """
    check_rate(service, throttle.ESTIMATE, by, address)
    fields = parse_estimate(await read_json(request, service))
    place, imported = await service.submissions.judged(submission.Request(fields, "", "", by))
    size, duration_s = await _measured(fields, by, service)
    imported = imported.within(duration_s)
    wanted = place.fields
    own = fields.upload_id if isinstance(fields, UploadSubmission) else ""
    answer = await ask_estimate(
        service.bus,
        EstimateRequest(
            owner=by.actor,
            bytes=size,
            duration_s=duration_s,
            mode=wanted.mode,
            device=wanted.device,
            priority=wanted.priority,
            degrade=wanted.degrade,
            overrides=wanted.overrides,
            imported=imported_stages(imported),
            promised=service.uploads.promised(by.actor, besides=own),
        ),
    )
    needed, free = disk_bytes(size, duration_s), answer.free_bytes
    enough = free is None or free - needed >= answer.floor_bytes
    return Estimated(
        **dict(answer),
        duration_s=duration_s,
        engines=engines_for(await service.workers.known(), wanted, imported),
        disk=Disk(needed_bytes=needed, free_bytes=free, floor_bytes=answer.floor_bytes, enough=enough),
    )


@router.get(
    "/api/settings/left",
    summary="What I may still do today",
    responses={503: problem("Nobody can tell now", "log_unavailable", "scheduler_unavailable")},
)
async def mine(by: Asker, service: FromApp) -> QuotaLeft:
    """Tell what is left of the limits of whoever asks; null is no limit. Days are those of UTC.

    Room that open uploads were promised is taken: `stored_bytes` is what another upload may have.
    """
    promised = service.uploads.promised(by.actor)
    answer = await ask_estimate(service.bus, EstimateRequest(owner=by.actor, bytes=0, duration_s=0, promised=promised))
    return answer.left


async def _measured(
    fields: PathSubmission | UploadSubmission | Supposed, by: By, service: Service
) -> tuple[int, float]:
    """Return the size and the length of the video; one that is there is examined as at its submission."""
    checks = service.submissions.checks
    match fields:
        case Supposed():
            return fields.size_bytes, fields.duration_s
        case UploadSubmission():
            source = _upload(fields, by, service)
            return source.size, (await checks.examined(by.actor, source.plain(), source.sha256)).duration_s
        case PathSubmission():
            plain = _opened(service, fields.video_path)
            size = await asyncio.to_thread(_size, _opened(service, fields.video_path))
            return size, (await checks.examined(by.actor, plain)).duration_s


def _upload(fields: UploadSubmission, by: By, service: Service) -> UploadSource:
    upload = service.uploads.find(fields.upload_id, by.principal)
    if upload.record.state == "receiving":
        raise Problem(
            409, "upload_incomplete", "This upload is not complete: how long its video is cannot be told yet."
        )
    if upload.record.state == "used":
        raise Problem(409, "upload_used", "A job was made of this upload already.", id=upload.record.job_id)
    return UploadSource(service.settings.layout, service.uploads.store.media.of(sealed=upload.record.sealed), upload)


@contextmanager
def _opened(service: Service, video_path: str) -> Iterator[Path]:
    """Have a path to the open file, which nobody can put another in place of meanwhile."""
    with open_input(service.settings.layout, video_path) as file:
        yield OPEN_FILES / str(file.fileno())


def _size(plain: AbstractContextManager[Path]) -> int:
    with plain as path:
        return path.stat().st_size
