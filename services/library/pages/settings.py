"""GET /ui/projects: projects and presets, and the forms that make them.

Lives here: what the page is given. Does not live here: rows (`reads`); making and deleting is ingest's.
"""

from fastapi import APIRouter, Response

from services.library.pages.reads import read_choices
from services.library.pages.rendering import page
from services.library.routes.jobs import NeedsLibrary

router = APIRouter()


@router.get("/ui/projects")
async def projects_page(library: NeedsLibrary) -> Response:
    """All projects, all presets."""
    position = library.hub.position
    choices = await library.reader.run(read_choices)
    preset_names = {preset["id"]: preset["name"] for preset in choices.presets}
    return page("projects.html", choices=choices, preset_names=preset_names, position=position)
