"""What of a job's files is gone when it has ended, and what that means for a re-run and for its owner's quota."""

from typing import Any

import pytest

from shared.artifacts import Artifact
from shared.events.types import ImportedStage, JobCanceled, JobCompleted, JobFailed, JobRequeued, JobStarted
from shared.job.aggregate import evolve
from shared.job.kept import can_run_again, goes_from_base, goes_from_work, is_gone, source_goes, stored_bytes
from shared.job.model import Job, JobState, StageStatus
from shared.job.stages import GRAPH
from shared.job.transitions import Refusal, Requeue, decide
from shared.keeping import KEEP_ALL, PRIVATE, Keeping
from tests.factories import claimed, completed, event, submitted
from tests.unit.job.test_aggregate import CONTEXT, JOB

SOUND, TEXT = {"audio16k.wav", "dialogue.wav", "final_mix.wav"}, {"transcript.json", "translation.json", "takes"}
WORK = SOUND | TEXT | {"tts_manifest.json", "up_1.imported_source_cues.json"}
TEXTS = WORK - SOUND
LOGS = {"logs", "job.log", "job.log.1"}
BASE = LOGS | {"film.dub.mkv", "film.dub.mp4", "subs", "manifests", "work", ".job"}
ENDS = (JobState.DONE, JobState.CANCELED, JobState.FAILED)

MADE = {
    "audio": ["audio16k.wav"],
    "transcribe": ["transcript.json"],
    "translate": ["translation.json"],
    "tts": ["dialogue.wav", "tts_manifest.json"],
    "mix": ["final_mix.wav"],
}


@pytest.mark.parametrize(
    ("keeping", "after_success", "after_cancel", "after_failure"),
    [
        (KEEP_ALL, set(), set(), set()),
        (Keeping(cache="balanced"), SOUND, SOUND, set()),
        (Keeping(cache="minimal"), WORK, WORK, set()),
        (Keeping(transcript=False), TEXTS, TEXTS, TEXTS),
        (Keeping(source_audio=False), *[{"audio16k.wav", "final_mix.wav"}] * 3),
        (Keeping(logs=False), LOGS, LOGS, set()),
        (Keeping(cache="balanced", transcript=False), WORK, WORK, TEXTS),
        (PRIVATE, WORK | LOGS, WORK | LOGS, WORK - {"dialogue.wav"}),
    ],
)
def test_what_goes_at_which_end(
    keeping: Keeping, after_success: set[str], after_cancel: set[str], after_failure: set[str]
) -> None:
    """The videos, their subtitles, the receipts and the marker never do."""
    for state, expected in zip(ENDS, (after_success, after_cancel, after_failure), strict=True):
        gone = {name for name in WORK if goes_from_work(keeping, state, name)}
        assert gone | {name for name in BASE if goes_from_base(keeping, state, name)} == expected


@pytest.mark.parametrize("state", [state for state in JobState if not state.terminal])
def test_nothing_goes_before_the_end(state: JobState) -> None:
    assert not any(goes_from_work(PRIVATE, state, name) or goes_from_base(PRIVATE, state, name) for name in WORK | BASE)


def made(stage: str) -> list[Artifact]:
    names = MADE.get(stage, [])
    work = [Artifact(name=name, path=f"film/work/{JOB}/{name}", size=10, sha256="ab" * 32) for name in names]
    final = [Artifact(name="dub_mkv", path="film/film.dub.mkv", size=100, sha256="cd" * 32)] if stage == "mux" else []
    return work + final


def story(keeping: Keeping, stages: int, end: Any, **changes: Any) -> Job:
    """A job of which so many stages were done when it ended."""
    steps: list[Any] = [submitted(JOB, keeping=keeping, **changes), event(JobStarted, JOB, run=1)]
    for stage in list(GRAPH)[:stages]:
        steps += [claimed(JOB, stage), completed(JOB, stage, outputs=made(stage))]
    return folded(*steps, end)


def folded(*steps: Any) -> Job:
    job: Job | None = None
    for seq, step in enumerate(steps, start=1):
        job = evolve(job, seq, step)
    assert job is not None
    return job


