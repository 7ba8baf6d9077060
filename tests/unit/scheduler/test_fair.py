"""Which queued job goes next: priority with ageing, fair share between owners, then age."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.fair import AGEING_S, Entry, FairQueue
from tests.unit.scheduler.boards import at


def entry(job_id: str, owner: str = "one", after_s: float = 0.0, priority: int = 100, work: float = 60.0) -> Entry:
    return Entry(job_id, owner, priority, "medium", at(after_s), work)


def served(queue: FairQueue, count: int, now: datetime, *, ends: bool = True) -> list[str]:
    """Start jobs one after the other; each ends before the next starts, if it `ends`."""
    found = []
    for _ in range(count):
        job_id = queue.pick(now, lambda _: True, lambda _o, _j: None)
        if job_id is None:
            break
        known = queue._entries[job_id]
        queue.started(known.owner, known.priority, known.work, now)
        queue.remove(job_id)
        if not ends:
            queue.set_running(known.owner, queue.running(known.owner) + 1)
        found.append(job_id)
    return found


def test_a_users_own_jobs_go_in_the_order_of_their_submission() -> None:
    queue = FairQueue()
    for number in (2, 0, 1):
        queue.add(entry(f"j{number}", after_s=number))
    assert served(queue, 3, at(10)) == ["j0", "j1", "j2"]


def test_lower_priority_numbers_go_first() -> None:
    queue = FairQueue()
    queue.add(entry("background", priority=110))
    queue.add(entry("normal", after_s=1))
    queue.add(entry("edit", after_s=2, priority=50))
    assert served(queue, 3, at(3)) == ["edit", "normal", "background"]


def test_five_hundred_jobs_of_one_user_never_make_anothers_first_job_wait_for_them() -> None:
    queue = FairQueue()
    for number in range(500):
        queue.add(entry(f"many{number:03}", owner="many", after_s=number))
    served(queue, 100, at(3600))
    queue.add(entry("first", owner="other", after_s=3600))
    assert served(queue, 1, at(3600)) == ["first"]


def test_users_share_by_the_length_of_their_videos_and_not_by_their_number() -> None:
    queue = FairQueue()
    for number in range(30):
        queue.add(entry(f"long{number:02}", owner="long", work=600))
        queue.add(entry(f"short{number:02}", owner="short", work=60))
    begun = served(queue, 22, at(0))
    assert sum(job_id.startswith("short") for job_id in begun) == 20


def test_who_comes_back_after_a_pause_has_saved_nothing_up() -> None:
    queue = FairQueue()
    for number in range(40):
        queue.add(entry(f"busy{number:02}", owner="busy"))
    served(queue, 20, at(0))
    for number in range(20):
        queue.add(entry(f"back{number:02}", owner="back", after_s=1))
    begun = served(queue, 10, at(1))
    assert 4 <= sum(job_id.startswith("back") for job_id in begun) <= 6


def test_a_user_without_a_running_job_goes_before_one_with() -> None:
    queue = FairQueue()
    queue.add(entry("a1", owner="a"))
    queue.add(entry("a2", owner="a"))
    queue.add(entry("b1", owner="b", after_s=9))
    assert served(queue, 2, at(10), ends=False) == ["a1", "b1"]


def test_background_work_starves_under_no_stream_of_normal_jobs() -> None:
    queue = FairQueue()
    queue.add(entry("background", priority=110))
    for minute in range(30):
        queue.add(entry(f"normal{minute}", after_s=60 * minute))
        if "background" in served(queue, 1, at(60 * minute)):
            break
    assert minute == 110 - 100 + 1  # the normal level has waited a minute itself
    assert AGEING_S == 60


def test_a_job_that_is_held_back_cannot_be_picked_before_its_time() -> None:
    queue = FairQueue()
    queue.add(Entry("held", "one", 100, "low", at(0), 60, not_before=at(5)))
    queue.tick(at(4))
    assert served(queue, 1, at(4)) == []
    queue.tick(at(5))
    assert served(queue, 1, at(5)) == ["held"]


entries = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.sampled_from([50, 100, 110]), st.integers(1, 900)),
    max_size=25,
)


@given(entries)
def test_every_job_is_served_exactly_once_and_the_shown_order_is_the_served_one(
    jobs: list[tuple[str, int, int, int]],
) -> None:
    queue = FairQueue()
    for number, (owner, after_s, priority, work) in enumerate(jobs):
        queue.add(entry(f"j{number:02}", owner, after_s, priority, work))
    shown = queue.order(at(60), 100)
    assert sorted(shown) == sorted(f"j{n:02}" for n in range(len(jobs)))
    assert served(queue, 100, at(60), ends=False) == shown
    assert len(queue) == 0


@given(entries)
def test_jobs_of_one_user_and_priority_never_overtake_each_other(jobs: list[tuple[str, int, int, int]]) -> None:
    queue = FairQueue()
    kept = {}
    for number, (owner, after_s, priority, work) in enumerate(jobs):
        kept[f"j{number:02}"] = entry(f"j{number:02}", owner, after_s, priority, work)
        queue.add(kept[f"j{number:02}"])
    begun = [kept[job_id] for job_id in served(queue, 100, at(60))]
    for lane in {(one.owner, one.priority) for one in begun}:
        ages = [one.queued_at for one in begun if (one.owner, one.priority) == lane]
        assert ages == sorted(ages)


def test_a_level_that_nobody_may_use_does_not_block_the_next() -> None:
    queue = FairQueue()
    queue.add(entry("blocked", owner="a", priority=50))
    queue.add(entry("free", owner="b"))
    now = at(0) + timedelta(hours=1)
    assert queue.pick(now, lambda _: True, lambda owner, _: at(9999) if owner == "a" else None) == "free"


def test_a_refused_owner_is_asked_about_again_when_its_time_has_come_or_something_of_it_changes() -> None:
    queue = FairQueue()
    queue.add(entry("a1", owner="a"))
    queue.add(entry("b1", owner="b"))
    asked: list[str] = []

    def refuse(owner: str, _job_id: str) -> datetime:
        asked.append(owner)
        return at(60)

    for _ in range(3):
        assert queue.pick(at(1), lambda _: True, refuse) is None
    assert asked == ["a", "b"]
    queue.set_running("b", 1)
    queue.pick(at(1), lambda _: True, refuse)
    assert asked == ["a", "b", "b"]
    queue.tick(at(60))
    queue.pick(at(60), lambda _: True, refuse)
    assert asked == ["a", "b", "b", "a", "b"]
    queue.unpark()
    assert queue.pick(at(61), lambda _: True, lambda _o, _j: None) == "a1"
