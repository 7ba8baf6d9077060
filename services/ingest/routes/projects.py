"""`POST /api/projects`, `PUT` and `DELETE /api/projects/{id}`: what jobs are grouped by.

Lives here: the routes. Does not live here: the events (`services.ingest.projects`), and reading (`services.library`).
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from services.ingest.asker import Asker
from services.ingest.fields import Overrides
from services.ingest.presets import ID_PATTERN as PRESET_ID_PATTERN
from services.ingest.projects import ID_PATTERN, Change, NewProject, change_project, delete_project
from services.ingest.routes.context import FromApp
from services.ingest.routes.curation import Deleted
from services.ingest.routes.patterns import SUBDIR, words
from shared.curation import NAME_MAX_CHARS
from shared.events.envelope import Timestamp, Value
from shared.events.library import ProjectSaved
from shared.identity import LOCAL_OWNER
from shared.openapi import problem

EXAMPLE = "proj_0123456789abcdef"
PRESET_EXAMPLE = "preset_0123456789abcdef"
PROFILE_EXAMPLE = {"asr_model": "whisper-small", "mix": "legacy"}
BUSY = problem("Others change it all the while; try again", "too_busy")

router = APIRouter(prefix="/api/projects", tags=["projects"])

PresetId = Annotated[str, Field(json_schema_extra={"pattern": PRESET_ID_PATTERN})]
ProjectId = Annotated[str, Path(json_schema_extra={"pattern": ID_PATTERN}, examples=[EXAMPLE])]
REFUSALS: dict[int | str, dict[str, Any]] = {
    404: problem("Unknown project", "project_not_found"),
    409: BUSY,
    503: problem("Try again", "log_unavailable"),
}


class ProjectBody(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(examples=["Holidays"], json_schema_extra=words(NAME_MAX_CHARS))
    output_subdir: Annotated[str, Field(json_schema_extra={"pattern": SUBDIR})] | None = Field(
        None,
        examples=["holidays/2026"],
        description="Where its jobs' outputs lie below the output folder. Not sent: a directory named after it; "
        'empty: no directory of its own. Parts are letters, digits, "-", ".", "_" and blanks.',
    )
    default_preset_id: PresetId | None = Field(None, examples=[None])
    profile: Overrides = Field(
        {},
        examples=[PROFILE_EXAMPLE],
        description="Settings that its jobs have where neither the submission nor its preset says otherwise.",
    )


class ProjectChange(BaseModel):
    """Only the preset and the profile may change; the other members may be repeated as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    default_preset_id: PresetId | None = Field(examples=[None])
    profile: Overrides | None = Field(
        None, examples=[PROFILE_EXAMPLE], description="All of it. Not sent, or null: it stays."
    )
    name: str | None = Field(None, examples=["Holidays"])
    output_subdir: str | None = Field(None, examples=["holidays/2026"])


class Project(BaseModel):
    """A project as it is; names are unique among its owner's projects, directories in the whole installation."""

    id: str = Field(examples=[EXAMPLE])
    owner_id: str = Field(examples=[LOCAL_OWNER])
    name: str = Field(examples=["Holidays"])
    created_at: Timestamp
    updated_at: Timestamp
    default_preset_id: str | None = Field(examples=[PRESET_EXAMPLE])
    output_subdir: str = Field(examples=["holidays/2026"])
    profile: dict[str, Value] = Field(examples=[PROFILE_EXAMPLE])

    @classmethod
    def of(cls, event: ProjectSaved) -> "Project":
        data = event.data
        return cls(
            id=event.subject,
            owner_id=data.owner,
            name=data.name,
            created_at=data.created_at,
            updated_at=event.time,
            default_preset_id=data.default_preset_id,
            output_subdir=data.output_subdir,
            profile=data.profile,
        )


@router.post(
    "",
    status_code=201,
    summary="Make a project",
    responses={
        409: problem("The name or the directory is taken", "project_exists", "output_subdir_taken", "too_busy"),
        422: problem("Not usable", "invalid_name", "invalid_output_subdir", "unknown_preset", "invalid_request"),
        503: problem("Try again", "log_unavailable"),
        507: problem("No room on the disk", "disk_full"),
    },
)
async def create(body: ProjectBody, by: Asker, response: Response, service: FromApp) -> Project:
    """Its name and its directory are for good: jobs carry them. Submit with `project_id` or `project` to use it."""
    wanted = NewProject(body.name, body.output_subdir, body.default_preset_id, body.profile)
    project = Project.of(await service.projects.create(service.bus.log, wanted, by))
    response.headers["Location"] = f"/api/projects/{project.id}"
    return project


@router.put(
    "/{project_id}",
    summary="Give a project another default preset or profile",
    responses=REFUSALS | {422: problem("Not usable", "project_fixed", "unknown_preset", "invalid_request")},
)
async def change(project_id: ProjectId, body: ProjectChange, by: Asker, service: FromApp) -> Project:
    """They apply to jobs that are submitted from now on. As preset, null is none."""
    fixed = body.model_dump(include={"name", "output_subdir"}, exclude_none=True)
    wanted = Change(body.default_preset_id, body.profile, fixed)
    return Project.of(await change_project(service.bus.log, project_id, wanted, by))


@router.delete("/{project_id}", summary="Delete a project", responses=REFUSALS)
async def remove(project_id: ProjectId, by: Asker, service: FromApp) -> Deleted:
    """It takes no more jobs. Those that it has stay, with its name and in its directory; the name becomes free."""
    await delete_project(service.bus.log, project_id, by)
    return Deleted(id=project_id)
