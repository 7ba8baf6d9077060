"""The pages of settings: one's own, for administrators a user's, and the limits of the running system.

Lives here: which there are, and what they are given. Settings are ingest's and limits the scheduler's: what these pages
show of them, their scripts ask of the API. Does not live here: who may open which (`services.library.access`).
"""

from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from services.library.pages.rendering import page
from services.library.pages.words import CAP_WORDS
from shared.access.current import Who

SETTINGS = "/api/settings"

router = APIRouter()


@router.get("/ui/settings")
async def own_settings_page(request: Request, who: Who) -> Response:
    """What one's own dubs begin with, what is left for today, and what holds for every video."""
    return page(request.scope, "settings.html", path=SETTINGS, user_id="", may_save=who.may("submit:job"))


@router.get("/ui/admin/users/{user_id}/settings")
async def user_settings_page(request: Request, user_id: str) -> Response:
    """The same form for somebody else's; the API says whether there is such a user."""
    path = f"/api/admin/users/{quote(user_id, safe='')}/settings"
    return page(request.scope, "settings.html", path=path, user_id=user_id, may_save=True)


@router.get("/ui/admin/limits")
async def limits_page(request: Request) -> Response:
    """Every limit that can be changed while the system runs, how much of it is used, and by whom."""
    return page(request.scope, "limits.html", caps=CAP_WORDS)