DONE = event(JobCompleted, JOB, run=1)
FAILED = event(JobFailed, JOB, run=1, code="x", message="y")
CANCELED = event(JobCanceled, JOB)
AGAIN = event(JobRequeued, JOB, run=2)


def again(job: Job) -> dict[str, StageStatus]:
    requeued = evolve(job, job.version + 1, AGAIN)
    assert requeued is not None
    assert requeued.state is JobState.QUEUED
    assert not any(is_gone(job, output) for stage in requeued.stages.values() for output in stage.outputs)
    return {name: stage.status for name, stage in requeued.stages.items() if stage.status is not StageStatus.DONE}


@pytest.mark.parametrize(
    ("keeping", "stages", "end", "runs"),
    [
        (KEEP_ALL, 5, FAILED, {"mux"}),
        (Keeping(cache="minimal"), 5, FAILED, {"mux"}),
        (Keeping(cache="minimal"), 5, CANCELED, set(GRAPH)),
        (Keeping(cache="balanced"), 3, CANCELED, {"audio", "tts", "mix", "mux"}),
        (Keeping(cache="balanced"), 1, CANCELED, set(GRAPH)),
        (Keeping(transcript=False), 4, FAILED, {"transcribe", "translate", "tts", "mix", "mux"}),
        (Keeping(source_audio=False), 5, FAILED, {"audio", "mix", "mux"}),
        (Keeping(cache="minimal", transcript=False), 6, DONE, set()),
    ],
)
def test_a_re_run_makes_anew_what_is_gone_and_needed_and_nothing_else(
    keeping: Keeping, stages: int, end: Any, runs: set[str]
) -> None:
    assert set(again(story(keeping, stages, end))) == runs


def test_a_stage_that_is_made_anew_goes_on_with_its_subject() -> None:
    job = story(Keeping(cache="minimal"), 2, CANCELED)
    requeued = evolve(job, job.version + 1, AGAIN)
    assert requeued is not None
    assert requeued.stages["audio"].seq == job.stages["audio"].seq > 0
    assert requeued.stages["audio"].attempt == 0


def test_a_private_job_whose_video_is_gone_is_not_run_again() -> None:
    done = story(PRIVATE, 6, DONE)
    assert source_goes(done)
    assert not can_run_again(done)
    assert isinstance(decide(done, Requeue(), CONTEXT), Refusal)
    after = evolve(done, done.version + 1, AGAIN)
    assert after is not None
    assert after.state is JobState.DONE
    for end in (FAILED, CANCELED):
        stopped = story(PRIVATE, 3, end)
        assert not source_goes(stopped)
        assert set(again(stopped)) == set(GRAPH)


def test_imported_lines_that_are_gone_cannot_be_made_anew() -> None:
    lines = Artifact(name="transcript", path=f"film/work/{JOB}/up_1.transcript.json", size=7, sha256="ef" * 32)
    imports = {"transcribe": ImportedStage(outputs=[lines])}
    assert can_run_again(story(KEEP_ALL, 1, CANCELED, imports=imports))
    assert can_run_again(story(Keeping(cache="balanced"), 1, CANCELED, imports=imports))
    assert can_run_again(story(Keeping(cache="minimal"), 1, FAILED, imports=imports))
    assert not can_run_again(story(Keeping(cache="minimal"), 1, CANCELED, imports=imports))
    assert not can_run_again(story(Keeping(transcript=False), 1, FAILED, imports=imports))


def test_what_is_gone_does_not_count_against_a_quota() -> None:
    """The source has 1000 bytes, the stages' six files 10 each, the video 100."""
    assert stored_bytes(story(KEEP_ALL, 6, DONE)) == 1160
    assert stored_bytes(story(Keeping(cache="balanced"), 6, DONE)) == 1130
    assert stored_bytes(story(Keeping(cache="minimal"), 6, DONE)) == 1100
    assert stored_bytes(story(Keeping(cache="minimal"), 5, FAILED)) == 1060
    assert stored_bytes(story(PRIVATE, 6, DONE)) == 100


def test_a_job_from_before_there_was_a_choice_keeps_everything() -> None:
    old = submitted(JOB).data.model_dump(exclude={"keeping"})
    assert submitted(JOB).data.__class__.model_validate(old).keeping == KEEP_ALL
