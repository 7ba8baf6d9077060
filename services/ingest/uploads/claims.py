"""How an upload becomes a job's source: one submission at a time tries, and the first that succeeds has it.

Lives here: the claim, and what a submission is given. Does not live here: the submission (`services.ingest.submission`)
and the intent that settles it after a crash (`services.ingest.intents`).

Where an upload's bytes are says whose they are: under its own name they are the upload's, under the name of a source
the job's. The intent file covers the time in between.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import structlog

from services.ingest.storage import extension_of
from services.ingest.uploads.intake import in_thread
from services.ingest.uploads.medium import Medium
from services.ingest.uploads.store import Upload
from services.ingest.uploads.uploads import Uploads
from shared.access.principal import Principal
from shared.artifacts import publish
from shared.layout import Layout
from shared.problems import Problem

SETTLED_WITHIN_S = 60

log = structlog.get_logger()


class UploadSource:
    """A complete upload, as a submission takes it. `job_id` is to be set to the job that was made of it."""

    returns = True
    """What is not needed after all goes back to being an upload."""

    def __init__(self, layout: Layout, medium: Medium, upload: Upload) -> None:
        assert upload.record.sha256 is not None
        self.upload_id = upload.id
        self.path: Path = upload.received.path
        self.size = upload.record.total_bytes
        self.sha256 = upload.record.sha256
        self.sealed = upload.id if upload.record.sealed else None
        self.job_id: str | None = None
        self._layout = layout
        self._medium = medium

    def plain(self) -> AbstractContextManager[Path]:
        """Have a path to the plain bytes in the block. Raises SealError, OSError."""
        return self._medium.plain(self.path, self.upload_id)

    def target(self, container: str) -> Path:
        """Return the lasting name for a file of this container."""
        return self._layout.upload_file(self.upload_id, extension_of(container))

    def promote(self, container: str) -> None:
        """Give the checked file its lasting name. Raises OSError."""
        publish(self.path, self.target(container))


@asynccontextmanager
async def claimed(uploads: Uploads, layout: Layout, upload: Upload, who: Principal) -> AsyncIterator[UploadSource]:
    """Have the upload to oneself in the block, and let it be used if a job was made of it.

    Raises Problem 409 for one that is not complete or used already, 410.
    """
    async with upload.claim:
        uploads.find(upload.id, who)
        await _check(uploads, upload)
        source = UploadSource(layout, uploads.store.media.of(sealed=upload.record.sealed), upload)
        try:
            yield source
        finally:
            await _settle(uploads, upload, source)


async def _check(uploads: Uploads, upload: Upload) -> None:
    record = upload.record
    if record.state == "receiving":
        missing = len(record.missing(upload.offset))
        detail = f"This upload is not complete: it has {upload.offset} of {record.total_bytes} bytes."
        raise Problem(409, "upload_incomplete", detail, offset=upload.offset, missing_count=missing)
    if record.state == "used":
        raise Problem(409, "upload_used", "A job was made of this upload already.", id=record.job_id)
    if not await in_thread(uploads.store.is_settled, upload):
        detail = "An earlier submission of this upload is still being settled. Try again in a minute."
        raise Problem(409, "upload_in_use", detail, headers={"Retry-After": str(SETTLED_WITHIN_S)})
    if not await in_thread(uploads.store.has_bytes, upload):
        await uploads.mark_used(upload, None)
        raise Problem(409, "upload_used", "A job was made of this upload already.", id=None)


async def _settle(uploads: Uploads, upload: Upload, source: UploadSource) -> None:
    """Where an intent is left, or the disk is full, the sweep looks again."""
    try:
        if await in_thread(uploads.store.is_settled, upload) and not await in_thread(uploads.store.has_bytes, upload):
            await uploads.mark_used(upload, source.job_id)
    except (Problem, OSError) as error:
        log.warning("upload_claim_unsettled", upload_id=upload.id, error=str(error))
