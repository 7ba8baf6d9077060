"""`GET /api/languages`: what can be dubbed now.

Lives here: the route. Does not live here: how it is known (`services.ingest.workers`, `services.ingest.languages`).
"""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from services.ingest.languages import describe
from services.ingest.routes.context import FromApp
from shared.capabilities import EngineStatus, LanguagePair
from shared.openapi import problem

router = APIRouter(prefix="/api", tags=["languages"])


class WorkerEngine(EngineStatus):
    """An engine and the worker that has it."""

    worker: str


class Languages(BaseModel):
    """Every pair that some worker serves, and the engines behind them."""

    pairs: list[LanguagePair] = Field(examples=[[{"source": "en", "target": "pt", "route": ["bergamot"]}]])
    sources: list[str] = Field(examples=[["en", "pt"]])
    targets: list[str] = Field(examples=[["en", "pt"]])
    engines: list[WorkerEngine]


@router.get("/languages", summary="Languages and engines", responses={503: problem("No worker yet", "no_worker")})
async def languages(service: FromApp) -> Languages:
    """The pairs come from the workers' own reports, at most a few seconds old."""
    return Languages.model_validate(describe(await service.workers.known()))
