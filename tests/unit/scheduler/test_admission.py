"""Whether an owner may queue one more job: what ingest is told before it accepts."""

from typing import Any

from services.scheduler.admission import RESERVED_S, Admission
from services.scheduler.limits import Limits
from services.scheduler.policy import World
from shared.runtime_state import AdmitAnswer, AdmitRequest
from tests.unit.scheduler.boards import Log, at

WORLD = World(at(0))


def ask(
    admission: Admission, log: Log, job_id: str, clock: float = 0.0, owner: str = "local", **more: Any
) -> AdmitAnswer:
    request = AdmitRequest(**({"owner": owner, "job_id": job_id, "bytes": 1000, "duration_s": 60} | more))
    return admission.ask(request, log.board, WORLD, clock)


def test_two_submissions_at_once_cannot_both_take_the_last_place() -> None:
    log, admission = Log(Limits(user_queued=1)), Admission()
    assert ask(admission, log, "a").admitted
    refused = ask(admission, log, "b")
    assert (refused.admitted, refused.code, refused.limit) == (False, "max_queued_per_user", 1)
    assert ask(admission, log, "b", owner="another").admitted


def test_the_same_job_asked_again_is_not_counted_twice() -> None:
    log, admission = Log(Limits(user_queued=1)), Admission()
    assert ask(admission, log, "a").admitted
    assert ask(admission, log, "a").admitted


def test_a_place_is_kept_for_a_minute_and_then_free_again() -> None:
    log, admission = Log(Limits(user_queued=1)), Admission()
    ask(admission, log, "a")
    assert not ask(admission, log, "b", RESERVED_S - 1).admitted
    assert ask(admission, log, "b", RESERVED_S + 1).admitted


def test_a_job_in_the_log_counts_once_though_it_was_reserved() -> None:
    log, admission = Log(Limits(user_queued=2)), Admission()
    ask(admission, log, "a")
    log.submit("a")
    assert ask(admission, log, "b").admitted
    assert not ask(admission, log, "c").admitted


def test_jobs_per_day_say_when_they_come_back() -> None:
    log, admission = Log(Limits(user_jobs_per_day=1)), Admission()
    log.submit("a")
    refused = ask(admission, log, "b")
    assert refused.code == "jobs_per_day_per_user"
    assert refused.reset_seconds == (24 * 60 - (3 * 60 + 4)) * 60 - 5


def test_stored_bytes_and_a_too_long_video_are_refused_with_what_is_left() -> None:
    log = Log(Limits(user_stored_bytes=1500))
    log.submit("a")
    refused = ask(Admission(), log, "b")
    assert (refused.code, refused.remaining) == ("max_storage_bytes_per_user", 500)
    too_long = ask(Admission(), Log(Limits(user_daily_minutes=0.5)), "b")
    assert too_long.code == "daily_processing_minutes"


def test_room_that_open_uploads_were_promised_is_taken() -> None:
    log = Log(Limits(user_stored_bytes=3500))
    log.submit("a")
    assert Admission().left("local", log.board, WORLD).stored_bytes == 2500
    assert Admission().left("local", log.board, WORLD, promised=2000).stored_bytes == 500
    refused = ask(Admission(), log, "b", promised=1501)
    assert (refused.code, refused.limit, refused.remaining) == ("max_storage_bytes_per_user", 3500, 999)
    assert "open uploads take 1501" in refused.detail
    assert ask(Admission(), log, "b", promised=1500).admitted
    assert Admission().left("local", log.board, WORLD, promised=9000).stored_bytes == 0


def test_an_upload_is_judged_by_its_bytes_alone_and_takes_no_place() -> None:
    log, admission = Log(Limits(user_queued=1, user_jobs_per_day=1, user_stored_bytes=3500)), Admission()
    log.submit("a")
    assert not ask(admission, log, "b").admitted
    for number in range(3):
        assert ask(admission, log, f"up_{number}", bytes=2500, upload=True).admitted
    refused = ask(admission, log, "up_3", bytes=2501, upload=True)
    assert (refused.admitted, refused.code, refused.remaining) == (False, "max_storage_bytes_per_user", 2500)
    assert admission.reserved == {}


def test_a_job_that_was_admitted_takes_room_from_uploads_before_it_is_in_the_log() -> None:
    log, admission = Log(Limits(user_stored_bytes=1500)), Admission()
    assert ask(admission, log, "a").admitted
    assert not ask(admission, log, "up_1", bytes=501, upload=True).admitted
    assert ask(admission, log, "up_1", bytes=500, upload=True).admitted
