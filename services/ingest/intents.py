"""What a submission makes outside the log, and how all of it goes away again unless the log has the job.

Lives here: the intent file, written before the event and removed after it is settled, and the sweep that settles what
a crash or a lost answer left. Does not live here: the order of a submission (`submission`).
"""

import asyncio
import shutil
import time
from contextlib import suppress
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from services.ingest.bus import Bus
from services.ingest.history import submission_of
from services.ingest.imports.files import remove_imports
from shared.artifacts import write_bytes
from shared.eventlog.job_history import load_job
from shared.eventlog.port import EventLog, LogUnavailableError
from shared.events.types import JobSubmitted
from shared.layout import Layout

SWEEP_EVERY_S = 30.0
NO_BROKER_S = 1.0
SETTLE_AFTER_S = 60.0
"""Longer than any append waits for its answer, so that a live submission is never swept from under its request."""
ABANDONED_PART_S = 3600.0
"""A file that nobody has written to for so long belongs to a process that died."""
SECOND_LOOK_S = 2.0
"""A publish that was still in the connection's buffer when the broker came back needs a moment to be stored."""

log = structlog.get_logger()


class Intent(BaseModel):
    """Paths that belong to a job if, and only if, its submission is in the log. `source` is an upload's file name.

    `returns`: without the job it is a finished upload again, under the name that it had.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    upload_id: str
    job_id: str
    base_dir: str
    source: str
    title: str
    returns: bool = False


def record(layout: Layout, intent: Intent) -> None:
    """Write the intent durably. Raises OSError."""
    write_bytes(layout.upload_intent(intent.upload_id), intent.model_dump_json().encode())


def settle(layout: Layout, intent: Intent, winner: JobSubmitted | None) -> None:
    """Keep or remove what the intent names; `winner` is the event that made the job, None if there is none.

    With an idempotency key, several submissions race for one job: each removes what is its own and not the winner's.
    Raises OSError; the intent then stays for the next sweep.
    """
    source = layout.uploads / intent.source
    if winner is not None and winner.data.source.path == source.relative_to(layout.input).as_posix():
        if not layout.mark_base_dir(intent.job_id, intent.base_dir):  # one that lost may have taken the claim back
            log.error("base_dir_is_of_another_job", job_id=intent.job_id)
        layout.write_pointer(intent.job_id, intent.base_dir, intent.title)
    else:
        if intent.returns:
            with suppress(FileNotFoundError):
                source.replace(layout.upload_bytes(intent.upload_id))
        else:
            source.unlink(missing_ok=True)
        remove_imports(layout.job(intent.job_id, intent.base_dir, ""), intent.upload_id)
        if winner is None or winner.data.base_dir != intent.base_dir:
            layout.release_base_dir(intent.job_id, intent.base_dir)
        if winner is None:
            shutil.rmtree(layout.pointer(intent.job_id), ignore_errors=True)
    layout.upload_intent(intent.upload_id).unlink(missing_ok=True)


async def sweep_for_ever(layout: Layout, bus: Bus) -> None:
    """Settle leftovers every 30 s, and as soon as the log is there."""
    while True:
        try:
            await sweep(layout, bus.log, time.time())
        except LogUnavailableError:
            await asyncio.sleep(NO_BROKER_S)
            continue
        await asyncio.sleep(SWEEP_EVERY_S)


async def sweep(layout: Layout, events: EventLog, now: float) -> None:
    """Settle every old intent and remove abandoned parts; `now` is Unix time. Raises LogUnavailableError."""
    for path in await asyncio.to_thread(_tidied, layout, now):
        try:
            await _settle_old(layout, events, await asyncio.to_thread(path.read_bytes))
        except OSError as error:  # settled meanwhile, or a full disk: the next round tries again
            log.warning("sweep_failed", upload=path.stem, error=error.strerror)


def _tidied(layout: Layout, now: float) -> list[Path]:
    """Remove abandoned parts and return the old intents, the oldest name first."""
    intents = []
    for path in sorted((*layout.uploads.glob("up_*.part"), *layout.uploads.glob("up_*.intent.json"))):
        try:
            age_s = now - path.stat().st_mtime
            if path.suffix == ".part" and age_s > ABANDONED_PART_S:
                path.unlink()
                log.info("abandoned_part_removed", upload=path.stem)
            elif path.suffix == ".json" and age_s > SETTLE_AFTER_S:
                intents.append(path)
        except OSError as error:
            log.warning("sweep_failed", upload=path.stem, error=error.strerror)
    return intents


async def _settle_old(layout: Layout, events: EventLog, raw: bytes) -> None:
    try:
        intent = Intent.model_validate_json(raw)
    except ValidationError:
        log.error("intent_undecodable")  # written by a newer version: its files are left alone
        return
    winner = await _living(events, intent.job_id)
    if winner is None:
        await asyncio.sleep(SECOND_LOOK_S)
        winner = await _living(events, intent.job_id)
    await asyncio.to_thread(settle, layout, intent, winner)
    log.info("intent_settled", job_id=intent.job_id, kept=winner is not None)


async def _living(events: EventLog, job_id: str) -> JobSubmitted | None:
    """Return the event that made a job, unless it was deleted since: its files must not come back."""
    job, _ = await load_job(events, job_id)
    return None if job is None or job.deleted else await submission_of(events, job_id)
