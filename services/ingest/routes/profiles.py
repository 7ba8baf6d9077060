"""`GET /api/project-profiles`: which of one's projects have a profile.

Lives here: the route. Does not live here: setting a profile (`routes.projects`), and what it does (`defaults`).
"""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from services.ingest.asker import Asker
from services.ingest.defaults import profile_hash
from services.ingest.projects import projects_of
from services.ingest.routes.context import FromApp
from shared.openapi import problem

router = APIRouter(prefix="/api/project-profiles", tags=["projects"])


class Profile(BaseModel):
    name: str = Field(examples=["Holidays"])
    profile_hash: str = Field(
        examples=["9f86d081884c7d65"],
        description="The first 16 hexadecimal digits of the SHA-256 of the profile as JSON, its members sorted.",
    )


class Profiles(BaseModel):
    items: list[Profile]


@router.get("", summary="My projects' profiles", responses={503: problem("Try again", "log_unavailable")})
async def profiles(by: Asker, service: FromApp) -> Profiles:
    """One's own projects that have a profile, by name; two with one hash have the same settings."""
    mine = await projects_of(service.bus.log, by.actor)
    items = [
        Profile(name=project.data.name, profile_hash=profile_hash(project.data.profile))
        for project in mine
        if project.data.profile
    ]
    return Profiles(items=items)
