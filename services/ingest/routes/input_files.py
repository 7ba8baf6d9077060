"""`GET /api/files`: the videos of the server's own input folder, which a submission may name by their path.

Lives here: the route. Does not live here: looking (`services.ingest.input_listing`).
"""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from services.ingest.input_listing import ITEMS_MAX, list_input
from services.ingest.routes.context import FromApp
from shared.openapi import problem

PATH_MAX = 4096

router = APIRouter(prefix="/api/files", tags=["jobs"])


class InputItem(BaseModel):
    """A directory, or a video by its extension."""

    model_config = ConfigDict(from_attributes=True)

    type: Literal["dir", "file"]
    name: str = Field(examples=["holiday.mp4"])
    path: str = Field(examples=["films/holiday.mp4"], description="What `video_path` of a submission takes.")
    size_bytes: int
    mtime: float = Field(description="Unix seconds.")


class InputFiles(BaseModel):
    """One directory of the input folder."""

    root: Literal["input"] = "input"
    dir: str = Field(examples=["films"])
    items: list[InputItem]
    truncated: bool = Field(description=f"There are more than {ITEMS_MAX}.")


@router.get(
    "",
    summary="List the server's own input folder",
    responses={
        404: problem("No such directory in the input folder", "directory_not_found"),
        422: problem("Not what is described here", "invalid_request"),
    },
)
async def files(
    service: FromApp,
    directory: Annotated[str, Query(alias="dir", max_length=PATH_MAX, examples=["films"])] = "",
) -> InputFiles:
    """Links are not followed, and what is not a video by its name is not shown."""
    asked = directory.removesuffix("/")
    found, more = await asyncio.to_thread(list_input, service.settings.layout, asked)
    return InputFiles(dir=asked, items=[InputItem.model_validate(item) for item in found], truncated=more)
