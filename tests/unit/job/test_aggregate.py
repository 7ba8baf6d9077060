"""The job's states: what each event does, what is refused, and that any log folds."""

import uuid
from datetime import timedelta
from itertools import count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.artifacts import Artifact
from shared.events.types import (
    ImportedStage,
    Issue,
    JobCanceled,
    JobCompleted,
    JobFailed,
    JobPaused,
    JobRequeued,
    JobResumed,
    JobStarted,
    StageReleased,
)
from shared.identity import derived_job_id, uuid7
from shared.job.aggregate import evolve
from shared.job.model import IMPORT, Job, JobState, StageState, StageStatus, changed
from shared.job.stages import GRAPH, ready, upstream
from shared.job.transitions import (
    Cancel,
    Command,
    Complete,
    Context,
    Fail,
    Pause,
    Refusal,
    Requeue,
    Resume,
    Start,
    decide,
)
from tests.factories import NOW, claimed, completed, event, failed, submitted

JOB = "0190a000-0000-7000-8000-000000000001"
CONTEXT = Context("event-id", NOW + timedelta(seconds=9), "urn:dubline:test", "local")

LIFECYCLE = {
    "started": event(JobStarted, JOB, run=1),
    "paused": event(JobPaused, JOB),
    "resumed": event(JobResumed, JOB),
    "canceled": event(JobCanceled, JOB),
    "completed": event(JobCompleted, JOB),
    "failed": event(JobFailed, JOB, code="x", message="y"),
    "requeued": event(JobRequeued, JOB, run=2),
}
STAGES = [make(JOB, stage) for stage in GRAPH for make in (claimed, completed, failed)]


def folded(*events: object) -> Job:
    job: Job | None = None
    for seq, item in zip(count(1), (submitted(JOB), *events), strict=False):
        job = evolve(job, seq, item)  # type: ignore[arg-type]
    assert job is not None
    return job


def finished_stages() -> list[object]:
    return [step for stage in GRAPH for step in (claimed(JOB, stage), completed(JOB, stage))]


def in_state(state: JobState) -> Job:
    names: dict[JobState, list[str]] = {
        JobState.QUEUED: [],
        JobState.PAUSED: ["paused"],
        JobState.RUNNING: ["started"],
        JobState.DONE: ["started", "completed"],
        JobState.FAILED: ["started", "failed"],
        JobState.CANCELED: ["canceled"],
    }
    return folded(*(LIFECYCLE[name] for name in names[state]))


@pytest.mark.parametrize("state", JobState)
def test_every_state_is_reached_by_its_events(state: JobState) -> None:
    assert in_state(state).state is state


Q, P, R, D, F, C = JobState
FAIL = Fail("tts", "code", "message")


@pytest.mark.parametrize(
    ("command", "legal"),
    [
        (Start({}), {Q}),
        (Pause(), {Q, R}),
        (Resume(), {P}),
        (Cancel(), {Q, P, R}),
        (FAIL, {Q, R}),
        (Requeue(), {R, D, F, C}),
    ],
)
@pytest.mark.parametrize("state", JobState)
def test_a_command_is_an_event_in_its_legal_states_and_a_refusal_elsewhere(
    command: Command, legal: set[JobState], state: JobState
) -> None:
    outcome = decide(in_state(state), command, CONTEXT)
    if state in legal:
        assert not isinstance(outcome, Refusal)
        assert (outcome.subject, outcome.time, outcome.id) == (JOB, CONTEXT.now, CONTEXT.event_id)
    else:
        assert outcome == Refusal("illegal_transition", state)


def test_a8_a_finished_job_is_not_cancelled() -> None:
    assert decide(in_state(D), Cancel(), CONTEXT) == Refusal("illegal_transition", D)
    assert folded(LIFECYCLE["started"], LIFECYCLE["completed"], LIFECYCLE["canceled"]).state is D


def test_a_job_completes_only_when_every_stage_is_done_and_carries_their_issues() -> None:
    running = folded(LIFECYCLE["started"])
    assert decide(running, Complete(), CONTEXT) == Refusal("stages_missing", R)
    steps = finished_stages()
    steps[-1] = completed(JOB, "mux", issues=[Issue(code="subtitle_violation", stage="mux", segment=3)])
    done = decide(folded(LIFECYCLE["started"], *steps), Complete(), CONTEXT)
    assert isinstance(done, JobCompleted)
    assert [issue.segment for issue in done.data.issues] == [3]


def test_a_stage_remembers_who_what_and_the_sequence_that_the_next_append_must_expect() -> None:
    job = folded(LIFECYCLE["started"], claimed(JOB, "audio", worker="w7"), completed(JOB, "audio"))
    stage = job.stages["audio"]
    assert (stage.status, stage.worker, stage.seq) == (StageStatus.DONE, "w7", 4)
    assert list(job.outputs_of(frozenset({"audio"}))) == ["audio"]
    assert job.version == 4


