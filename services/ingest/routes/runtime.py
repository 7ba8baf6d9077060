"""`POST /api/runtime/limits` and `/api/runtime/models/prewarm`: what an operator changes while the system runs.

Lives here: both routes. Does not live here: the events (`services.ingest.runtime`), and what is told about the system
(`GET /api/runtime/*` is the scheduler's).
"""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictFloat, StrictInt

from services.ingest.asker import Asker
from services.ingest.routes.context import FromApp
from services.ingest.runtime import FRACTIONAL, HIGHEST, change_limits, checked, request_prewarm
from shared.curation import clean_text
from shared.events.names import Mode
from shared.openapi import problem
from shared.runtime_state import CAP_NAMES

TASK_ID = "0192f0c1-2b3c-7d4e-8f50-0123456789ab"
REASON_MAX = 200

router = APIRouter(prefix="/api/runtime", tags=["runtime"])


_LIMITS = {
    name: {
        "anyOf": [
            {"type": "number" if name in FRACTIONAL else "integer", "minimum": 0, "maximum": HIGHEST},
            {"type": "null"},
        ]
    }
    for name in CAP_NAMES
}


class LimitsChange(BaseModel):
    """Limits by their environment name; null takes an override back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    overrides: Annotated[
        dict[str, StrictInt | StrictFloat | None],
        Field(
            min_length=1,
            max_length=64,
            examples=[{"MAX_CONCURRENCY_GLOBAL": 4, "MAX_JOBS_HIGH": None}],
            json_schema_extra={"properties": _LIMITS, "additionalProperties": False},
        ),
    ]
    reason: Annotated[str, Field(max_length=REASON_MAX), AfterValidator(clean_text)] = Field(
        "", examples=["a night of re-runs"]
    )


class LimitsAnswer(BaseModel):
    """Every override that is in force now; whatever is not named here is as the environment says."""

    ok: Literal[True] = True
    overrides: dict[str, int | float | None] = Field(examples=[{"MAX_CONCURRENCY_GLOBAL": 4}])


class PrewarmAnswer(BaseModel):
    """The task whose progress `GET /api/runtime/models` tells."""

    ok: Literal[True] = True
    task_id: str = Field(examples=[TASK_ID])
    preset: Mode = Field(examples=["medium"])


@router.post(
    "/limits",
    summary="Change limits without a restart",
    responses={
        409: problem("Others change limits all the while; try again", "too_busy"),
        422: problem("Not a limit, or not a value for it", "unknown_limit", "invalid_limit", "invalid_request"),
        503: problem("Try again", "log_unavailable"),
    },
)
async def limits(change: LimitsChange, by: Asker, service: FromApp) -> LimitsAnswer:
    """The change is an event and outlives a restart. A lower limit stops nothing that runs; it starts nothing new."""
    overrides = checked(change.overrides)
    in_force = await change_limits(service.bus.log, overrides, change.reason, by)
    return LimitsAnswer(overrides=in_force)


@router.post(
    "/models/prewarm",
    status_code=202,
    summary="Fetch and load the models of a mode on every worker",
    responses={503: problem("Try again", "log_unavailable")},
)
async def prewarm(preset: Mode, by: Asker, service: FromApp) -> PrewarmAnswer:
    """The workers do it beside their jobs and report each step."""
    task = await request_prewarm(service.bus, preset, by)
    return PrewarmAnswer(task_id=task, preset=preset)
