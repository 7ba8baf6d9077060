"""The scheduler's HTTP: health, and why each job waits.

Lives here: routes over the scheduler's state in memory. Does not live here: any write.
"""

from typing import Any

from fastapi import FastAPI
from nats.aio.client import Client

from services.scheduler.policy import Limits
from services.scheduler.service import Scheduler
from shared import problems
from shared.events.types import Stage
from shared.job.aggregate import JobState, StageStatus


def create_app(scheduler: Scheduler, limits: Limits, client: Client, workers: dict[str, dict[str, Any]]) -> FastAPI:
    """Return the application; `workers` is filled by the heartbeat subscription."""
    app = FastAPI(title="Dubline scheduler", docs_url=None, redoc_url=None)
    problems.install(app)

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> dict[str, Any]:
        if not client.is_connected or not scheduler.caught_up.is_set():
            raise problems.Problem(503, "not_ready", "The scheduler has not caught up with the log.")
        return {"status": "ready", "head": scheduler.head}

    @app.get("/api/runtime/state")
    async def state() -> dict[str, Any]:
        jobs = scheduler.jobs.values()
        running = [job for job in jobs if job.state is JobState.RUNNING]
        phase: dict[str, Stage | None] = {
            job.id: next((name for name, stage in job.stages.items() if stage.status is StageStatus.CLAIMED), None)
            for job in running
        }
        return {
            "ok": True,
            "state": {
                "queue_len": sum(job.state is JobState.QUEUED for job in jobs),
                "active_global": len(running),
                "limits": {"max_concurrency_global": limits.max_concurrency_global},
                "active_phase": phase,
                "waiting": scheduler.waiting,
                "workers": list(workers.values()),
                "quarantined_events": scheduler.quarantined,
                "log_head": scheduler.head,
            },
        }

    return app
