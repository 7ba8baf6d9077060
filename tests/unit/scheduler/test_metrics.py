"""The scheduler's metrics: which event counts for what, and the state as gauges."""

from dataclasses import replace
from datetime import timedelta

from fastapi import FastAPI
from fastapi.testclient import TestClient

from services.scheduler.metrics import CapUse, Gauges, SchedulerMetrics
from shared import metrics
from shared.events.policy import JobDegraded
from shared.events.runtime import SchedulerTookOver
from shared.events.types import (
    EngineUsed,
    Event,
    JobCanceled,
    JobCompleted,
    JobFailed,
    JobRequeued,
    JobStarted,
    StageReleased,
    Timings,
)
from shared.job.aggregate import evolve
from shared.job.model import Job
from tests.factories import claimed, completed, event, failed, submitted

IDLE = Gauges(
    active=True,
    queued=0,
    running=0,
    oldest_queued_s=0.0,
    caps={},
    workers={},
    open_breakers=[],
    dead_letters=0,
    quarantined=0,
    log_head=0,
    disk_free_bytes=None,
)


class Followed:
    """Metrics that saw these events in this order, as the scheduler folds them."""

    def __init__(self, *events: Event) -> None:
        self.metrics = SchedulerMetrics(lambda: IDLE)
        job: Job | None = None
        for seq, happened in enumerate(events, 1):
            job = evolve(job, seq, happened)
            self.metrics.observe(happened, job)

    def __getitem__(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name)

    def of(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


def later(happened: Event, seconds: float) -> Event:
    return happened.model_copy(update={"time": happened.time + timedelta(seconds=seconds)})


def text_of(gauges: Gauges) -> str:
    app = FastAPI()
    metrics.install(app, SchedulerMetrics(lambda: gauges).registry)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return answer.text


def test_a_job_counts_as_queued_started_and_finished_in_its_state() -> None:
    done = Followed(submitted("j"), event(JobStarted, "j"), event(JobCompleted, "j"))
    assert (done["dub_jobs_queued_total"], done["pipeline_job_total"], done["pipeline_job_failed_total"]) == (1, 1, 0)
    assert done.of("dub_jobs_finished_total", state="DONE") == 1
    error = event(JobFailed, "j", code="x", message="y")
    again = Followed(submitted("j"), event(JobStarted, "j"), error, event(JobRequeued, "j", run=2))
    assert (again["dub_jobs_queued_total"], again["pipeline_job_failed_total"]) == (2, 1)
    assert again.of("dub_jobs_finished_total", state="FAILED") == 1
    canceled = Followed(submitted("j"), event(JobCanceled, "j"))
    assert canceled.of("dub_jobs_finished_total", state="CANCELED") == 1


def test_waiting_and_running_times_come_from_the_events() -> None:
    seen = Followed(
        submitted("j"), later(event(JobStarted, "j"), 40), later(event(JobCompleted, "j"), 100)
    )  # fmt: skip
    assert (seen["dub_job_queue_wait_seconds_count"], seen["dub_job_queue_wait_seconds_sum"]) == (1, 40)
    assert (seen["dub_job_run_seconds_count"], seen["dub_job_run_seconds_sum"]) == (1, 60)


def test_a_lowered_mode_is_counted_under_the_old_name() -> None:
    degraded = event(JobDegraded, "j", from_mode="high", to_mode="low", queue_len=9, reason="backpressure")
    assert Followed(submitted("j"), degraded)["pipeline_job_degraded_total"] == 1


def test_stage_times_are_measured_under_old_and_new_names() -> None:
    whisper = EngineUsed(name="whisper", version="1", device="cuda", digest="d")
    took = Timings(load_s=5, engine_s=20, total_s=26)
    seen = Followed(
        submitted("j"),
        claimed("j", "transcribe"),
        completed("j", "transcribe", engine=whisper, timings=took),
        completed("j", "tts", timings=took),
        completed("j", "mux", timings=Timings(total_s=3)),
        completed("j", "mix", timings=Timings(total_s=3)),
    )
    assert (seen["pipeline_transcribe_seconds_sum"], seen["dub_whisper_seconds_sum"]) == (26, 20)
    assert (seen["pipeline_tts_seconds_sum"], seen["dub_tts_seconds_sum"]) == (26, 20)
    assert (seen["pipeline_mux_seconds_sum"], seen["pipeline_mux_seconds_count"]) == (3, 1)
    assert seen.of("pipeline_transcribe_seconds_bucket", le="10.0") == 0
    assert seen.of("pipeline_transcribe_seconds_bucket", le="30.0") == 1
    assert seen.of("dub_stage_seconds_sum", stage="transcribe", device="cuda") == 26
    assert seen.of("dub_stage_seconds_count", stage="mix", device="cpu") == 1


def test_a_reused_result_is_counted_and_not_measured() -> None:
    seen = Followed(submitted("j"), completed("j", "tts", reused_from="other", timings=Timings(total_s=0.1)))
    assert seen.of("dub_stages_reused_total", stage="tts") == 1
    assert seen["pipeline_tts_seconds_count"] == 0
    assert seen.of("dub_stage_seconds_count", stage="tts", device="cpu") is None


def test_failed_attempts_are_counted_by_stage_and_by_code() -> None:
    seen = Followed(submitted("j"), failed("j", "tts"), failed("j", "tts", 2), failed("j", "mux"))
    assert seen.of("dub_job_errors_total", stage="tts") == 2
    assert seen.of("dub_job_errors_total", stage="mux") == 1
    assert seen.of("dub_stage_failures_total", code="engine_crashed") == 3


def test_a_second_claim_of_a_held_stage_is_a_takeover_and_a_claim_after_its_end_is_not() -> None:
    released = event(StageReleased, "j", stage="tts", attempt=1, reason="drain")
    calm = Followed(
        submitted("j"), claimed("j", "tts"), released, claimed("j", "tts"), failed("j", "tts"), claimed("j", "tts", 2)
    )
    assert (calm["dub_lease_takeovers_total"], calm["dub_stages_released_total"]) == (0, 1)
    lost = Followed(submitted("j"), claimed("j", "tts"), claimed("k", "tts"), claimed("j", "tts", worker="w2"))
    assert lost["dub_lease_takeovers_total"] == 1


def test_a_change_of_the_active_scheduler_is_counted() -> None:
    assert Followed(event(SchedulerTookOver, "grants", holder="s2"))["dub_scheduler_takeovers_total"] == 1


def test_the_state_is_read_at_each_scrape() -> None:
    text = text_of(
        Gauges(
            active=True,
            queued=3,
            running=2,
            oldest_queued_s=12.5,
            caps={"global": CapUse(2, 2), "tts": CapUse(0, 1)},
            workers={("cpu", "cpu"): 2, ("gpu", "cuda"): 1},
            open_breakers=["kokoro"],
            dead_letters=1,
            quarantined=4,
            log_head=77,
            disk_free_bytes=5_000,
        )
    )
    lines = set(text.splitlines())
    assert {
        "dub_scheduler_active 1.0",
        "dub_scheduler_queue_length 3.0",
        "dub_scheduler_running_jobs 2.0",
        "dub_scheduler_oldest_queued_seconds 12.5",
        'dub_scheduler_cap_used{cap="global"} 2.0',
        'dub_scheduler_cap_limit{cap="tts"} 1.0',
        'dub_scheduler_workers_alive{device="cuda",pool="gpu"} 1.0',
        "dub_scheduler_breakers_open 1.0",
        'dub_scheduler_breaker_open{engine="kokoro"} 1.0',
        "dub_scheduler_dead_letters 1.0",
        "dub_scheduler_quarantined_events 4.0",
        "dub_scheduler_log_sequence 77.0",
        "dub_scheduler_disk_free_bytes 5000.0",
    } <= lines


def test_what_is_not_known_is_not_shown_and_no_creation_times_are() -> None:
    text = text_of(replace(IDLE, active=False))
    assert "dub_scheduler_active 0.0" in text
    assert "disk_free" not in text
    assert "_created" not in text
    assert "pipeline_job_total 0.0" in text


def test_no_metric_names_a_job_or_its_owner() -> None:
    job_id = "0190a3b2-0000-7000-8000-000000000000"
    seen = Followed(submitted(job_id, owner="maria"), event(JobStarted, job_id), claimed(job_id, "tts"))
    labels = [sample.labels for family in seen.metrics.registry.collect() for sample in family.samples]
    assert labels
    assert not [found for found in labels if job_id in found.values() or "maria" in found.values()]
    assert {name for found in labels for name in found} <= {"le", "state", "stage", "code", "device", "cap"}
