"""What an operator reads: everything that matters, at 80 columns, and nothing that users named taken for markup."""

from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console, RenderableType

from services.standalone.runtime_view import models_tables, state_tables
from shared.runtime_state import (
    Breaker,
    Cap,
    ConsumerLag,
    DeadLetter,
    Degradation,
    Disk,
    ModelState,
    OwnerUse,
    PrewarmStep,
    PrewarmTask,
    QueuedJob,
    RunningJob,
    RuntimeModels,
    RuntimeState,
    WorkerState,
)

NOW = datetime.now(UTC)
JOBS = [f"0192f0c1-2b3c-7d4e-8f50-61728394a5b{number}" for number in range(4)]
COLUMNS = 80


def text_of(shown: RenderableType, columns: int = COLUMNS) -> str:
    console = Console(width=columns, color_system=None)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


def state(**changes: Any) -> RuntimeState:
    soon = NOW + timedelta(minutes=20)
    fields: dict[str, Any] = {
        "head": 4711,
        "leader": True,
        "holder": "scheduler-1",
        "epoch": 3,
        "caps": [Cap(name="MAX_CONCURRENCY_GLOBAL", used=2, limit=2, overridden=True)],
        "queue": [
            QueuedJob(
                job_id=JOBS[0], owner="[red]ana[/red]", position=1, priority=110, mode="low", requested_mode="high",
                degraded=["backpressure"], reason="2 jobs run, which is the most at once", reason_code="global_cap",
                queued_at=NOW, expected_start=soon, expected_start_low=soon, expected_start_high=soon,
            )
        ],
        "queue_total": 1,
        "running": [
            RunningJob(
                job_id=JOBS[1], owner="bo", mode="medium", stage="transcribe", stage_status="claimed", attempt=2,
                worker="worker-1", pause_requested=True,
            )
        ],
        "workers": [
            WorkerState(
                worker="worker-1", host="studio", pool="cpu", device="cpu", job_id=JOBS[1], stage="transcribe",
                heartbeat_age_s=1.2, alive=True, loaded_engines=["asr:whisper"], engines=["tts:kokoro"],
            ),
            WorkerState(worker="worker-2", host="studio", pool="gpu", device="cuda", heartbeat_age_s=61, alive=False),
        ],
        "degradations": [
            Degradation(job_id=JOBS[0], at=NOW, kind="degraded", from_mode="high", to_mode="low", reason="7 jobs wait")
        ],
        "breakers": [
            Breaker(engine="tts:kokoro", state="open", failures=5, until=soon),
            Breaker(engine="asr:whisper", state="closed", failures=0),
        ],
        "dead_letters": [DeadLetter(job_id=JOBS[2], stage="mix", message="worker died 5 times", at=NOW)],
        "consumers": [ConsumerLag(consumer="cmd_cpu", pending=1, outstanding=2)],
        "disk": Disk(free_gb=7.5, floor_gb=10),
        "over_users": [
            OwnerUse(owner="bo", running=1, queued=0, minutes_today=12.4, minutes_limit=240, jobs_today=3)
        ],
    }  # fmt: skip
    return RuntimeState(**(fields | changes))


def test_everything_that_an_operator_asks_for_is_told_within_80_columns() -> None:
    text = text_of(state_tables(state(), COLUMNS))
    assert max(map(len, text.splitlines())) <= COLUMNS
    for told in (
        JOBS[0], "2 jobs run,", "(from high)", "110",
        JOBS[1], "transcribe running", "attempt 2", "pauses after it", "not known",
        "worker-1", "cpu pool on studio", "asr:whisper", "worker-2 (silent)", "61 s ago",
        "MAX_CONCURRENCY_GLOBAL", "changed by an operator", "tts:kokoro", "open until", "worker died 5 times",
        "7 jobs wait", "high → low", "7.5 GB free (floor 10 GB, below it: jobs wait)", "cmd_cpu: 1 to take, 2 taken",
        "12 of 240", "scheduler-1 (epoch 3)",
    ):  # fmt: skip
        assert told in " ".join(text.split()), told


def test_what_users_named_is_no_markup() -> None:
    assert "[red]ana[/red]" in text_of(state_tables(state(), COLUMNS))


def test_an_idle_system_is_one_line_and_its_limits() -> None:
    idle = RuntimeState(head=0, leader=True)
    assert text_of(state_tables(idle, COLUMNS)).split("\n") == [
        "0 running, 0 waiting · event 0 · scheduler none (epoch 0)",
        "",
    ]


def test_a_long_queue_says_how_long_it_is() -> None:
    assert "Waiting (the first 1 of 900)" in text_of(state_tables(state(queue_total=900), COLUMNS))


def test_a_standby_and_a_draining_scheduler_say_so() -> None:
    text = " ".join(text_of(state_tables(state(leader=False, draining=True), COLUMNS)).split())
    assert "a standby tells this" in text
    assert "draining" in text


def test_a_healthy_breaker_is_not_listed() -> None:
    text = text_of(state_tables(state(breakers=[Breaker(engine="mt:x", state="closed", failures=0)]), COLUMNS))
    assert "mt:x" not in text


def test_models_and_prewarming_are_told_within_80_columns() -> None:
    step = PrewarmStep(worker="worker-1", model="whisper-small", state="failed", detail="no room", at=NOW)
    models = RuntimeModels(
        disk=Disk(free_gb=50, floor_gb=10),
        models=[
            ModelState(id="whisper-small", present_on=["worker-1"], loaded_on=["worker-1"]),
            ModelState(id="whisper-medium"),
        ],
        prewarm=[PrewarmTask(task=JOBS[3], preset="low", requested_at=NOW, state="running", steps=[step])],
    )
    text = text_of(models_tables(models))
    assert max(map(len, text.splitlines())) <= COLUMNS
    for told in (
        "whisper-small",
        "no worker",
        "low mode, running",
        JOBS[3],
        "worker-1: whisper-small failed (no room)",
    ):
        assert told in " ".join(text.split()), told
    assert "No worker has told" in text_of(models_tables(RuntimeModels()))
