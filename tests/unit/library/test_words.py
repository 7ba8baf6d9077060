"""How the pages say things."""

import pytest

from services.library.pages import words
from shared.job.aggregate import JobState, StageStatus
from shared.job.stages import GRAPH


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
    ],
)
def test_words(said: str, expected: str) -> None:
    assert said == expected


def test_every_state_stage_and_status_has_a_name() -> None:
    assert set(words.STATE_NAMES) == set(JobState)
    assert set(words.STATUS_NAMES) == set(StageStatus)
    assert list(words.STAGE_NAMES) == list(GRAPH)


def offered(state: JobState, *, pause_requested: bool = False) -> list[str]:
    return [verb for verb, _, _ in words.actions(state, pause_requested=pause_requested)]


def test_a_page_offers_what_the_jobs_state_allows() -> None:
    assert offered(JobState.QUEUED) == ["pause", "cancel"]
    assert offered(JobState.PAUSED) == ["resume", "cancel"]
    assert offered(JobState.RUNNING) == ["pause", "cancel", "kill"]
    assert offered(JobState.RUNNING, pause_requested=True) == ["resume", "cancel", "kill"]
    assert {tuple(offered(state)) for state in JobState if state.terminal} == {("rerun",)}
