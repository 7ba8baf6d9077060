"""GET /ui/jobs/{id}: one job now, as it was at an earlier moment (`at`), with its history (`history`), or deleted.

Lives here: what the page is given; its parameters are those of GET /api/jobs/{id}. It comes from the same reads as the
API's answers. Does not live here: those reads (`services.library.library`, `past`, `shared.outputs`).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.types import Scope

from services.library import past
from services.library.jobstore.filters import JobFilter
from services.library.jobstore.queries import read_tags
from services.library.library import Library, get_job, shown_job
from services.library.pages import words
from services.library.pages.kept import is_sourceless
from services.library.pages.reads import TAGS_OFFERED, complete
from services.library.pages.rendering import page, refusal
from services.library.readers import reader_of
from services.library.routes.jobs import NeedsLibrary
from shared.access.current import Who
from shared.access.principal import Principal
from shared.eventlog.job_history import fold
from shared.eventlog.port import Recorded
from shared.outputs import OutputFile, discover_outputs
from shared.problems import Problem

GONE = 410
PLAYED = ("mp4", "lipsync_mp4", "mobile_mp4")
"""Kinds that a browser plays, the best first."""

router = APIRouter()


@dataclass(frozen=True)
class Result:
    """The files of a job that are on disk now. `captions` are the subtitles that a browser can show."""

    files: Sequence[OutputFile]

    @property
    def video(self) -> OutputFile | None:
        return next((file for kind in PLAYED for file in self.files if file.kind == kind), None)

    @property
    def captions(self) -> list[OutputFile]:
        return [file for file in self.files if file.kind == "subs" and file.name.endswith(".vtt")]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def version(self) -> str:
        """Another one when any file is another: what a live page compares."""
        return " ".join(f"{file.name}:{file.size_bytes}:{file.mtime:.3f}" for file in self.files)

    @property
    def groups(self) -> list[tuple[str, list[OutputFile]]]:
        """The files under the headings of the page, empty ones left out."""
        kinds = {name: [file for file in self.files if file.kind in of] for name, of in words.FILE_GROUPS.items()}
        return [(name, files) for name, files in kinds.items() if files]


@router.get("/ui/jobs/{job_id}")
async def job_page(
    request: Request, library: NeedsLibrary, who: Who, job_id: str, at: str = "", history: str = ""
) -> Response:
    """One job: how far it is, how each stage went, the video, the downloads, and what can be done with it."""
    told_too = history in {"1", "true"}
    try:
        if at:
            return await _then(request.scope, library, who, job_id, at, told_too=told_too)
        return await _now(request.scope, library, who, job_id, told_too=told_too)
    except Problem as problem:
        if problem.status != GONE:
            return refusal(request.scope, problem)
        return await _deleted(request.scope, library, job_id, problem)


async def _now(scope: Scope, library: Library, who: Principal, job_id: str, *, told_too: bool) -> Response:
    position = library.hub.position
    job = complete(await get_job(library, job_id, who))
    found = await asyncio.to_thread(discover_outputs, library.layout.output, job["base_dir"], job["outputs"])
    wanted = JobFilter(reader=reader_of(who))
    tags = await library.reader.run(lambda connection: read_tags(connection, TAGS_OFFERED, wanted))
    return page(
        scope,
        "job.html",
        job=job,
        may_change=_may_change(who, job),
        actions=_actions(who, job),
        result=Result(found.files),
        known_tags=[tag for tag, _ in tags if tag not in job["tags"]],
        history=await _history(library, job_id) if told_too else None,
        then=None,
        position=position,
    )


async def _then(scope: Scope, library: Library, who: Principal, job_id: str, at: str, *, told_too: bool) -> Response:
    try:
        moment = past.parse_moment(at)
    except ValueError as error:
        raise Problem(422, "invalid_request", f"This moment cannot be looked at: {error}.") from error
    then = await past.job_at(library.log, job_id, moment, who, connected=library.connected())
    return page(
        scope,
        "job.html",
        job=complete(shown_job(then.job)),
        may_change=False,
        actions=[],
        result=Result([]),
        known_tags=[],
        history=await _history(library, job_id) if told_too else None,
        then=then,
        position="",
    )


def _may_change(who: Principal, job: dict[str, Any]) -> bool:
    """Return whether the page offers to change a job; ingest judges again."""
    return who.may("submit:job") and who.changes(job["owner_id"] or "")


def _actions(who: Principal, job: dict[str, Any]) -> list[tuple[str, str, str]]:
    if not _may_change(who, job):
        return []
    offered = words.actions(job["state"], pause_requested=job["pause_requested"], sourceless=is_sourceless(job))
    return [action for action in offered if action[0] != "kill" or who.administers]


async def _history(library: Library, job_id: str) -> dict[str, Any]:
    """Return what is told of a job; nothing while the log is away: the rest of the page does not need it."""
    try:
        return past.told(await past.history_of(library.log, job_id, connected=library.connected()))
    except Problem:
        return past.told([])


async def _deleted(scope: Scope, library: Library, job_id: str, problem: Problem) -> Response:
    """Return the page of a job that was deleted: that it was, and its past, which the log keeps."""
    try:
        records = await past.history_of(library.log, job_id, connected=library.connected())
    except Problem:
        return refusal(scope, problem)
    before = _before_the_end(records)
    return page(scope, "deleted.html", GONE, job_id=job_id, job=before, **past.told(records))


def _before_the_end(records: Sequence[Recorded]) -> dict[str, Any] | None:
    """Return the job as it was before it was deleted."""
    kept = [each for each in records if each.event is None or each.event.type != words.DELETED_TYPE]
    job = fold(kept)
    return None if job is None else complete(shown_job(job))
