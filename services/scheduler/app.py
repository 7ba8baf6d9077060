"""The scheduler's HTTP: health, metrics, and what operators are told.

Lives here: routes over the scheduler's state in memory. Does not live here: any write (ingest has them), and what the
answers are made of (`view`).
"""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError
from pydantic import BaseModel

from services.scheduler.access import TABLE
from services.scheduler.metrics import CapUse, Gauges, SchedulerMetrics
from services.scheduler.service import Scheduler
from services.scheduler.shown import own_waiting, shown_to
from services.scheduler.view import Around, runtime_models, runtime_state
from services.scheduler.workers import Workers
from shared import metrics, openapi, problem_handlers
from shared.access.current import Who
from shared.access.front import Front
from shared.eventlog.streams import POOLS
from shared.events.subjects import COMMAND_STREAM, pool_consumer
from shared.job.model import JobState
from shared.openapi import problem
from shared.problems import Problem
from shared.runtime_state import ConsumerLag, RuntimeModels, RuntimeState

QUEUE_SHOWN = 200
QUEUE_MAX = 1000
LAG_TIMEOUT_S = 1.0


class Live(BaseModel):
    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """`head` is the last sequence of the log that it knows; only the leader queues jobs."""

    status: Literal["ready"] = "ready"
    head: int
    leader: bool


def create_app(
    scheduler: Scheduler,
    client: Client,
    workers: Workers,
    measured: SchedulerMetrics,
    front: Front,
) -> FastAPI:
    """Return the application."""
    app = FastAPI(
        title="Dubline scheduler",
        summary="What runs, what waits, and why",
        openapi_url="/api/scheduler.json",
        docs_url=None,
        redoc_url=None,
    )
    problem_handlers.install(app)
    openapi.install(app)
    metrics.install(app, measured.registry)

    @app.get("/livez", summary="Whether the process answers", tags=["health"])
    async def livez() -> Live:
        return Live()

    @app.get(
        "/readyz",
        summary="Whether it follows the log",
        tags=["health"],
        responses={503: problem("Not yet, or not any more", "not_ready", "draining")},
    )
    async def readyz() -> Ready:
        if scheduler.draining:
            raise Problem(503, "draining", "The scheduler is shutting down.", headers={"Retry-After": "60"})
        if not client.is_connected or not scheduler.caught_up.is_set():
            raise Problem(503, "not_ready", "The scheduler has not caught up with the log.")
        return Ready(head=scheduler.board.seq, leader=scheduler.leads)

    @app.get("/api/runtime/state", summary="Caps and use, and why each job waits", tags=["runtime"])
    async def state(
        who: Who,
        job: Annotated[
            list[str],
            Query(max_length=20, default_factory=list, description="Show these too, wherever they are."),
        ],
        limit: Annotated[int, Query(ge=0, le=QUEUE_MAX, description="Waiting jobs to show.")] = QUEUE_SHOWN,
    ) -> RuntimeState:
        """Who does not administer sees their own jobs, and of the others' how many there are."""
        around = Around(
            scheduler.leads,
            scheduler.draining,
            [(seen, workers.age(seen)) for seen in workers.all()],
            await consumer_lag(client),
        )
        board = scheduler.board
        if not who.administers:
            told = runtime_state(board, scheduler.world(), around, 0, own_waiting(board, who, limit) | frozenset(job))
            return shown_to(told, board, who)
        return runtime_state(board, scheduler.world(), around, limit, frozenset(job))

    @app.get("/api/runtime/models", summary="Which models are where, and how far prewarming is", tags=["runtime"])
    async def models() -> RuntimeModels:
        return runtime_models(scheduler.board, scheduler.world(), workers.all())

    front.install(app, TABLE)
    return app


async def consumer_lag(client: Client) -> list[ConsumerLag]:
    """Return how many commands wait in each pool, or nothing while the broker does not answer."""
    js = client.jetstream(timeout=LAG_TIMEOUT_S)
    try:
        found = await asyncio.gather(*(js.consumer_info(COMMAND_STREAM, pool_consumer(pool)) for pool in POOLS))
    except (NatsError, APIError, TimeoutError):
        return []
    return [
        ConsumerLag(consumer=info.name, pending=info.num_pending or 0, outstanding=info.num_ack_pending or 0)
        for info in found
    ]


def gauges(scheduler: Scheduler, workers: Workers) -> Gauges:
    """Return the state at one scrape."""
    board, world = scheduler.board, scheduler.world()
    limits = board.limits
    oldest = board.queue.oldest() or world.now
    counts: dict[Any, int] = {}
    for beat in workers.alive():
        counts[beat.pool, beat.device] = counts.get((beat.pool, beat.device), 0) + 1
    caps = {"global": CapUse(len(board.active), limits.max_running)}
    caps |= {stage: CapUse(board.in_phase(stage), cap) for stage, cap in limits.phases.items()}
    caps |= {mode: CapUse(board.in_mode(mode), cap) for mode, cap in limits.modes.items()}
    return Gauges(
        active=scheduler.leads,
        queued=len(board.queue),
        running=sum(board.jobs[job_id].state is JobState.RUNNING for job_id in board.active),
        oldest_queued_s=max(0.0, (world.now - oldest).total_seconds()),
        caps=caps,
        workers=counts,
        open_breakers=[
            name for name in board.breakers.known if board.breakers.state(name, limits, world.now) == "open"
        ],
        dead_letters=len(board.dead_letters),
        quarantined=board.quarantined,
        log_head=board.seq,
        disk_free_bytes=None if world.free_gb is None else int(world.free_gb * (1 << 30)),
    )
