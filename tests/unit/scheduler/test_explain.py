"""`GET /api/runtime/state`: why each job waits, by the same rules by which it starts."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler import explain
from services.scheduler.limits import Limits
from services.scheduler.policy import World
from services.scheduler.view import Around, runtime_models, runtime_state
from services.scheduler.workers import Workers
from shared.events.policy import JobDegraded, JobDelayed
from shared.events.runtime import PrewarmProgressed, PrewarmProgressedData, PrewarmRequested, PrewarmRequestedData
from shared.events.types import JobFailed, JobPaused, JobPauseRequested
from shared.telemetry import Heartbeat
from tests.factories import claimed, completed, context, event, failed
from tests.unit.scheduler.boards import Log, at
from tests.unit.scheduler.test_policy import lasting, started


def reasons(log: Log, **world: Any) -> dict[str, tuple[str, str]]:
    found = explain.in_order(log.board, World(at(0), **world), 100)
    return {one.job.id: (one.why.code, one.why.reason) for one in found}


def test_each_cap_names_itself() -> None:
    log = Log(Limits(max_running=1))
    log.running("a", owner="one")
    log.submit("b", owner="two")
    log.submit("c", owner="two", after_s=1)
    assert reasons(log) == {
        "b": ("global_cap", "1 of 1 jobs are running"),
        "c": ("global_cap", "1 of 1 jobs are running; 1 more go first"),
    }
    assert reasons(log, pools=frozenset())["b"][0] == "no_worker"
    assert reasons(log, free_gb=3.21)["b"] == (
        "disk_low",
        "3.2 GB are free on the disk and 10 GB are needed: free some space",
    )


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(user_running=1, max_running=9), "user_cap"),
        (Limits(modes={"medium": 1}, max_running=9), "mode_cap"),
        (Limits(user_daily_minutes=1), "daily_minutes"),
        (Limits(user_jobs_per_day=1), "jobs_per_day"),
        (Limits(user_stored_bytes=1), "stored_bytes"),
    ],
)
def test_each_quota_names_itself(limits: Limits, code: str) -> None:
    log = Log(limits)
    log.running("a", source=lasting(50))
    log.submit("b", source=lasting(50))
    assert reasons(log)["b"][0] == code


def test_a_paused_and_a_delayed_job_say_so() -> None:
    log = Log()
    log.submit("a")
    log.add(event(JobPaused, "a", reason=""))
    log.submit("b")
    log.add(event(JobDelayed, "b", until=at(7), queue_len=9, reason="busy"))
    assert reasons(log) == {
        "a": ("paused", "paused"),
        "b": ("delayed", "the queue is long: held back for 7 more seconds"),
    }


def test_a_running_job_between_two_stages_says_what_it_waits_for() -> None:
    log = Log(Limits(max_running=3))
    for name in "ab":
        job = log.running(name)
        log.add(claimed(job, "audio"), completed(job, "audio"))
    log.grant("a", "transcribe")
    log.add(claimed("a", "transcribe"))
    world = World(at(0))

    def why(job_id: str) -> str | None:
        found = explain.between_stages(log.board, log.board.jobs[job_id], world)
        return found.code if found else None

    assert why("a") is None
    assert why("b") == "phase_cap"
    log.add(failed("a", "transcribe"))
    assert why("a") == "backoff"
    log.add(event(JobPauseRequested, "a", reason=""))
    assert why("a") == "pausing"


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(["high", "medium", "low"])), max_size=8))
def test_what_is_said_to_start_now_is_what_starts(jobs: list[tuple[str, Any]]) -> None:
    log = Log(Limits(max_running=3, modes={"high": 1}, backpressure_q_max=0))
    for number, (owner, mode) in enumerate(jobs):
        log.submit(f"j{number}", owner=owner, mode=mode)
    while True:
        told = [job_id for job_id, (code, _) in reasons(log).items() if code == "order"]
        begun = started(log.plan())
        assert bool(begun) == bool(told)
        if not begun:
            break
        assert begun[0] in told
        log.start(begun[0])


def test_the_state_shows_caps_workers_breakers_degradations_dead_letters_and_expected_times() -> None:
    log = Log()
    log.take_over("me")
    job = log.running("a", mode="high")
    log.add(claimed(job, "audio"))
    log.submit("b", mode="high")
    log.add(event(JobDegraded, "b", from_mode="high", to_mode="low", queue_len=7, reason="busy"))
    dead = log.running("c")
    log.add(event(JobFailed, dead, stage="tts", code="dead_letter", message="it took 5 workers down"))
    clock = 100.0
    workers = Workers(lambda: clock)
    workers.beat(Heartbeat(worker="w1", host="h", pool="cpu", job_id="a", stage="audio", models=["whisper-base"]))
    clock = 104.0
    seen = [(one, workers.age(one)) for one in workers.all()]
    world = workers.world(at(0), 50.0)
    shown = runtime_state(log.board, world, Around(leads=True, workers=seen), limit=10)
    assert (shown.leader, shown.holder, shown.epoch) == (True, "me", 1)
    assert shown.state.active_phase == {"a": "audio"}
    assert {cap.name: cap.used for cap in shown.caps}["MAX_CONCURRENCY_GLOBAL"] == 1
    (queued,) = shown.queue
    assert (queued.job_id, queued.mode, queued.requested_mode, queued.degraded) == ("b", "low", "high", ["busy"])
    assert queued.expected_start is not None
    assert queued.expected_end is not None
    assert queued.expected_end_low is not None
    assert queued.expected_end_high is not None
    assert queued.expected_start <= queued.expected_end_low <= queued.expected_end <= queued.expected_end_high
    (running,) = shown.running
    assert (running.job_id, running.stage, running.stage_status, running.worker) == ("a", "audio", "claimed", "w1")
    assert running.expected_end is not None
    assert [(w.worker, w.heartbeat_age_s, w.alive) for w in shown.workers] == [("w1", 4.0, True)]
    assert [(d.job_id, d.message) for d in shown.dead_letters] == [("c", "it took 5 workers down")]
    assert [d.kind for d in shown.degradations] == ["degraded"]
    assert shown.disk is not None
    assert shown.disk.free_gb == 50.0


def test_e6_a_worker_that_was_silent_for_three_heartbeats_is_shown_as_gone() -> None:
    clock = 0.0
    workers = Workers(lambda: clock)
    workers.beat(Heartbeat(worker="w1", host="h", pool="gpu", device="cuda"))
    assert workers.world(at(0), None).hardware.gpu
    clock = 15.1
    assert workers.alive() == []
    assert workers.world(at(0), None).pools == frozenset()


def test_e6_a_running_job_whose_worker_is_silent_says_so() -> None:
    log = Log()
    job = log.running("a")
    log.add(claimed(job, "audio", worker="w1"))
    clock = 0.0
    workers = Workers(lambda: clock)
    workers.beat(Heartbeat(worker="w1", host="h", pool="cpu"))

    def reason() -> str:
        seen = [(one, workers.age(one)) for one in workers.all()]
        (running,) = runtime_state(log.board, World(at(0)), Around(leads=True, workers=seen), limit=1).running
        return running.reason

    assert reason() == ""
    clock = 16.0
    assert "silent" in reason()


def test_prewarming_is_shown_per_worker_and_model() -> None:
    log = Log()
    log.add(PrewarmRequested(**context("runtime"), data=PrewarmRequestedData(task="t", preset="low")))

    def told(model: str, state: Any) -> None:
        data = PrewarmProgressedData(task="t", worker="w1", model=model, state=state)
        log.add(PrewarmProgressed(**context("runtime"), data=data))

    def task() -> Any:
        (found,) = runtime_models(log.board, World(at(0)), []).prewarm
        return found

    assert task().state == "requested"
    told("kokoro", "started")
    assert task().state == "running"
    told("kokoro", "ready")
    told("", "finished")
    assert task().state == "finished"
    assert [(step.model, step.state) for step in task().steps] == [("kokoro", "ready")]
