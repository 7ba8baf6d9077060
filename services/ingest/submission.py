"""From a received file to a job in the log, or to nothing at all.

Lives here: the order of the checks and of the writes (E1). Does not live here: HTTP (`routes.jobs`), the checks
themselves (`fields`, `placing`, `languages`, `checks`) and the cleaning up (`intents`).
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from weakref import WeakValueDictionary

import structlog

from services.ingest import intents
from services.ingest.admission import check_admission
from services.ingest.asker import By
from services.ingest.body import unless_gone
from services.ingest.bus import Bus
from services.ingest.checks import Checks
from services.ingest.fields import AUTO, Submission, fingerprint
from services.ingest.history import SOURCE, submission_of
from services.ingest.imports.files import write_imports
from services.ingest.imports.reading import Imported, read_imports
from services.ingest.intents import Intent
from services.ingest.keeping import keeping_of
from services.ingest.languages import check_pair, pairs_of
from services.ingest.metrics import IngestMetrics
from services.ingest.naming import REDACTED, private_title
from services.ingest.placing import Place, placed
from services.ingest.settings import IngestSettings
from services.ingest.storage import Source, disk_errors
from services.ingest.workers import Workers
from shared import tracing
from shared.eventlog.job_history import load_job
from shared.eventlog.port import ConflictError, Expect, LogUnavailableError
from shared.events.names import Stage
from shared.events.subjects import job_filter
from shared.events.types import ImportedStage, JobSubmitted, JobSubmittedData, SourceMedia
from shared.identity import derived_job_id, uuid7
from shared.job.model import JobState
from shared.keeping import Keeping
from shared.layout import safe_stem
from shared.media_verdict import CheckedMedia
from shared.problems import Problem
from shared.runtime_state import AdmitRequest
from shared.sealing.format import SealError
from shared.threads import in_thread

log = structlog.get_logger()


@dataclass(frozen=True)
class Request:
    """A submission as asked: `content` names the bytes (`sha256:…` or `path:…`) for the fingerprint of the body."""

    fields: Submission
    title: str
    content: str
    by: By

    @property
    def owner(self) -> str:
        return self.by.actor


@dataclass(frozen=True)
class Accepted:
    """The job that the submission made, or that an earlier one with the same key made."""

    job_id: str
    state: JobState
    created: bool


@dataclass(frozen=True)
class Found:
    """What the checks found: the video, and what the submission brings of its dub."""

    media: CheckedMedia
    imported: Imported


class Submissions:
    """Makes jobs, one call each."""

    def __init__(
        self,
        settings: IngestSettings,
        bus: Bus,
        workers: Workers,
        metrics: IngestMetrics,
        promised: Callable[[str], int],
        names_key: bytes,
    ) -> None:
        """`promised`: bytes of a user's open uploads, but for those of which jobs are being made.

        `names_key`, a secret: with it alone a fingerprint could tell whether a private video had a certain name.
        """
        self._metrics = metrics
        self._layout = settings.layout
        self._bus = bus
        self._workers = workers
        self._promised = promised
        self._names_key = names_key
        self._keeping = settings.keeping
        self.checks = Checks(settings.media_limits, settings.media_check_timeout_s)
        self._making: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By the job of an idempotency key: two at once would take its directory away from each other."""

    async def earlier(self, asked: Request) -> Accepted | None:
        """Return the job that a first submission with this key made, or None.

        Raises Problem 409 if that submission asked for something else, LogUnavailableError.
        """
        key = asked.fields.idempotency_key
        if key is None:
            return None
        job_id = derived_job_id(asked.owner, key)
        first = await submission_of(self._bus.log, job_id)
        return await self._same(asked, first) if first else None

    async def submit(self, asked: Request, part: Source, gone: Callable[[], Awaitable[None]]) -> Accepted:
        """Check the received file and append the job. On any refusal nothing of it is left but `part`, the caller's.

        `gone` returns when the client has left, which ends the check, but not an append that has begun.
        Raises Problem 409, 422, 429, 503, 507, starlette's ClientDisconnect, and LogUnavailableError; after the
        latter the sweep settles what is left.
        """
        with self._metrics.submission(part.size) as ending, tracing.span("submit", asked.by.traceparent) as span:
            accepted = await self._submit(
                replace(asked, by=replace(asked.by, traceparent=span.traceparent)), part, gone
            )
            span.set(job_id=accepted.job_id, state=accepted.state.value)
            ending.result = "accepted" if accepted.created else "repeated"
            return accepted

    async def _submit(self, asked: Request, part: Source, gone: Callable[[], Awaitable[None]]) -> Accepted:
        if found := await self.earlier(asked):
            return found
        place, imported = await self.judged(asked)
        checked = await unless_gone(gone, self._check(asked, part))
        if isinstance(checked, Accepted):
            return checked
        examined = Found(checked, imported.within(checked.duration_s))
        key = asked.fields.idempotency_key
        if key is None:
            return await self._create(uuid7(), asked, place, part, examined)
        job_id = derived_job_id(asked.owner, key)
        async with self._making.setdefault(job_id, asyncio.Lock()):
            return await self.earlier(asked) or await self._create(job_id, asked, place, part, examined)

    async def judged(self, asked: Request) -> tuple[Place, Imported]:
        """Return what can be told of a submission without its video. Raises Problem 422, 503, LogUnavailableError."""
        place = await placed(self._bus.log, asked.fields, asked.owner)
        fields, imported = await asyncio.to_thread(read_imports, place.fields)
        source = AUTO if imported.target else fields.src_lang  # nothing is translated then
        check_pair(pairs_of(await self._workers.known()), source, fields.tgt_lang)
        return replace(place, fields=fields), imported

    async def _check(self, asked: Request, part: Source) -> CheckedMedia | Accepted:
        """Wait for a turn; by then another submission with the same key may have made the job."""
        if known := self.checks.known(part.sha256):
            return known
        async with self.checks.turn(asked.owner):
            if found := await self.earlier(asked):
                return found
            return await self.checks.examine(part.plain(), part.sha256)

    def keeping(self, fields: Submission) -> Keeping:
        """Return what will be kept of the job of a submission."""
        return keeping_of(fields, self._keeping)

    def _fingerprint(self, asked: Request) -> str:
        """Nobody can tell by it whether a private video had a certain name, or path: a bare digest could be guessed."""
        if not self.keeping(asked.fields).private:
            return fingerprint(asked.fields, asked.content, asked.title)
        return hmac.new(self._names_key, fingerprint(asked.fields, asked.content, "").encode(), "sha256").hexdigest()

    async def _same(self, asked: Request, first: JobSubmitted) -> Accepted:
        if first.data.body_fingerprint != self._fingerprint(asked):
            detail = "This idempotency key was used for another submission. Use a new key."
            raise Problem(409, "idempotency_mismatch", detail, id=first.subject)
        job, _ = await load_job(self._bus.log, first.subject)
        assert job is not None
        if job.deleted:  # its id is derived from the key, and ends with it
            detail = "The job of this idempotency key was deleted. Use a new key."
            raise Problem(409, "idempotency_job_deleted", detail, id=job.id)
        return Accepted(job.id, job.state, created=False)

    async def _create(self, job_id: str, asked: Request, place: Place, part: Source, found: Found) -> Accepted:
        events = self._bus.log  # before anything is made
        wanted = AdmitRequest(
            owner=asked.owner,
            job_id=job_id,
            bytes=part.size,
            duration_s=found.media.duration_s,
            promised=self._promised(asked.owner),
        )
        await check_admission(self._bus, wanted)
        shown = asked.title  # in `video.txt`
        if self.keeping(asked.fields).private:
            asked, shown = replace(asked, title=private_title(job_id)), REDACTED
        stem = safe_stem(asked.title)
        intent, imports = await in_thread(self._prepare, job_id, stem, place, shown, part, found)
        event = self._event(asked, place, intent, part, found.media, imports)
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

    def _prepare(
        self, job_id: str, stem: str, place: Place, title: str, part: Source, found: "Found"
    ) -> tuple[Intent, dict[Stage, ImportedStage]]:
        """Make what the event will name. Undoes itself. Raises Problem 507, OSError."""
        with disk_errors():
            base_dir = self._layout.claim_base_dir(job_id, stem, place.subdir)
            source = part.target(found.media.container).name
            intent = Intent(
                upload_id=part.upload_id,
                job_id=job_id,
                base_dir=base_dir,
                source=source,
                title=title,
                returns=part.returns,
            )
            try:
                intents.record(self._layout, intent)
                paths = self._layout.job(job_id, base_dir, stem)
                languages = place.fields.src_lang, place.fields.tgt_lang
                imports = write_imports(found.imported, paths, part.upload_id, languages, found.media.duration_s)
                part.promote(found.media.container)
            except (OSError, SealError):
                intents.settle(self._layout, intent, None)
                raise
        return intent, imports

    def _event(
        self,
        asked: Request,
        place: Place,
        intent: Intent,
        part: Source,
        checked: CheckedMedia,
        imports: dict[Stage, ImportedStage],
    ) -> JobSubmitted:
        source = SourceMedia(
            path=self._relative(self._layout.uploads / intent.source),
            sha256=part.sha256,
            sealed=part.sealed,
            **checked.model_dump(),
        )
        fields = place.fields
        data = JobSubmittedData(
            owner=asked.owner,
            title=asked.title,
            stem=safe_stem(asked.title),
            base_dir=intent.base_dir,
            source=source,
            src_lang=fields.src_lang,
            tgt_lang=fields.tgt_lang,
            mode=fields.mode,
            device=fields.device,
            priority=fields.priority,
            degrade=fields.degrade,
            overrides=fields.overrides,
            body_fingerprint=self._fingerprint(asked),
            project_id=place.project_id,
            project_name=place.project_name,
            preset_id=place.preset_id,
            tags=fields.tags,
            visibility=fields.visibility,
            upload_id=part.upload_id if part.returns else None,
            imports=imports,
            keeping=self.keeping(fields),
        )
        event_id = uuid7()
        return JobSubmitted(
            id=event_id,
            source=SOURCE,
            subject=intent.job_id,
            time=datetime.now(UTC),
            actor=asked.owner,
            correlationid=event_id,
            traceparent=asked.by.traceparent,
            data=data,
        )

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._layout.input).as_posix()
