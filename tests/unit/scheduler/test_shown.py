"""What one user is shown of a queue that is everybody's."""

from services.scheduler.limits import Limits
from services.scheduler.policy import World
from services.scheduler.shown import own_waiting, shown_to
from services.scheduler.view import Around, runtime_state
from shared.access.principal import Principal
from shared.runtime_state import RuntimeState
from tests.principals import principal
from tests.unit.scheduler.boards import Log, at


def told(log: Log, who: Principal, limit: int = 100) -> RuntimeState:
    state = runtime_state(log.board, World(at(0)), Around(leads=True), limit, own_waiting(log.board, who, limit))
    return shown_to(state, log.board, who)


def crowded() -> Log:
    log = Log(Limits(max_running=2))
    log.running("a-runs", owner="ann")
    log.running("b-runs", owner="bob")
    for number in range(5):
        log.submit(f"b-{number}", owner="bob", after_s=number)
    log.submit("a-waits", owner="ann", after_s=9)
    return log


def test_nobody_sees_whose_the_other_jobs_are_and_which() -> None:
    log = crowded()
    shown = told(log, principal("ann"))
    assert [one.job_id for one in shown.queue] == ["a-waits"]
    assert [one.job_id for one in shown.running] == ["a-runs"]
    assert [one.owner for one in shown.over_users] == ["ann"]
    assert list(shown.state.active_phase) == ["a-runs"]
    assert "bob" not in shown.model_dump_json()
    assert "b-" not in shown.model_dump_json()


def test_everybody_sees_how_many_there_are() -> None:
    log = crowded()
    shown, all_of_it = told(log, principal("ann")), told(log, principal("root", "admin"))
    assert shown.queue_total == all_of_it.queue_total == 6
    assert shown.state.active_global == 2
    assert shown.caps == all_of_it.caps


def test_one_s_own_jobs_are_shown_wherever_they_stand_in_the_queue() -> None:
    log = crowded()
    shown = told(log, principal("ann"), limit=1)
    assert [one.job_id for one in shown.queue] == ["a-waits"]
    assert shown.queue[0].position > 1


def test_who_administers_sees_all() -> None:
    log = crowded()
    assert {one.owner for one in told(log, principal("root", "admin")).queue} == {"ann", "bob"}
