"""What may be done to uploads, and in which order: created, received, completed, removed, swept.

Lives here: those decisions; every one survives a crash between any two of its steps. Does not live here: HTTP
(`routes`), the predecessor's chunks (`chunks`), and how an upload becomes a job's source (`claims`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal

import structlog

from services.ingest.settings import IngestSettings
from services.ingest.storage import too_large
from services.ingest.uploads.announcing import announce
from services.ingest.uploads.intake import at_most, receive, too_long
from services.ingest.uploads.metrics import UploadMetrics
from services.ingest.uploads.quota import Limits, Quota
from services.ingest.uploads.record import Reason, Record, Wanted
from services.ingest.uploads.store import Store, Upload
from services.ingest.uploads.turns import Turns
from services.ingest.uploads.tus import Checksum
from shared.access.principal import Principal
from shared.eventlog.port import ConflictError, EventLog, LogUnavailableError
from shared.identity import new_id
from shared.metrics import Registry
from shared.problems import Problem
from shared.runtime_state import AdmitRequest
from shared.threads import in_thread

SWEEP_EVERY_S = 60.0
REMEMBERED_S = 24 * 3600.0
"""An upload that is used or gone is known for so long, so that its client hears what became of it."""

log = structlog.get_logger()


class Uploads:
    """All uploads of this installation. `events` raises LogUnavailableError while the broker is away."""

    def __init__(
        self,
        settings: IngestSettings,
        events: Callable[[], EventLog],
        store: Store,
        admit: Callable[[AdmitRequest], Awaitable[None]],
        registry: Registry,
    ) -> None:
        """`admit` raises Problem 429 where what a user may store has no room for an upload (`admission`)."""
        self._events = events
        self._admit = admit
        self._max_bytes = settings.max_upload_bytes
        self._ttl_s = settings.upload_ttl_h * 3600
        self._chunk_bytes = settings.upload_chunk_bytes
        limits = Limits(settings.max_open_uploads, settings.max_open_upload_bytes, settings.min_free_bytes)
        self.quota = Quota(limits, store.free)
        self.metrics = UploadMetrics(registry, self.quota.open)
        self.store = store
        self.turns = Turns()

    def load(self) -> None:
        """Go on with what an earlier process left. Blocks; raises OSError."""
        for upload in self.store.load():
            record = upload.record
            if upload.is_open:
                self.quota.resume(upload.id, record.owner, record.total_bytes, upload.offset)

    async def create(self, wanted: Wanted, owner: str) -> Upload:
        """Promise room for an upload, and begin it. Raises Problem 413, 429, 507, LogUnavailableError."""
        if wanted.total_bytes > self._max_bytes:
            raise too_large(self._max_bytes)
        events, now, upload_id = self._events(), self.store.clock(), new_id("up")
        record = Record(
            upload_id=upload_id,
            owner=owner,
            title=wanted.title,
            total_bytes=wanted.total_bytes,
            chunk_bytes=self._chunk_bytes,
            created_at=now,
            expires_at=now + self._ttl_s,
            ends_on_request=wanted.ends_on_request,
            metadata=wanted.metadata,
            mime=wanted.mime,
            expected_sha256=wanted.expected_sha256,
            sealed=self.store.media.seals,
        )
        try:
            await self._reserve(record)
            upload = await in_thread(self.store.make, record)
        except BaseException:
            if self.store.get(upload_id) is None:  # or it was made when the request was cut off: the sweep has it
                self.quota.release(upload_id)
            raise
        try:
            await announce(events, record)
        except LogUnavailableError:  # it may be stored: the sweep then says that the upload is gone again
            await self._remove(upload, "refused", "")
            raise
        upload.told = True
        log.info("upload_created", upload_id=upload_id, size=wanted.total_bytes)
        if not wanted.total_bytes and not wanted.ends_on_request:
            await self.finish(upload)
        return upload

    async def _reserve(self, record: Record) -> None:
        """Here first, and then with the scheduler: of many at once, each is judged with those before it."""
        size = record.total_bytes
        others = await in_thread(self.quota.reserve, record.upload_id, record.owner, size)
        await self._admit(
            AdmitRequest(
                owner=record.owner, job_id=record.upload_id, bytes=size, duration_s=0, promised=others, upload=True
            )
        )

    def find(self, upload_id: str, who: Principal, *, administer: bool = False) -> Upload:
        """Return an upload of theirs; `administer`: or, for who may, of anybody. Raises Problem 404, 410."""
        upload = self.store.get(upload_id)
        if upload is None or not (upload.record.owner == who.user or (administer and who.administers)):
            raise Problem(404, "upload_not_found", "There is no upload with this id. Begin a new one.")
        self._check_there(upload)
        return upload

    async def offset(self, upload: Upload) -> int:
        """Return how much is acknowledged, after whoever was writing has stopped: a client asks before it goes on.

        Raises Problem 409, 410, 507.
        """
        if upload.record.state != "receiving":
            return upload.offset
        async with self.turns.turn(upload.id):
            self._check_there(upload)
            await self.finish_if_whole(upload)
            return upload.offset

    async def append(
        self, upload: Upload, offset: int, length: int | None, chunks: AsyncIterator[bytes], checksum: Checksum | None
    ) -> int:
        """Append a body of `length` bytes, if that is known, and return the offset after it.

        Raises Problem 409 for an offset that is not the upload's, and if another request takes over, 410, 413, 460,
        507, and what `chunks` raises; what had arrived by then counts, unless there is a checksum.
        """
        async with self.turns.turn(upload.id) as turn:
            self._check_there(upload)
            if offset != upload.offset:
                raise wrong_offset(upload)
            room = upload.record.total_bytes - offset
            if length is not None and length > room:
                raise too_long()
            if upload.record.state == "receiving":
                self.stir(upload)
                try:
                    async with turn.receiving():
                        await receive(upload.received, at_most(chunks, room), checksum)
                finally:
                    self.arrived(upload)
                await self.finish_if_whole(upload)
            return upload.offset

    async def finish_if_whole(self, upload: Upload) -> None:
        """Complete an upload whose last byte is here, unless that needs a word of its client. Raises Problem 507."""
        record = upload.record
        if record.state == "receiving" and not record.ends_on_request and upload.offset == record.total_bytes:
            await self.finish(upload)

    async def finish(self, upload: Upload, final_sha256: str | None = None) -> None:
        """Complete an upload of which every byte is here; the caller has the turn.

        Raises Problem 409 where the digest is not what the client said, 507.
        """
        sha256 = await in_thread(upload.received.sha256)
        for expected in (upload.record.expected_sha256, final_sha256):
            if expected is not None and expected.lower() != sha256:
                detail = "The bytes that arrived are not those of the digest that was sent. Send the file again."
                raise Problem(409, "upload_hash_mismatch", detail, sha256=sha256)
        expires_at = self.store.clock() + self._ttl_s
        await in_thread(self.store.change, upload, state="complete", sha256=sha256, expires_at=expires_at)
        self.arrived(upload)
        self.metrics.completed()
        await self.tell(upload)
        log.info("upload_completed", upload_id=upload.id, size=upload.offset)

    async def remove(self, upload: Upload, reason: Literal["terminated", "expired"], by: str) -> None:
        """Stop whoever writes to it and remove it; `by` is a user, empty for nobody.

        Raises Problem 409 for one that is a job's source or being made one, 410.
        """
        self._check_free(upload)
        async with self.turns.turn(upload.id):
            self._check_free(upload)
            if upload.record.state == "removed":
                raise gone(upload)
            async with upload.claim:  # no job is made of it meanwhile
                await self._remove(upload, reason, by)
        self.metrics.ended(reason)
        await self.tell(upload)

    async def _remove(self, upload: Upload, reason: Reason, by: str) -> None:
        expires_at = self.store.clock() + REMEMBERED_S
        changes = {"state": "removed", "reason": reason, "removed_by": by, "expires_at": expires_at}
        await in_thread(lambda: self.store.change(upload, **changes))
        self.quota.release(upload.id)
        await in_thread(self.store.discard, upload)
        log.info("upload_removed", upload_id=upload.id, reason=reason)

    async def tell(self, upload: Upload) -> None:
        """Let the log hear of an upload's state; if it cannot now, the sweep does it later."""
        record = upload.record
        try:
            await announce(self._events(), record)
        except (LogUnavailableError, ConflictError) as error:
            log.warning("upload_untold", upload_id=upload.id, state=record.state, error=type(error).__name__)
            return
        upload.told = upload.told or upload.record is record

    async def sweep_for_ever(self) -> None:
        """Sweep every minute."""
        while True:
            await self.sweep()
            await asyncio.sleep(SWEEP_EVERY_S)

    async def sweep(self) -> None:
        """Remove what expired, forget what was removed long ago, complete and tell what a crash left so."""
        for upload in self.store.all():
            try:
                await self._sweep(upload)
            except (Problem, OSError) as error:  # a full disk, or somebody was faster: the next round sees
                log.warning("upload_sweep_failed", upload_id=upload.id, error=str(error))

    async def _sweep(self, upload: Upload) -> None:
        record, expired = upload.record, self.store.clock() >= upload.record.expires_at
        if not upload.told:
            await self.tell(upload)
        if record.state in ("used", "removed"):
            if expired and upload.told:
                await in_thread(self.store.drop, upload)
                self.store.forget(upload)
        elif upload.claim.locked() or not await in_thread(self.store.is_settled, upload):
            return
        elif record.state == "complete" and not await in_thread(self.store.has_bytes, upload):
            await self.mark_used(upload, None)
        elif expired:
            await self.remove(upload, "expired", "")
        elif record.state == "receiving" and self.turns.last(upload.id) is None:
            async with self.turns.turn(upload.id):
                await self.finish_if_whole(upload)

    async def mark_used(self, upload: Upload, job_id: str | None) -> None:
        """Say that it is a job's source now. Raises OSError."""
        expires_at = self.store.clock() + REMEMBERED_S
        await in_thread(self.store.change, upload, state="used", job_id=job_id, expires_at=expires_at)
        self.metrics.ended("used")
        self.quota.release(upload.id)
        await in_thread(self.store.discard, upload)

    def arrived(self, upload: Upload) -> None:
        """Count what is on the disk of an upload by now."""
        self.metrics.received(self.quota.arrived(upload.id, upload.offset))

    def promised(self, owner: str, besides: str = "") -> int:
        """Return how many bytes a user's open uploads were promised, without those of which jobs are being made.

        About each of these the scheduler is asked itself: counted here as well, two that are submitted at once would
        keep each other out. `besides`: an upload that is not counted.
        """
        return sum(
            upload.record.total_bytes
            for upload in self.store.all()
            if upload.record.owner == owner and upload.id != besides and upload.is_open and not upload.claim.locked()
        )

    def stir(self, upload: Upload) -> None:
        """Wake the chunks that wait for others."""
        upload.stirred.set()
        upload.stirred = asyncio.Event()

    def _check_there(self, upload: Upload) -> None:
        record = upload.record
        unused = upload.is_open and not upload.claim.locked()
        if record.state == "removed" or (unused and self.store.clock() >= record.expires_at):
            raise gone(upload)

    def _check_free(self, upload: Upload) -> None:
        if upload.record.state == "used":
            detail = "A job was made of this upload. Delete the job, and it goes too."
            raise Problem(409, "upload_used", detail, id=upload.record.job_id)
        if upload.claim.locked():
            raise Problem(409, "upload_in_use", "A job is being made of this upload. Try again in a moment.")


def gone(upload: Upload) -> Problem:
    """Return the answer for an upload that is no more."""
    why = {"terminated": "was removed", "refused": "was not accepted"}.get(upload.record.reason or "", "has expired")
    return Problem(410, "upload_gone", f"This upload {why}. Begin a new one.")


def wrong_offset(upload: Upload) -> Problem:
    """Return the refusal of bytes that do not go where the upload goes on."""
    detail = f"The upload goes on at byte {upload.offset}."
    return Problem(409, "wrong_offset", detail, headers={"Upload-Offset": str(upload.offset)}, offset=upload.offset)
