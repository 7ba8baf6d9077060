"""What people do to jobs in the library: which word is accepted, which command makes an event, and what it changes."""

from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.curation import TAGS_MAX, check_output_subdir, clean_name, clean_tags
from shared.events.library import JobArchived, JobDeleted, JobTagged, JobVisibilityChanged
from shared.events.types import JobCanceled, JobCompleted, JobImported, JobRequeued, JobStarted
from shared.job.aggregate import evolve
from shared.job.curation import (
    UNCHANGED,
    Archive,
    CurationCommand,
    Delete,
    SetVisibility,
    Tag,
    Unarchive,
    curate,
)
from shared.job.model import Job, JobState
from shared.job.transitions import Context, Refusal, Requeue, decide
from tests.factories import NOW, completed, event, submitted, submitted_data

JOB = "0190a000-0000-7000-8000-000000000001"
CONTEXT = Context("event-id", NOW + timedelta(seconds=9), "urn:dubline:test", "local")
CANCELED = event(JobCanceled, JOB)


def folded(*events: Any, first: Any = None) -> Job:
    job: Job | None = None
    for seq, item in zip(count(1), (first or submitted(JOB), *events), strict=False):
        job = evolve(job, seq, item)
    assert job is not None
    return job


def after(job: Job, command: CurationCommand) -> Job:
    made = curate(job, command, CONTEXT)
    assert not isinstance(made, Refusal), made
    evolved = evolve(job, job.version + 1, made)
    assert evolved is not None
    return evolved


def imported(**changes: Any) -> Any:
    data = {"submitted": submitted_data(), "state": "DONE", "created_at": NOW, "updated_at": NOW} | changes
    return event(JobImported, JOB, **data)


def test_tags_replace_each_other_and_the_submission_may_bring_some() -> None:
    job = folded(first=submitted(JOB, tags=["anime"]))
    assert job.tags == ["anime"]
    assert after(job, Tag(("drama", "s1"))).tags == ["drama", "s1"]


def test_archive_remembers_when_and_changes_no_state() -> None:
    job = after(folded(event(JobStarted, JOB, run=1)), Archive())
    assert (job.state, job.archived_at) == (JobState.RUNNING, CONTEXT.now)
    assert after(job, Unarchive()).archived_at is None


def test_visibility_is_private_until_it_is_shared() -> None:
    job = folded()
    assert job.visibility == "private"
    assert after(job, SetVisibility("shared")).visibility == "shared"


@pytest.mark.parametrize("command", [Tag(()), Unarchive(), SetVisibility("private")])
def test_what_is_as_asked_already_needs_no_event(command: CurationCommand) -> None:
    assert curate(folded(), command, CONTEXT) == Refusal(UNCHANGED, JobState.QUEUED)


def test_only_a_finished_job_is_deleted() -> None:
    assert curate(folded(), Delete(), CONTEXT) == Refusal("illegal_transition", JobState.QUEUED)
    running = folded(event(JobStarted, JOB, run=1))
    assert curate(running, Delete(), CONTEXT) == Refusal("illegal_transition", JobState.RUNNING)
    assert after(folded(CANCELED), Delete()).deleted


def test_the_deletion_names_what_has_to_go() -> None:
    made = curate(folded(completed(JOB, "audio"), CANCELED), Delete("no room"), CONTEXT)
    assert isinstance(made, JobDeleted)
    assert (made.data.base_dir, made.data.source, made.data.reason) == ("film", "uploads/up_1.mp4", "no room")
    assert (made.data.owner, made.data.stored_bytes) == ("local", 1003), "its source and what its stages left"


def test_nothing_happens_to_a_deleted_job() -> None:
    job = after(folded(CANCELED), Delete())
    for command in (Tag(("x",)), Archive(), Unarchive(), SetVisibility("private"), Delete()):
        assert curate(job, command, CONTEXT) == Refusal("illegal_transition", JobState.CANCELED)
    assert decide(job, Requeue(), CONTEXT) == Refusal("illegal_transition", JobState.CANCELED)
    for late in (event(JobTagged, JOB, tags=["x"]), event(JobRequeued, JOB, run=2), event(JobArchived, JOB)):
        later = evolve(job, job.version + 1, late)
        assert later is not None
        assert (later.deleted, later.state, later.tags, later.archived_at) == (True, JobState.CANCELED, [], None)


def test_an_imported_job_is_finished_and_is_never_run_again() -> None:
    job = folded(first=imported(archived=True))
    assert (job.state, job.created_seq, job.archived_at) == (JobState.DONE, 1, NOW)
    assert decide(job, Requeue(), CONTEXT) == Refusal("illegal_transition", JobState.DONE)
    assert after(job, Tag(("old",))).tags == ["old"]
    assert after(job, Delete()).deleted


def test_a_job_is_imported_once() -> None:
    job = folded(event(JobCompleted, JOB))
    assert evolve(job, job.version + 1, imported()) == job


def test_curation_of_an_unknown_job_makes_none() -> None:
    assert evolve(None, 1, event(JobTagged, JOB, tags=["x"])) is None
    assert evolve(None, 1, event(JobVisibilityChanged, JOB, visibility="shared")) is None


def test_tags_are_lower_case_and_each_once() -> None:
    assert clean_tags(["  Anime ", "DRAMA", "anime", "two  words"]) == ("anime", "drama", "two words")


@pytest.mark.parametrize(
    "tags", [[""], ["  "], ["x" * 33], [f"t{n}" for n in range(TAGS_MAX + 1)], ["a\x00b"], ["a\nb"], ["a\u202eb"]]
)
def test_tags_that_nobody_can_read_or_find_are_refused(tags: list[str]) -> None:
    with pytest.raises(ValueError, match=r"tag|characters"):
        clean_tags(tags)


@given(st.lists(st.text(max_size=40), max_size=25))
def test_clean_tags_stay_clean(raw: list[str]) -> None:
    try:
        tags = clean_tags(raw)
    except ValueError:
        return
    assert clean_tags(tags) == tags
    assert len(tags) <= TAGS_MAX


@pytest.mark.parametrize("subdir", ["", "anime", "Anime/Season 1", "日本/アニメ", "a-b/c.d/e_f/g"])
def test_a_projects_directory_is_plain_names(subdir: str) -> None:
    assert check_output_subdir(subdir) == subdir


@pytest.mark.parametrize(
    "subdir",
    ["/abs", "a/../b", "..", ".", ".hidden", "a//b", "a/", "_state", "_state/x", "jobs", "Jobs/x", "a\\b", "a/b/c/d/e",
     "c:", "a\x00", "a\n", " a", "a ", "a.", "x" * 121, "-rf", "~root", "a/_b"],
)  # fmt: skip
def test_a_directory_that_leads_elsewhere_is_refused(subdir: str) -> None:
    with pytest.raises(ValueError, match=r"part|levels|own"):
        check_output_subdir(subdir)


def test_a_name_is_one_line_of_text() -> None:
    assert clean_name("  My   Series ") == "My Series"
    for wrong in ("", "   ", "x" * 121, "a\x07"):
        with pytest.raises(ValueError, match=r"name|characters"):
            clean_name(wrong)
