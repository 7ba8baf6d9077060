"""One job over HTTP: its history, its past states, and what is said of one that is deleted or not listed yet."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from shared.events.library import JobDeleted, JobTagged
from shared.events.types import JobCanceled, JobStarted
from shared.identity import uuid7
from tests.factories import NOW, claimed, completed, event, submitted
from tests.integration.library.serving import Served, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("past")) as running:
        yield running


def story(served: Served) -> tuple[str, list[int]]:
    """A job that is submitted, started, claimed an hour later, and done with its first stage after two."""
    job_id = uuid7()
    told = [(0, submitted(job_id)), (0, event(JobStarted, job_id, run=1)), (1, claimed(job_id, "audio"))]
    told.append((2, completed(job_id, "audio")))
    later = [made.model_copy(update={"time": NOW + timedelta(hours=hours)}) for hours, made in told]
    return job_id, served.append(*later)


def test_the_history_is_its_events_with_their_sequences(served: Served) -> None:
    job_id, sequences = story(served)
    assert "history" not in served.get(f"/api/jobs/{job_id}").json()
    told = served.get(f"/api/jobs/{job_id}", history="true").json()
    assert [found["seq"] for found in told["history"]] == sequences
    assert [found["type"] for found in told["history"]][::3] == [
        "dubline.job.submitted.v1",
        "dubline.stage.completed.v1",
    ]
    assert {found["subject"] for found in told["history"]} == {job_id}
    assert told["history_truncated"] is False


def test_its_past_by_sequence_and_by_time(served: Served) -> None:
    job_id, sequences = story(served)
    now = served.get(f"/api/jobs/{job_id}").json()
    assert now["stages"][0]["status"] == "done"
    queued = served.get(f"/api/jobs/{job_id}", at=sequences[0], history="true").json()
    assert (queued["state"], queued["at"]["seq"], len(queued["history"])) == ("QUEUED", sequences[0], 1)
    for moment in ("2026-01-02T04:30:00Z", "2026-01-02T05:30:00+01:00", "2026-01-02T05:30:00.5 01:00"):
        then = served.get(f"/api/jobs/{job_id}", at=moment).json()
        assert (then["stages"][0]["status"], then["at"]) == (
            "claimed",
            {"seq": sequences[2], "time": "2026-01-02T04:04:05.000Z"},
        )
    latest = served.get(f"/api/jobs/{job_id}", at=1 << 60).json()
    assert latest == now | {"at": {"seq": sequences[-1], "time": "2026-01-02T05:04:05.000Z"}}


def test_before_its_first_event_there_is_no_job(served: Served) -> None:
    served.append(submitted())
    job_id, sequences = story(served)
    for moment in (sequences[0] - 1, "2026-01-01T00:00:00Z"):
        answer = served.get(f"/api/jobs/{job_id}", at=moment)
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


@pytest.mark.parametrize(
    "moment", ["0", "-1", "x", "1.5", "", "2026-01-02", "2026-01-02T00:00:00", "2026-02-30T00:00:00Z", "9" * 20]
)
def test_nonsense_is_no_moment(served: Served, moment: str) -> None:
    answer = served.get(f"/api/jobs/{uuid7()}", at=moment)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_deleted_job_is_gone_but_its_past_is_not(served: Served) -> None:
    job_id, sequences = story(served)
    deleted = served.append(
        event(JobCanceled, job_id), event(JobDeleted, job_id, owner="local", base_dir="film", source="")
    )
    for path in ("", "/files", "/outputs", "/stream/manifest"):
        answer = served.get(f"/api/jobs/{job_id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (410, "job_deleted")
    assert served.get(f"/api/jobs/{job_id}", at=sequences[-1]).json()["state"] == "RUNNING"
    assert served.get(f"/api/jobs/{job_id}", at=deleted[1]).status_code == 410


def test_a_job_that_is_not_listed_yet_is_read_from_the_log(served: Served) -> None:
    job_id = uuid7()
    served.log_only(submitted(job_id, title="new.mp4"))
    early = served.get(f"/api/jobs/{job_id}").json()
    assert (early["title"], early["state"], early["outputs"]) == ("new.mp4", "QUEUED", [])
    served.append(event(JobTagged, job_id, tags=["a"]))
    assert served.get(f"/api/jobs/{job_id}").json() == early | {
        "tags": ["a"], "version": early["version"] + 1, "updated_at": early["updated_at"],
    }  # fmt: skip


def test_while_the_log_is_away_the_rows_answer_and_the_past_asks_for_patience(served: Served) -> None:
    job_id, sequences = story(served)
    gone, _ = story(served)
    served.append(event(JobCanceled, gone), event(JobDeleted, gone, owner="local", base_dir="film", source=""))
    served.connected = False
    try:
        assert served.get(f"/api/jobs/{job_id}").json()["state"] == "RUNNING"
        assert served.get("/api/jobs").status_code == 200
        assert served.get(f"/api/jobs/{gone}").status_code == 404
        assert served.get("/api/library/stats").json()["lag"] is None
        for parameters in ({"at": sequences[0]}, {"history": "true"}):
            answer = served.get(f"/api/jobs/{job_id}", **parameters)
            assert (answer.status_code, answer.json()["code"]) == (503, "log_unavailable")
            assert int(answer.headers["retry-after"]) > 0
    finally:
        served.connected = True


@pytest.mark.parametrize("foreign", ["none", "j*", ">", "..", "%00", "a.b.>", "%2e%2e"])
def test_what_is_no_job_id_never_reaches_a_subject(served: Served, foreign: str) -> None:
    for parameters in ({}, {"at": "1"}):
        answer = served.get(f"/api/jobs/{foreign}", **parameters)
        assert answer.status_code == 404


def test_one_job_may_be_kept_and_asked_about(served: Served) -> None:
    job_id, _ = story(served)
    tag = served.get(f"/api/jobs/{job_id}").headers["etag"]
    assert served.get(f"/api/jobs/{job_id}", {"If-None-Match": tag}).status_code == 304
    served.append(event(JobTagged, job_id, tags=["new"]))
    assert served.get(f"/api/jobs/{job_id}", {"If-None-Match": tag}).status_code == 200
