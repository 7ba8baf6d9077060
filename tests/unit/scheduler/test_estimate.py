"""What a job would take that nobody has submitted yet."""

from services.scheduler.admission import Admission
from services.scheduler.estimate import estimate
from services.scheduler.limits import Limits
from services.scheduler.policy import World
from services.scheduler.snapshot import dump
from shared.job.stages import GRAPH
from shared.runtime_state import AdmitRequest, EstimateAnswer, EstimateRequest
from tests.unit.scheduler.boards import Log, at

WORLD = World(at(60), free_gb=50.0)


def ask(log: Log, admission: Admission | None = None, world: World = WORLD, **changes: object) -> EstimateAnswer:
    asked = {"owner": "ann", "bytes": 1000, "duration_s": 600.0, "degrade": False} | changes
    return estimate(EstimateRequest.model_validate(asked), log.board, world, admission or Admission())


def test_an_estimate_changes_nothing_and_reserves_nothing() -> None:
    log, admission = Log(Limits(user_queued=1)), Admission()
    log.submit("a", owner="bob")
    before = dump(log.board, "log")
    assert ask(log, admission) == ask(log, admission)
    assert (dump(log.board, "log"), admission.reserved) == (before, {})


def test_ranges_are_ordered_and_the_work_is_the_stages_sum() -> None:
    told = ask(Log())
    assert [stage.stage for stage in told.stages] == list(GRAPH)
    assert told.waiting is not None
    assert told.total is not None
    for one in (told.waiting, told.work, told.total, *(stage.seconds for stage in told.stages)):
        assert 0 <= one.low <= one.expected <= one.high
    assert abs(told.work.expected - sum(stage.seconds.expected for stage in told.stages)) < 1
    assert (told.waiting.expected, told.ahead, told.admission.admitted) == (0, 0, True)


def test_imported_stages_cost_nothing() -> None:
    whole, less = ask(Log()), ask(Log(), imported=["transcribe", "translate"])
    assert [stage.stage for stage in less.stages] == ["audio", "tts", "mix", "mux"]
    assert less.work.expected < whole.work.expected


def test_it_waits_for_what_would_go_before_it_and_a_fair_share_counts() -> None:
    log = Log(Limits(max_running=1, backpressure_q_max=0))
    for number in range(5):
        log.submit(f"job {number}", owner="bob")
    other, same = ask(log), ask(log, owner="bob")
    assert (other.ahead, same.ahead) == (1, 5)
    assert other.waiting is not None
    assert same.waiting is not None
    assert 0 < other.waiting.expected < same.waiting.expected


def test_a_refusal_and_what_is_left_are_told() -> None:
    log, admission = Log(Limits(user_queued=2, user_jobs_per_day=5, user_stored_bytes=10_000)), Admission()
    log.submit("a", owner="ann", after_s=30)
    asked = AdmitRequest(owner="ann", job_id="b", bytes=1000, duration_s=60)
    assert admission.ask(asked, log.board, WORLD, 0.0).admitted
    told = ask(log, admission)
    assert (told.admission.admitted, told.admission.code) == (False, "max_queued_per_user")
    assert (told.left.queued, told.left.jobs_today, told.left.running) == (0, 3, 2)
    assert told.left.minutes_today == 240
    assert told.left.reset_seconds > 0
    assert ask(log, admission, owner="bob").admission.admitted


def test_a_long_queue_lowers_the_mode_that_is_told() -> None:
    log = Log(Limits(backpressure_q_max=1))
    log.submit("a", owner="bob")
    assert ask(log, mode="high", degrade=True).mode == "medium"
    assert ask(log, mode="high", degrade=False).mode == "high"


def test_without_a_worker_nothing_starts_and_no_waiting_time_is_made_up() -> None:
    told = ask(Log(), world=World(at(60), pools=frozenset()))
    assert (told.waiting, told.total) == (None, None)
    assert told.work.expected > 0