def test_a_rerun_keeps_finished_stages_and_forgets_failures() -> None:
    job = folded(
        LIFECYCLE["started"], completed(JOB, "audio"), failed(JOB, "transcribe"), LIFECYCLE["failed"],
        LIFECYCLE["requeued"],
    )  # fmt: skip
    assert (job.state, job.run, job.error) == (Q, 2, None)
    assert job.done_stages == {"audio"}
    assert (job.stages["transcribe"].status, job.stages["transcribe"].attempt) == (StageStatus.PENDING, 0)
    assert job.stages["transcribe"].seq == 4


def test_a_stage_handed_back_is_not_failed() -> None:
    released = event(StageReleased, JOB, stage="audio", attempt=1, reason="the worker stopped")
    assert folded(LIFECYCLE["started"], claimed(JOB, "audio"), released).stages["audio"].status is StageStatus.RELEASED


@given(st.lists(st.sampled_from([*LIFECYCLE.values(), *STAGES, submitted(JOB)]), max_size=30))
def test_any_log_folds_and_duplicates_change_nothing(events: list[object]) -> None:
    """E5: at-least-once delivery of the same history gives the same job."""
    history = list(enumerate([submitted(JOB), *events], 1))
    once: Job | None = None
    for seq, item in history:
        once = evolve(once, seq, item)  # type: ignore[arg-type]
    again: Job | None = None
    for position, (seq, item) in enumerate(history):
        again = evolve(again, seq, item)  # type: ignore[arg-type]
        for earlier_seq, earlier in history[max(0, position - 3) : position + 1]:
            again = evolve(again, earlier_seq, earlier)  # type: ignore[arg-type]
    assert once == again


@given(st.lists(st.sampled_from([*LIFECYCLE.values(), *STAGES]), max_size=30))
def test_only_legal_transitions_happen_whatever_the_log_says(events: list[object]) -> None:
    states = [Q]
    job: Job | None = evolve(None, 1, submitted(JOB))
    for seq, item in enumerate(events, 2):
        job = evolve(job, seq, item)  # type: ignore[arg-type]
        assert job is not None
        states.append(job.state)
    legal = {Q: {P, R, C, F}, P: {Q, C}, R: {D, F, C, Q}, D: {Q}, F: {Q}, C: {Q}}
    assert all(before is after or after in legal[before] for before, after in pairwise(states))


def test_the_graph_releases_stages_in_order_and_is_closed() -> None:
    done: set[str] = set()
    for stage in GRAPH:
        assert ready(frozenset(done)) == [stage]  # type: ignore[arg-type]
        done.add(stage)
    assert ready(frozenset(GRAPH)) == []
    assert upstream("mux") == set(GRAPH) - {"mux"}


def test_e1_ids_are_ordered_in_time_or_derived_from_owner_and_key() -> None:
    assert uuid7(1_000, bytes(10)) < uuid7(1_001, bytes(10))
    assert derived_job_id("ann", "k") == derived_job_id("ann", "k")
    assert derived_job_id("ann", "k") != derived_job_id("bob", "k")
    assert derived_job_id("a", "bk") != derived_job_id("ab", "k")


def test_a_changed_model_is_what_model_copy_makes() -> None:
    job = evolve(None, 1, submitted(JOB))
    assert job is not None
    stage = StageState(seq=3)
    for model, updates in ((job, {"version": 2, "tags": ["new"]}), (stage, {"status": StageStatus.DONE})):
        before = model.model_dump_json()
        made, copied = changed(model, updates), model.model_copy(update=updates)
        assert made == copied != model
        assert type(made) is type(copied)
        assert made.model_fields_set == copied.model_fields_set
        assert made.model_dump_json(exclude_unset=True) == copied.model_dump_json(exclude_unset=True)
        assert model.model_dump_json() == before
        with pytest.raises(ValidationError, match="frozen"):
            made.seq = 5  # type: ignore[misc,union-attr]
    assert changed(stage, {}).model_copy() == stage
    assert type(job).__pydantic_decorators__.validators == type(job).__private_attributes__ == {}


def test_an_id_is_a_uuid_of_version_7() -> None:
    made = uuid.UUID(uuid7(1_700_000_000_000, bytes(range(10))))
    assert (made.version, made.variant, made.int >> 80) == (7, uuid.RFC_4122, 1_700_000_000_000)
    assert str(made) == uuid7(1_700_000_000_000, bytes(range(10)))


def test_an_imported_stage_is_done_from_the_start_and_stays_so_in_a_re_run() -> None:
    brought = Artifact(name="transcript", path="film/work/x/t.json", size=2, sha256="0" * 64)
    stage = ImportedStage(outputs=[brought], facts={"language": "en"})
    job = evolve(None, 1, submitted(JOB, imports={"transcribe": stage}))
    assert job is not None
    assert ready(job.done_stages) == ["audio"]  # nothing else waits for it, and it is never commanded
    assert (job.stages["transcribe"].reused_from, job.stages["transcribe"].attempt) == (IMPORT, 0)
    assert job.facts_of(frozenset({"transcribe"})) == {"language": "en"}
    for seq, item in enumerate((LIFECYCLE["started"], LIFECYCLE["failed"], LIFECYCLE["requeued"]), start=2):
        job = evolve(job, seq, item)
    assert job is not None
    assert (job.state, job.run, job.done_stages) == (JobState.QUEUED, 2, frozenset({"transcribe"}))
    assert job.outputs_of(job.done_stages) == {"transcript": brought}
