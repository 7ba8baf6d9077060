"""From a received file to a job in the log, or to nothing at all.

Lives here: the order of the checks and of the writes (E1). Does not live here: HTTP (`routes.jobs`), the checks
themselves (`fields`, `placing`, `languages`, `media`) and the cleaning up (`intents`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog
from starlette.requests import ClientDisconnect

from services.ingest import intents, media
from services.ingest.admission import check_admission
from services.ingest.bus import Bus
from services.ingest.fields import Submission, fingerprint
from services.ingest.history import SOURCE, submission_of
from services.ingest.intents import Intent
from services.ingest.languages import check_pair, pairs_of
from services.ingest.metrics import IngestMetrics
from services.ingest.placing import Place, placed
from services.ingest.settings import IngestSettings
from services.ingest.storage import Part, disk_errors
from services.ingest.workers import Workers
from shared import tracing
from shared.eventlog.job_history import load_job
from shared.eventlog.port import ConflictError, Expect, LogUnavailableError
from shared.events.subjects import job_filter
from shared.events.types import JobSubmitted, JobSubmittedData, SourceMedia
from shared.identity import LOCAL_OWNER, derived_job_id, uuid7
from shared.job.model import JobState
from shared.layout import safe_stem
from shared.media_check import CheckedMedia
from shared.problems import Problem
from shared.runtime_state import AdmitRequest

CHECKS_AT_ONCE = 2
"""Each media check may decode a file; more of them at once only slow each other and the stages down."""

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True)
class Request:
    """A submission as asked: `content` names the bytes (`sha256:…` or `path:…`) for the fingerprint of the body."""

    fields: Submission
    title: str
    content: str
    traceparent: str | None = None


@dataclass(frozen=True)
class Accepted:
    """The job that the submission made, or that an earlier one with the same key made."""

    job_id: str
    state: JobState
    created: bool


class Submissions:
    """Makes jobs, one call each."""

    def __init__(self, settings: IngestSettings, bus: Bus, workers: Workers, metrics: IngestMetrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._layout = settings.layout
        self._bus = bus
        self._workers = workers
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)

    async def earlier(self, asked: Request) -> Accepted | None:
        """Return the job that a first submission with this key made, or None.

        Raises Problem 409 if that submission asked for something else, LogUnavailableError.
        """
        key = asked.fields.idempotency_key
        if key is None:
            return None
        job_id = derived_job_id(LOCAL_OWNER, key)
        first = await submission_of(self._bus.log, job_id)
        return await self._same(asked, first) if first else None

    async def submit(self, asked: Request, part: Part, gone: Callable[[], Awaitable[None]]) -> Accepted:
        """Check the received file and append the job. On any refusal nothing of it is left but `part`, the caller's.

        `gone` returns when the client has left, which ends the check, but not an append that has begun.
        Raises Problem 409, 422, 429, 503, 507, starlette's ClientDisconnect, and LogUnavailableError; after the
        latter the sweep settles what is left.
        """
        with self._metrics.submission(part.size) as ending, tracing.span("submit", asked.traceparent) as span:
            accepted = await self._submit(replace(asked, traceparent=span.traceparent), part, gone)
            span.set(job_id=accepted.job_id, state=accepted.state.value)
            ending.result = "accepted" if accepted.created else "repeated"
            return accepted

    async def _submit(self, asked: Request, part: Part, gone: Callable[[], Awaitable[None]]) -> Accepted:
        if found := await self.earlier(asked):
            return found
        place = await placed(self._bus.log, asked.fields, LOCAL_OWNER)
        check_pair(pairs_of(await self._workers.known()), place.fields.src_lang, place.fields.tgt_lang)
        checked = await _unless(gone, self._check(asked, part))
        return checked if isinstance(checked, Accepted) else await self._create(asked, place, part, checked)

    async def _check(self, asked: Request, part: Part) -> CheckedMedia | Accepted:
        """Wait for a turn; by then another submission with the same key may have made the job."""
        async with self._checks:
            if found := await self.earlier(asked):
                return found
            return await media.check(part.path, self._settings.max_video_min, self._settings.media_check_timeout_s)

    async def _same(self, asked: Request, first: JobSubmitted) -> Accepted:
        if first.data.body_fingerprint != fingerprint(asked.fields, asked.content, asked.title):
            detail = "This idempotency key was used for another submission. Use a new key."
            raise Problem(409, "idempotency_mismatch", detail, id=first.subject)
        job, _ = await load_job(self._bus.log, first.subject)
        assert job is not None
        if job.deleted:  # its id is derived from the key, and ends with it
            detail = "The job of this idempotency key was deleted. Use a new key."
            raise Problem(409, "idempotency_job_deleted", detail, id=job.id)
        return Accepted(job.id, job.state, created=False)

    async def _create(self, asked: Request, place: Place, part: Part, checked: CheckedMedia) -> Accepted:
        key = asked.fields.idempotency_key
        job_id = derived_job_id(LOCAL_OWNER, key) if key else uuid7()
        events = self._bus.log  # before anything is made
        wanted = AdmitRequest(owner=LOCAL_OWNER, job_id=job_id, bytes=part.size, duration_s=checked.duration_s)
        try:
            await check_admission(self._bus, wanted)
        except Problem:
            if found := await self.earlier(asked):  # it was this very job, sent twice, that took the last place
                return found
            raise
        stem = safe_stem(asked.title)
        intent = await asyncio.to_thread(self._prepare, job_id, stem, place.subdir, asked.title, part, checked)
        event = self._event(asked, place, intent, part, checked, stem)
        try:
            await events.append(event, Expect(job_filter(job_id), 0))
        except ConflictError:
            winner = await submission_of(events, job_id)
            await asyncio.to_thread(intents.settle, self._layout, intent, winner)
            if winner is None:
                raise
            return await self._same(asked, winner)
        except (LogUnavailableError, asyncio.CancelledError):
            raise  # it may be stored: the intent stays, and the sweep settles it
        except Exception:
            await asyncio.to_thread(intents.settle, self._layout, intent, None)
            raise
        log.info("job_submitted", job_id=job_id, size=part.size, tgt_lang=asked.fields.tgt_lang)
        try:
            await asyncio.to_thread(intents.settle, self._layout, intent, event)
        except OSError as error:
            log.warning("pointer_postponed", job_id=job_id, error=error.strerror)  # the job exists; the sweep writes it
        return Accepted(job_id, JobState.QUEUED, created=True)

    def _prepare(self, job_id: str, stem: str, subdir: str, title: str, part: Part, checked: CheckedMedia) -> Intent:
        """Make what the event will name. Undoes itself. Raises Problem 507, OSError."""
        with disk_errors():
            base_dir = self._layout.claim_base_dir(job_id, stem, subdir)
            source = part.target(checked.container).name
            intent = Intent(upload_id=part.upload_id, job_id=job_id, base_dir=base_dir, source=source, title=title)
            try:
                intents.record(self._layout, intent)
                part.promote(checked.container)
            except OSError:
                intents.settle(self._layout, intent, None)
                raise
        return intent

    def _event(
        self, asked: Request, place: Place, intent: Intent, part: Part, checked: CheckedMedia, stem: str
    ) -> JobSubmitted:
        source = SourceMedia(
            path=self._relative(self._layout.uploads / intent.source),
            sha256=part.sha256,
            **checked.model_dump(),
        )
        fields = place.fields
        data = JobSubmittedData(
            owner=LOCAL_OWNER,
            title=asked.title,
            stem=stem,
            base_dir=intent.base_dir,
            source=source,
            src_lang=fields.src_lang,
            tgt_lang=fields.tgt_lang,
            mode=fields.mode,
            device=fields.device,
            priority=fields.priority,
            degrade=fields.degrade,
            overrides=fields.overrides,
            body_fingerprint=fingerprint(asked.fields, asked.content, asked.title),
            project_id=place.project_id,
            project_name=place.project_name,
            preset_id=place.preset_id,
            tags=fields.tags,
            visibility=fields.visibility,
        )
        event_id = uuid7()
        return JobSubmitted(
            id=event_id,
            source=SOURCE,
            subject=intent.job_id,
            time=datetime.now(UTC),
            actor=LOCAL_OWNER,
            correlationid=event_id,
            traceparent=asked.traceparent,
            data=data,
        )

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._layout.input).as_posix()


async def _unless(gone: Callable[[], Awaitable[None]], work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; end it and raise ClientDisconnect if `gone` comes first."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait({working, leaving})
