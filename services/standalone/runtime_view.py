"""How `dubline runtime` shows the running system: tables that can be read at 80 columns.

Lives here: tables and words. Does not live here: HTTP (`runtime`) and what there is to tell (`shared.runtime_state`).
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.library.pages.words import policy_reason
from shared.runtime_state import (
    Breaker,
    Cap,
    DeadLetter,
    Degradation,
    Disk,
    ModelState,
    OwnerUse,
    PrewarmTask,
    QueuedJob,
    RunningJob,
    RuntimeModels,
    RuntimeState,
    WorkerState,
)

RECENT = 5
"""Degradations and dead letters that are listed, the newest; `--json` has them all."""
WIDE = 100
"""From so many columns on, engines are listed beside their worker."""

STATUS = {
    "claimed": "running",
    "pending": "not begun",
    "failed": "to be tried again",
    "released": "handed back by its worker",
}

Row = tuple[str | Text, ...]


def state_tables(state: RuntimeState, width: int) -> RenderableType:
    """Return the whole state, without the parts that have nothing to tell."""
    now = datetime.now(UTC)
    parts: list[RenderableType] = [_headline(state)]
    parts += _table("Running", ("job", "mode", "ends"), [_running(job, now) for job in state.running])
    parts += _table(
        _queue_title(state), ("#", "job", "prio", "mode", "starts"), [_queued(job, now) for job in state.queue]
    )
    parts += _table("Workers", ("worker", "does", "last beat"), [_worker(worker, width) for worker in state.workers])
    parts += _table("Limits", ("name", "used", "limit", ""), [_cap(cap) for cap in state.caps])
    parts += _table(
        "Users", ("user", "running", "queued", "minutes today", "jobs today"), map(_owner, state.over_users)
    )
    breakers = [breaker for breaker in state.breakers if breaker.state != "closed" or breaker.failures]
    parts += _table("Engines that failed", ("engine", "breaker", "failures"), [_breaker(b, now) for b in breakers])
    recent = state.degradations[:RECENT]
    parts += _table("Lately, because of the load", ("when", "job"), [_degradation(what, now) for what in recent])
    dead = state.dead_letters[:RECENT]
    parts += _table("Given up by the workers", ("when", "job"),
                    [_dead_letter(letter, now) for letter in dead])  # fmt: skip
    return Group(*parts)


def models_tables(models: RuntimeModels) -> RenderableType:
    """Return which worker has what, and the prewarm tasks."""
    now = datetime.now(UTC)
    parts: list[RenderableType] = [Text(_disk(models.disk))] if models.disk else []
    parts += _table("Models", ("model", "present on", "loaded on"), map(_model, models.models))
    parts += _table("Prewarming", ("asked", "task"), [_prewarm(task, now) for task in models.prewarm])
    return Group(*parts or [Text("No worker has told of any model yet.")])


def _table(title: str, columns: Iterable[str], rows: Iterable[Row]) -> list[RenderableType]:
    """Return a table with its title, or nothing if it has no rows."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), show_edge=False
    )
    for column in columns:
        table.add_column(column, header_style="dim", overflow="fold", ratio=1 if column == "job" else None)
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return [Text(), table] if table.row_count else []


def _headline(state: RuntimeState) -> Text:
    running, waiting = len(state.running), state.queue_total
    told = [f"{running} running, {waiting} waiting", f"event {state.head}"]
    told.append(f"scheduler {state.holder or 'none'} (epoch {state.epoch})")
    told += ["a standby tells this"] * (not state.leader) + ["draining"] * state.draining
    told += [_disk(state.disk)] if state.disk else []
    told += [f"{lag.consumer}: {lag.pending} to take, {lag.outstanding} taken" for lag in state.consumers]
    told += [f"{state.quarantined_events} events quarantined"] * bool(state.quarantined_events)
    return Text(" · ".join(told))


def _disk(disk: Disk) -> str:
    low = ", below it: jobs wait" if disk.free_gb < disk.floor_gb else ""
    return f"{disk.free_gb:.1f} GB free (floor {disk.floor_gb:g} GB{low})"


def _queue_title(state: RuntimeState) -> str:
    cut = len(state.queue) < state.queue_total
    return f"Waiting (the first {len(state.queue)} of {state.queue_total})" if cut else "Waiting"


