"""`GET /livez`, `/readyz`: for supervisors.

Lives here: both routes. Live means that the process answers; ready, that it can accept a write.
"""

from fastapi import APIRouter

from services.ingest.routes.context import FromApp
from shared.openapi import problem
from shared.problems import Problem

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", responses={503: problem("No connection to the event log", "not_ready")})
async def readyz(service: FromApp) -> dict[str, str]:
    if not service.bus.connected:
        raise Problem(503, "not_ready", f"Ingest cannot reach the event log: {service.bus.trouble}.")
    return {"status": "ready"}
