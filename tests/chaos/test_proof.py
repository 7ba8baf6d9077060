"""Each check of the proof finds what it is there for, and finds nothing where nothing is wrong."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from shared.artifacts import Artifact
from shared.eventlog.port import Recorded
from shared.events.subjects import event_subject
from shared.events.types import Event, JobCanceled, JobCompleted, JobFailed, JobStarted
from tests import factories
from tests.chaos import proof
from tests.chaos.faults import Fault
from tests.chaos.proof import Ordered

JOB = "job-1"
AT = factories.NOW.timestamp()


def log_of(*events: Event) -> list[Recorded]:
    return [
        Recorded(seq, event_subject(event), event.model_dump_json().encode(), event)
        for seq, event in enumerate(events, start=1)
    ]


def promises(ordered: Sequence[Ordered], *events: Event) -> list[str]:
    return proof.broken_promises(log_of(*events), {job.id: job for job in ordered})


SUBMITTED = factories.submitted(JOB)
CANCELED = factories.event(JobCanceled, JOB)


def test_a_job_that_is_as_its_user_was_told_breaks_nothing() -> None:
    assert promises([Ordered(JOB)], SUBMITTED) == []
    assert promises([Ordered(JOB, cancel_asked=True, cancel_confirmed=True)], SUBMITTED, CANCELED) == []


@pytest.mark.parametrize(
    ("ordered", "events", "found"),
    [
        ([Ordered(JOB)], [], "is lost"),
        ([], [SUBMITTED], "nobody was told"),
        ([Ordered(JOB)], [SUBMITTED, CANCELED], "nobody asked"),
        ([Ordered(JOB, cancel_asked=True, cancel_confirmed=True)], [SUBMITTED], "was confirmed"),
    ],
)
def test_a_broken_promise_is_found(ordered: list[Ordered], events: list[Event], found: str) -> None:
    assert [found in what for what in promises(ordered, *events)] == [True]


def failed_with(code: str) -> Event:
    return factories.failed(JOB, "tts").model_copy(
        update={"data": factories.failed(JOB, "tts").data.model_copy(update={"code": code})}
    )


def test_a_failure_is_explained_by_a_fault_that_can_lead_to_it_and_was_there() -> None:
    died = log_of(failed_with("child_died"))
    assert proof.unexplained_failures(died, [Fault("kill_child", "worker-1", AT - 1, AT - 1)]) == []
    assert proof.unexplained_failures(died, [Fault("kill_library", "library", AT - 1, AT - 1)])
    assert proof.unexplained_failures(died, [Fault("kill_child", "worker-1", AT + 1, AT + 1)])
    long_ago = AT - proof.AFTERMATH_S - 1
    assert proof.unexplained_failures(died, [Fault("kill_child", "worker-1", long_ago, long_ago)])


def test_no_fault_explains_a_stage_that_crashes() -> None:
    every = [Fault(kind, "x", AT - 1, AT + 1) for kinds in proof.EXPLAINED_BY.values() for kind in kinds]
    assert proof.unexplained_failures(log_of(failed_with("stage_crashed")), every)


def test_a_job_fails_only_with_what_a_stage_failed_with() -> None:
    faults = [Fault("kill_child", "worker-1", AT, AT)]
    job_failed = factories.event(JobFailed, JOB, stage="tts", code="child_died", message="m")
    assert proof.unexplained_failures(log_of(failed_with("child_died"), job_failed), faults) == []
    assert proof.unexplained_failures(log_of(job_failed), faults)


def test_an_artifact_that_is_not_as_recorded_is_found(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"abc").hexdigest()
    recorded = Artifact(name="dub", path="film/dub.mkv", size=3, sha256=digest)
    done = log_of(
        SUBMITTED,
        factories.event(JobStarted, JOB),
        factories.completed(JOB, "mux", outputs=[recorded]),
        factories.event(JobCompleted, JOB),
    )
    assert proof.missing_artifacts(done, tmp_path)
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "dub.mkv").write_bytes(b"abd")
    assert proof.missing_artifacts(done, tmp_path)
    (tmp_path / "film" / "dub.mkv").write_bytes(b"abc")
    assert proof.missing_artifacts(done, tmp_path) == []


def test_a_stage_that_completes_twice_is_found() -> None:
    once = factories.completed(JOB, "mux")
    assert proof.run_twice(log_of(once)) == []
    assert proof.run_twice(log_of(once, once))


def test_files_that_are_half_written_are_found(tmp_path: Path) -> None:
    output, temporary = tmp_path / "output", tmp_path / "tmp"
    (output / "film" / "work").mkdir(parents=True)
    temporary.mkdir()
    (output / "film" / ".checkpoint.json").touch()
    assert proof.temporary_files(output, temporary) == []
    (output / "film" / "work" / ".0123456789ab.tmp.wav").touch()
    (temporary / "left").touch()
    assert len(proof.temporary_files(output, temporary)) == 2
