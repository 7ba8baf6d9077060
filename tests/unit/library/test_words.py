"""How the pages say things."""

from typing import Any, get_args

import pytest

from services.library.pages import kept, told, words
from shared.events.library import Visibility
from shared.events.names import Device, Mode
from shared.events.types import JobEvent, StageEvent
from shared.job.model import JobState, StageStatus
from shared.job.stages import GRAPH
from shared.keeping import PRIVATE, Keeping
from shared.outputs import KINDS, OutputFile
from shared.runtime_state import CAP_NAMES


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.clock(24.4), "0:24"),
        (words.clock(3723), "1:02:03"),
        (words.clock(None), "0:00"),
        (words.took(0.04), "0.0 s"),
        (words.took(9.94), "9.9 s"),
        (words.took(59.6), "1 min 0 s"),
        (words.took(79), "1 min 19 s"),
        (words.took(None), ""),
        (words.size(812), "812 B"),
        (words.size(4_200_000), "4.2 MB"),
        (words.moment("2026-01-02T03:04:05.678Z"), "2 Jan 2026, 03:04 UTC"),
        (words.moment(None), ""),
        (words.language("pt"), "Portuguese"),
        (words.language("auto"), "Detected"),
        (words.language("tlh"), "tlh"),
        (words.issue_words("line_overruns"), "The dubbed line is longer than its place"),
        (words.issue_words("engine_fallback"), "Another engine did this, because the first choice kept failing"),
        (words.lowered("high", ["backpressure_degraded"]), "lowered from high: busy"),
        (words.lowered("high", ["backpressure_degraded", "backpressure_degraded"]), "lowered from high: busy"),
        (words.lowered("high", ["no_gpu"]), "lowered from high: no gpu"),
        (words.lowered("high", []), "lowered from high"),
        (words.setting_reason("mode:high"), "high mode"),
        (words.setting_reason("override"), "your choice"),
        (words.setting_reason("fallback:no_gpu,pyannote_missing"), "instead: no gpu, pyannote missing"),
        (words.issue_words("never_seen_before"), "Never seen before"),
        (words.delivery_words("pending", 0), "waiting"),
        (words.delivery_words("delivered", 1), "delivered"),
        (words.delivery_words("failed", 3), "failed after 3 attempts"),
        (words.attempt_words(204, None, 87), "answered 204 in 87 ms"),
        (words.attempt_words(None, "ConnectError", 2), "no answer: ConnectError"),
    ],
)
def test_words(said: str, expected: str) -> None:
    assert said == expected


def test_every_state_stage_and_status_has_a_name() -> None:
    assert set(words.STATE_NAMES) == set(JobState)
    assert set(words.STATUS_NAMES) == set(StageStatus)
    assert list(words.STAGE_NAMES) == list(GRAPH)
    assert set(words.MODE_NAMES) == set(get_args(Mode))
    assert set(words.DEVICE_NAMES) == set(get_args(Device))
    assert set(words.VISIBILITY_NAMES) == set(get_args(Visibility))
    assert list(words.CAP_WORDS) == list(CAP_NAMES)


def test_every_kind_of_file_has_a_name_and_one_heading() -> None:
    assert set(words.FILE_NAMES) == set(KINDS)
    assert sorted(kind for kinds in words.FILE_GROUPS.values() for kind in kinds) == sorted(KINDS)
    file = OutputFile(kind="subs", name="film.pt.srt", path="f", url="/f", size_bytes=1, mtime=0, lang="pt")
    assert words.file_words(file) == "Portuguese subtitles"
    assert words.file_words(file.model_copy(update={"lang": None})) == "Subtitles"


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("job.submitted", {"title": "film.mp4"}, "Submitted: film.mp4"),
        ("job.started", {"run": 1}, "Started"),
        ("job.started", {"run": 2}, "Run 2 started"),
        ("job.canceled", {"reason": "cancelled by its owner"}, "Canceled: cancelled by its owner"),
        ("job.canceled", {"reason": ""}, "Canceled"),
        ("job.tagged", {"tags": ["a", "b"]}, "Tags: a, b"),
        ("job.tagged", {"tags": []}, "Tags taken away"),
        ("job.visibility_changed", {"visibility": "shared"}, "Seen by: everybody here"),
        ("stage.claimed", {"stage": "tts", "attempt": 1, "worker": "w1"}, "Speak: started by w1"),
        ("stage.claimed", {"stage": "tts", "attempt": 2, "worker": "w1"}, "Speak, attempt 2: started by w1"),
        ("stage.completed", {"stage": "mix", "attempt": 1, "reused_from": "k"}, "Mix: taken over from an earlier run"),
        ("stage.failed", {"stage": "mux", "attempt": 1, "message": "it died", "retryable": True},
         "Write video: failed, it died; it is tried again"),
        ("job.degraded", {"from_mode": "high", "to_mode": "low", "reason": "backpressure_degraded"},
         "Mode lowered from high to low: busy"),
        ("job.exploded_twice", {}, "Job exploded twice"),
    ],
)  # fmt: skip
def test_the_history_in_words(kind: str, data: dict[str, Any], expected: str) -> None:
    assert told.in_words({"type": f"dubline.{kind}.v1", "data": data}) == expected


def test_every_event_of_a_job_has_its_sentence() -> None:
    kinds = {event.model_fields["type"].default for union in (JobEvent, StageEvent) for event in get_args(union)}
    assert {kind.removeprefix("dubline.").removesuffix(".v1") for kind in kinds} == set(told.SENTENCES)


@pytest.mark.parametrize(
    ("keeping", "said"),
    [
        (Keeping(cache="balanced"), "without the large files between the stages"),
        (Keeping(cache="minimal", logs=False), "results only, no logs"),
        (Keeping(transcript=False, source_audio=False), "no text of what was said, no sound of the source"),
        (PRIVATE, "results only, without its name, any text of what was said, and the uploaded video"),
    ],
)
def test_what_a_job_keeps_is_told_in_words(keeping: Keeping, said: str) -> None:
    assert kept.kept_words(keeping.model_dump()) == said


def test_a_job_without_its_video_is_not_run_again() -> None:
    job = {"imported": False, "state": "DONE", "keeping": None}
    assert not kept.is_sourceless(job)
    assert not kept.is_sourceless(job | {"keeping": Keeping(cache="minimal").model_dump()})
    assert kept.is_sourceless(job | {"imported": True})
    private = job | {"keeping": PRIVATE.model_dump()}
    assert kept.is_sourceless(private)
    assert not kept.is_sourceless(private | {"state": "FAILED"})


def offered(state: JobState, *, pause_requested: bool = False) -> list[str]:
    return [verb for verb, _, _ in words.actions(state, pause_requested=pause_requested)]


def test_a_page_offers_what_the_jobs_state_allows() -> None:
    assert offered(JobState.QUEUED) == ["pause", "cancel"]
    assert offered(JobState.PAUSED) == ["resume", "cancel"]
    assert offered(JobState.RUNNING) == ["pause", "cancel", "kill"]
    assert offered(JobState.RUNNING, pause_requested=True) == ["resume", "cancel", "kill"]
    assert {tuple(offered(state)) for state in JobState if state.terminal} == {("rerun",)}
    assert words.actions(JobState.DONE, pause_requested=False, sourceless=True) == []
    assert words.actions("SOMETHING", pause_requested=False) == []
