"""What is shown of a job is a pure function of its events."""

from typing import Any

import pytest

from services.library.live import LiveProgress
from services.library.view import PROGRESS, JobView, OutputsView, OutputView, encode, job_row, outputs_row
from shared.eventlog.job_history import fold
from shared.events.library import JobArchived
from shared.events.names import Stage
from shared.events.policy import JobDegraded, JobReprioritized, JobRestored
from shared.events.types import (
    Issue,
    JobCanceled,
    JobFailed,
    JobPauseRequested,
    JobResumed,
    JobStarted,
    Setting,
)
from shared.job.model import Job
from shared.job.stages import GRAPH
from shared.keeping import PRIVATE
from shared.telemetry import Progress
from tests.factories import claimed, completed, event, failed, submitted
from tests.unit.library.stories import JOB, log_of, results, whole_story


def folded(*events: Any) -> Job:
    job = fold(log_of(list(events)))
    assert job is not None
    return job


def shown(*events: Any) -> JobView:
    return JobView.model_validate_json(encode(job_row(folded(*events))))


def shown_outputs(job: Job) -> list[OutputView]:
    row = outputs_row(job)
    return OutputsView.model_validate_json(encode(row)).outputs if row else []


def test_a_submitted_job_waits() -> None:
    view = shown(submitted(JOB, title="a <b>film</b>.mp4"))
    assert (view.state, view.progress, view.message) == ("QUEUED", 0.0, "Waiting in the queue")
    assert view.title == "a <b>film</b>.mp4"
    assert [stage.stage for stage in view.stages] == list(GRAPH)
    assert view.outputs_summary == []
    assert outputs_row(folded(submitted(JOB))) is None


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
    assert view.outputs_summary == ["mkv", "mp4", "subs"]
    outputs = shown_outputs(folded(*whole_story()))
    assert [(output.kind, output.name, output.lang) for output in outputs] == [
        ("mkv", "film.dub.mkv", None),
        ("mp4", "film.dub.mp4", None),
        ("subs", "film.en.vtt", "en"),
        ("subs", "film.pt.srt", "pt"),
    ]
    assert view.detected_lang == "en"


def test_the_url_of_an_output_is_quoted() -> None:
    artifact = completed(JOB, "mux").data.outputs[0].model_copy(update={"path": "a b#c/100%?.mkv"})
    first = submitted(JOB, base_dir="a b#c")
    job = folded(first, event(JobStarted, JOB), claimed(JOB, "mux"), completed(JOB, "mux", outputs=[artifact]))
    assert shown_outputs(job)[0].url == "/files/a%20b%23c/100%25%3F.mkv"


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


def test_a_job_says_what_it_keeps_unless_that_is_everything() -> None:
    assert "keeping" not in job_row(folded(*whole_story()))
    assert shown(*whole_story(keeping=PRIVATE)).keeping == PRIVATE


def test_a_row_is_its_model_member_for_member() -> None:
    story = whole_story(tags=["a"], project_id="proj_1", project_name="p", mode="high")
    odd = [
        event(JobDegraded, JOB, from_mode="high", to_mode="low", queue_len=9, reason="backpressure"),
        event(JobStarted, JOB, settings={"mix": Setting(value="legacy", reason="override")}),
        claimed(JOB, "audio"),
        failed(JOB, "audio"),
        completed(JOB, "mux", outputs=results(), issues=[Issue(code="c", stage="mux", segment=1)], facts={"b": 1.5}),
        event(JobArchived, JOB),
        event(JobFailed, JOB, code="c", message="m\u2028"),
    ]
    for events in (story[:1], story, [story[0], *odd], whole_story(keeping=PRIVATE)):
        job = folded(*events)
        text = encode(job_row(job))
        assert JobView.model_validate_json(text).model_dump_json().encode() == text
        if (made := outputs_row(job)) is not None:
            text = encode(made)
            assert OutputsView.model_validate_json(text).model_dump_json().encode() == text


def test_an_integer_that_only_json_can_hold_does_not_stop_the_row() -> None:
    row = job_row(folded(submitted(JOB), event(JobStarted, JOB), completed(JOB, "audio", facts={"n": 1 << 70})))
    assert b'"n":1180591620717411303424' in encode(row)


def test_the_row_of_outputs_does_not_depend_on_what_happened_since() -> None:
    story = whole_story()
    made = [outputs_row(folded(*story[:length])) for length in range(1, len(story) + 1)]
    assert [row is not None for row in made] == [False] * 13 + [True] * 2
    assert outputs_row(folded(*story, event(JobArchived, JOB))) == made[-1] == made[-2]


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
