"""GET of projects, presets and tags.

Lives here: stored rows as one list or one by one; one's own, or all for an administrator. Does not live here: how they
are changed (`services.ingest`).
"""

import sqlite3
from collections.abc import Callable, Sequence

import orjson
from fastapi import APIRouter, Response

from services.library.answers import answer
from services.library.jobstore.filters import JobFilter
from services.library.jobstore.queries import read_presets, read_projects, read_tags
from services.library.library import Library
from services.library.readers import reader_of
from services.library.routes import examples
from services.library.routes.documents import PresetItem, Presets, ProjectItem, Projects, Tags, found, problem
from services.library.routes.jobs import IfNoneMatch, NeedsLibrary
from shared.access.current import Who
from shared.access.principal import Principal
from shared.problems import Problem

TAGS_MAX = 500
"""Tags of one answer, the most used ones."""

Rows = Callable[[sqlite3.Connection, str | None], Sequence[bytes]]

router = APIRouter(prefix="/api", tags=["projects and presets"])


@router.get(
    "/projects",
    response_model=Projects,
    summary="List projects",
    responses=found("Your projects.", {"items": [examples.PROJECT]}),
)
async def projects(library: NeedsLibrary, who: Who, if_none_match: IfNoneMatch = None) -> Response:
    """Your projects; all for an administrator."""
    return await _all(library, read_projects, who, if_none_match)


@router.get(
    "/projects/{project_id}",
    response_model=ProjectItem,
    summary="One project",
    responses={
        **found("The project.", examples.PROJECT),
        **problem(404, "There is no project with this id.", "project_not_found"),
    },
)
async def project(library: NeedsLibrary, who: Who, project_id: str, if_none_match: IfNoneMatch = None) -> Response:
    """One project."""
    return await _one(library, read_projects, who, project_id, "project", if_none_match)


@router.get(
    "/presets",
    response_model=Presets,
    summary="List presets",
    responses=found("Your presets.", {"items": [examples.PRESET]}),
)
async def presets(library: NeedsLibrary, who: Who, if_none_match: IfNoneMatch = None) -> Response:
    """Your presets; all for an administrator."""
    return await _all(library, read_presets, who, if_none_match)


@router.get(
    "/presets/{preset_id}",
    response_model=PresetItem,
    summary="One preset",
    responses={
        **found("The preset.", examples.PRESET),
        **problem(404, "There is no preset with this id.", "preset_not_found"),
    },
)
async def preset(library: NeedsLibrary, who: Who, preset_id: str, if_none_match: IfNoneMatch = None) -> Response:
    """One preset."""
    return await _one(library, read_presets, who, preset_id, "preset", if_none_match)


@router.get(
    "/tags",
    response_model=Tags,
    summary="List tags",
    responses=found("The tags of jobs that are not archived, the most used first.", examples.TAGS),
)
async def tags(library: NeedsLibrary, who: Who, if_none_match: IfNoneMatch = None) -> Response:
    """The tags of the jobs that you may see and that are not archived, with the number of jobs that have each."""
    wanted = JobFilter(reader=reader_of(who))
    counted = await library.reader.run(lambda connection: read_tags(connection, TAGS_MAX, wanted))
    return answer(orjson.dumps({"items": [{"tag": tag, "n": n} for tag, n in counted]}), if_none_match)


async def _all(library: Library, read: Rows, who: Principal, if_none_match: str | None) -> Response:
    rows = await library.reader.run(lambda connection: read(connection, reader_of(who)))
    return answer(b'{"items":[%b]}' % b",".join(rows), if_none_match)


async def _one(
    library: Library, read: Rows, who: Principal, wanted: str, kind: str, if_none_match: str | None
) -> Response:
    rows = await library.reader.run(lambda connection: read(connection, reader_of(who)))
    row = next((row for row in rows if orjson.loads(row)["id"] == wanted), None)
    if row is None:
        raise Problem(404, f"{kind}_not_found", f"There is no {kind} with this id.")
    return answer(row, if_none_match)
