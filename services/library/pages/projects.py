"""GET /ui/projects: projects and presets, and the forms that make and change them.

Lives here: what the page is given. Does not live here: rows (`reads`); making, changing and deleting is ingest's.
"""

from fastapi import APIRouter, Request, Response

from services.library.pages.reads import read_choices
from services.library.pages.rendering import page
from services.library.readers import reader_of
from services.library.routes.jobs import NeedsLibrary
from shared.access.current import Who

router = APIRouter()


@router.get("/ui/projects")
async def projects_page(request: Request, library: NeedsLibrary, who: Who) -> Response:
    """One's own projects and presets; all of them for an administrator."""
    position = library.hub.position
    choices = await library.reader.run(lambda connection: read_choices(connection, reader_of(who)))
    preset_names = {preset["id"]: preset["name"] for preset in choices.presets}
    return page(request.scope, "projects.html", choices=choices, preset_names=preset_names, position=position)
