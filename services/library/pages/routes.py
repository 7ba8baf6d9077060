"""The pages: /, and those of the modules beside.

Lives here: which pages there are. Does not live here: any of them.
"""

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

from services.library.pages import accounts, job, jobs, projects, settings, webhooks

router = APIRouter(tags=["pages"], include_in_schema=False)


@router.get("/")
async def home() -> Response:
    return RedirectResponse(jobs.PATH)


router.include_router(accounts.router)
router.include_router(jobs.router)
router.include_router(job.router)
router.include_router(projects.router)
router.include_router(settings.router)
router.include_router(webhooks.router)