def _queued(job: QueuedJob, now: datetime) -> Row:
    mode = job.mode if job.mode == job.requested_mode else f"{job.mode}\n(from {job.requested_mode})"
    starts = _expected(job.expected_start, job.expected_start_low, job.expected_start_high, now)
    return (str(job.position), _with_detail(job.job_id, f"{job.owner}: {job.reason}"), str(job.priority), mode, starts)


def _running(job: RunningJob, now: datetime) -> Row:
    doing = f"{job.stage} {STATUS.get(job.stage_status, job.stage_status)}".strip() if job.stage else "between stages"
    told = [f"{job.owner}: {doing}"]
    told += [f"on {job.worker}"] * bool(job.worker) + [f"attempt {job.attempt}"] * (job.attempt > 1)
    told += [job.reason] * bool(job.reason) + ["pauses after it"] * job.pause_requested
    ends = _expected(job.expected_end, job.expected_end_low, job.expected_end_high, now)
    return (_with_detail(job.job_id, ", ".join(told)), job.mode, ends)


def _worker(worker: WorkerState, width: int) -> Row:
    state = "" if worker.alive else " (silent)"
    does = f"{worker.stage} of {worker.job_id}" if worker.job_id else "nothing"
    told = [f"{worker.pool} pool on {worker.host}, computes on {worker.device}"]
    told += ["draining"] * worker.draining
    told += [f"warm: {', '.join(worker.loaded_engines)}"] * bool(worker.loaded_engines)
    told += [f"can: {', '.join(worker.engines)}"] * (width >= WIDE and bool(worker.engines))
    return (worker.worker + state, _with_detail(does, "; ".join(told)), f"{worker.heartbeat_age_s:.0f} s ago")


def _cap(cap: Cap) -> Row:
    limit = f"{cap.limit:g}" if cap.limit else "none"
    return (cap.name, f"{cap.used:g}", limit, "changed by an operator" if cap.overridden else "")


def _owner(use: OwnerUse) -> Row:
    limit = f" of {use.minutes_limit:g}" if use.minutes_limit else ""
    return (use.owner, str(use.running), str(use.queued), f"{use.minutes_today:.0f}{limit}", str(use.jobs_today))


def _breaker(breaker: Breaker, now: datetime) -> Row:
    until = f" until {_clock(breaker.until, now)}" if breaker.until else ""
    return (breaker.engine, breaker.state + until, str(breaker.failures))


def _degradation(what: Degradation, now: datetime) -> Row:
    change = {
        "degraded": f"{what.from_mode} → {what.to_mode}",
        "restored": f"{what.to_mode} again",
        "delayed": f"delayed until {_clock(what.until, now)}" if what.until else "delayed",
    }[what.kind]
    return (_clock(what.at, now), _with_detail(what.job_id, f"{change}: {policy_reason(what.reason)}"))


def _dead_letter(letter: DeadLetter, now: datetime) -> Row:
    return (_clock(letter.at, now), _with_detail(letter.job_id, f"{letter.stage}: {letter.message}"))


def _model(model: ModelState) -> Row:
    return (model.id, ", ".join(model.present_on) or "no worker", ", ".join(model.loaded_on))


def _prewarm(task: PrewarmTask, now: datetime) -> Row:
    steps = [
        f"{step.worker}: {step.model} {step.state}" + f" ({step.detail})" * bool(step.detail) for step in task.steps
    ]
    shown = Text(f"{task.preset} mode, {task.state} (task {task.task})")
    return (_clock(task.requested_at, now), shown.append("".join(f"\n{step}" for step in steps), "dim"))


def _with_detail(first: str, detail: str) -> Text:
    return Text(first).append(f"\n{detail}", "dim")


def _expected(at: datetime | None, low: datetime | None, high: datetime | None, now: datetime) -> str:
    if at is None:
        return "not known"
    between = f"\n{_clock(low, now)} to {_clock(high, now)}" if low and high and low != high else ""
    return _clock(at, now) + between


def _clock(time: datetime, now: datetime) -> str:
    """Return the time of day where the reader is, with the date if it is another one."""
    local = time.astimezone()
    return f"{local:%H:%M}" if local.date() == now.astimezone().date() else f"{local:%d %b %H:%M}"
