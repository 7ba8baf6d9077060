"""What is shown of a job is a pure function of its events."""

from typing import Any

import pytest

from services.library.live import LiveProgress
from services.library.projection import fold
from services.library.view import PROGRESS, JobView, view_job
from shared.events.names import Stage
from shared.events.types import (
    JobCanceled,
    JobDegraded,
    JobFailed,
    JobPauseRequested,
    JobReprioritized,
    JobRestored,
    JobResumed,
    JobStarted,
    Setting,
)
from shared.job.stages import GRAPH
from shared.telemetry import Progress
from tests.factories import claimed, completed, event, failed, submitted
from tests.unit.library.stories import JOB, log_of, whole_story


def shown(*events: Any) -> JobView:
    job = fold(log_of(list(events)))
    assert job is not None
    return view_job(job)


def test_a_submitted_job_waits() -> None:
    view = shown(submitted(JOB, title="a <b>film</b>.mp4"))
    assert (view.state, view.progress, view.message) == ("QUEUED", 0.0, "Waiting in the queue")
    assert view.title == "a <b>film</b>.mp4"
    assert [stage.stage for stage in view.stages] == list(GRAPH)
    assert view.outputs == []


def test_a_running_stage_says_what_it_does_and_where_the_job_is() -> None:
    story = whole_story()
    assert shown(*story[:2]).message == "Starting"
    running = shown(*story[:5])  # audio done, transcribe claimed
    assert (running.message, running.progress) == ("Transcribing", 0.30)
    assert shown(*story[:6]).progress == 0.60
    assert [stage.status for stage in running.stages] == ["done", "claimed"] + 4 * ["pending"]


def test_a_finished_job_has_its_files_and_no_work_files() -> None:
    view = shown(*whole_story())
    assert (view.state, view.progress, view.message) == ("DONE", 1.0, "Done")
    assert [(output.kind, output.name, output.lang) for output in view.outputs] == [
        ("mkv", "film.dub.mkv", None),
        ("mp4", "film.dub.mp4", None),
        ("subs", "film.en.vtt", "en"),
        ("subs", "film.pt.srt", "pt"),
    ]
    assert view.detected_lang == "en"


def test_the_url_of_an_output_is_quoted() -> None:
    artifact = completed(JOB, "mux").data.outputs[0].model_copy(update={"path": "a b#c/100%?.mkv"})
    view = shown(submitted(JOB), event(JobStarted, JOB), claimed(JOB, "mux"), completed(JOB, "mux", outputs=[artifact]))
    assert view.outputs[0].url == "/files/a%20b%23c/100%25%3F.mkv"


def test_failure_and_cancellation_are_told() -> None:
    start = [submitted(JOB), event(JobStarted, JOB), claimed(JOB, "audio"), failed(JOB, "audio")]
    lost = shown(*start, event(JobFailed, JOB, code="engine_crashed", message="it died"))
    assert (lost.state, lost.message, lost.error) == ("FAILED", "Failed", "it died")
    assert lost.stages[0].error_code == "engine_crashed"
    assert shown(submitted(JOB), event(JobCanceled, JOB)).state == "CANCELED"


def test_a_lowered_mode_is_told_with_what_was_asked_for_and_why_until_it_is_given_back() -> None:
    lowered = [
        submitted(JOB, mode="high"),
        event(JobDegraded, JOB, from_mode="high", to_mode="medium", queue_len=9, reason="backpressure"),
    ]
    view = shown(*lowered)
    assert (view.mode, view.requested_mode, view.degraded) == ("medium", "high", ["backpressure"])
    restored = shown(*lowered, event(JobRestored, JOB, mode="high", reason="the queue is short again"))
    assert (restored.mode, restored.requested_mode, restored.degraded) == ("high", "high", [])


def test_the_settings_that_run_are_told_in_a_fixed_order_with_their_reasons() -> None:
    settings = {
        "mix": Setting(value="legacy", reason="override"),
        "asr_model": Setting(value="small", reason="mode:low"),
    }
    view = shown(submitted(JOB), event(JobStarted, JOB, settings=settings))
    assert list(view.settings) == ["asr_model", "mix"]
    assert view.settings["asr_model"].reason == "mode:low"


def test_priority_and_a_requested_pause_are_told() -> None:
    start = [submitted(JOB, priority=110), event(JobReprioritized, JOB, priority=7), event(JobStarted, JOB)]
    assert shown(*start[:1]).priority == 110
    asked = [*start, event(JobPauseRequested, JOB)]
    assert (shown(*asked).priority, shown(*asked).pause_requested, shown(*asked).state) == (7, True, "RUNNING")
    for end in (JobResumed, JobCanceled):
        assert not shown(*asked, event(end, JOB)).pause_requested


def test_progress_only_grows_from_stage_to_stage() -> None:
    story = whole_story()
    seen = [shown(*story[: length + 1]).progress for length in range(len(story))]
    assert seen == sorted(seen)
    assert list(PROGRESS) == list(GRAPH)


def live_row(stage: Stage, fraction: float, attempt: int = 1, length: int = 5) -> dict[str, Any]:
    live = LiveProgress()
    live.update(Progress(job_id=JOB, stage=stage, attempt=attempt, fraction=fraction, message="line 3 of 9"))
    return live.over(shown(*whole_story()[:length]).model_dump(mode="json"))


def test_live_progress_moves_inside_the_window_of_the_running_stage() -> None:
    row = live_row("transcribe", 0.5)
    assert (row["progress"], row["message"]) == (0.45, "line 3 of 9")
    assert row["stages"][1]["fraction"] == 0.5
    assert live_row("transcribe", 7.0)["progress"] == 0.60


@pytest.mark.parametrize(
    ("stage", "attempt", "length"),
    [("audio", 1, 5), ("transcribe", 2, 5), ("transcribe", 1, 6), ("mux", 1, 99)],
    ids=["stage is done", "another attempt", "stage just ended", "job is done"],
)
def test_progress_of_something_that_does_not_run_changes_nothing(stage: Stage, attempt: int, length: int) -> None:
    row = shown(*whole_story()[:length]).model_dump(mode="json")
    assert live_row(stage, 0.5, attempt, length) == row
