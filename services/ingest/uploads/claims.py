"""How an upload becomes a job's source: one submission at a time tries, and the first that succeeds has it.

Lives here: the claim, and what a submission is given. Does not live here: the submission (`services.ingest.submission`)
and the intent that settles it after a crash (`services.ingest.intents`).

Where an upload's bytes are says whose they are: under its own name they are the upload's, under the name of a source
the job's. The intent file covers the time in between.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from starlette.requests import ClientDisconnect

from services.ingest.naming import NO_NAME
from services.ingest.storage import SourceFile
from services.ingest.uploads.medium import Medium
from services.ingest.uploads.store import Upload
from services.ingest.uploads.uploads import Uploads
from shared.access.principal import Principal
from shared.layout import Layout
from shared.problems import Problem
from shared.threads import in_thread

SETTLED_WITHIN_S = 60

log = structlog.get_logger()


class UploadSource(SourceFile):
    """A complete upload, as a submission takes it. `job_id` is to be set to the job that was made of it."""

    returns = True
    """What is not needed after all goes back to being an upload."""

    def __init__(self, layout: Layout, medium: Medium, upload: Upload) -> None:
        assert upload.record.sha256 is not None
        super().__init__(layout, upload.id, upload.received.path, medium)
        self.size = upload.record.total_bytes
        self.sha256 = upload.record.sha256
        self.sealed = upload.id if upload.record.sealed else None
        self.job_id: str | None = None


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


@asynccontextmanager
async def nameless(uploads: Uploads, upload: Upload) -> AsyncIterator[None]:
    """Keep nothing of a file's name while a private job is made of it and after; where none is made, it comes back.

    Raises Problem 507.
    """
    title, metadata = upload.record.title, upload.record.metadata
    await in_thread(lambda: uploads.store.change(upload, title=NO_NAME, metadata=""))
    try:
        yield
    except (Problem, ClientDisconnect):
        await in_thread(lambda: uploads.store.change(upload, title=title, metadata=metadata))
        raise


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
