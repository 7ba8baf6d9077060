"""When jobs are expected to start and to end."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.eta import Estimate
from services.scheduler.forecast import Forecast, Remaining, Upcoming, forecast
from services.scheduler.limits import Limits
from shared.events.names import Mode, Stage
from tests.factories import NOW

ONE_AT_A_TIME = Limits(max_running=1)


def about(mid_s: float, samples: int = 8) -> Estimate:
    return Estimate(mid_s / 2, mid_s, mid_s * 2, samples)


def exactly(seconds: float) -> Estimate:
    return Estimate(seconds, seconds, seconds, 8)


def upcoming(
    job_id: str,
    *stages: tuple[Stage, Estimate],
    owner: str = "",
    mode: Mode = "medium",
    not_before: datetime | None = None,
) -> Upcoming:
    return Upcoming(job_id, owner or job_id, mode, stages, not_before)


def remaining(job_id: str, *stages: tuple[Stage, Estimate], elapsed_s: float | None = None) -> Remaining:
    return Remaining(job_id, job_id, "medium", stages, elapsed_s)


def in_s(moment: datetime | None) -> float:
    assert moment is not None
    return (moment - NOW).total_seconds()


def starts_and_ends(forecasts: dict[str, Forecast]) -> dict[str, tuple[float, float]]:
    return {job_id: (in_s(one.start), in_s(one.end)) for job_id, one in forecasts.items()}


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    changes = sorted((moment, change) for start, end in spans for moment, change in ((start, 1), (end, -1)))
    busy = most = 0
    for _, change in changes:  # at one moment, ends come before starts
        busy += change
        most = max(most, busy)
    return most


def test_a_job_runs_its_stages_one_after_another_and_the_next_job_follows() -> None:
    jobs = [upcoming("a", ("audio", about(2)), ("mux", about(3))), upcoming("b", ("audio", about(4)))]
    assert starts_and_ends(forecast([], jobs, ONE_AT_A_TIME, NOW)) == {"a": (0, 5), "b": (5, 9)}


def test_a_running_job_has_no_start_and_what_it_has_done_of_its_stage_is_not_left() -> None:
    made = forecast([remaining("a", ("audio", exactly(10)), ("mux", exactly(5)), elapsed_s=4)], [], Limits(), NOW)
    assert made == {"a": Forecast(None, None, None, *[NOW + timedelta(seconds=11)] * 3)}


def test_a_stage_that_is_late_is_expected_to_need_more_the_later_it_is() -> None:
    ends = [
        forecast([remaining("a", ("audio", exactly(10)), elapsed_s=elapsed)], [], Limits(), NOW)["a"]
        for elapsed in (20, 200)
    ]
    assert NOW < ends[0].end < ends[1].end
    assert all(end.end_low == NOW and end.end < end.end_high for end in ends)


def test_a_phase_cap_makes_a_running_job_wait_for_its_stage() -> None:
    jobs = [upcoming(name, ("audio", about(1)), ("tts", about(10))) for name in ("a", "b")]
    assert starts_and_ends(forecast([], jobs, Limits(), NOW)) == {"a": (0, 11), "b": (0, 21)}


def test_a_stage_that_has_not_begun_waits_for_the_one_that_holds_its_phase() -> None:
    running = [remaining("a", ("tts", about(10))), remaining("b", ("tts", about(10)), elapsed_s=4)]
    made = forecast(running, [], Limits(), NOW)
    assert (in_s(made["b"].end), in_s(made["a"].end)) == (6, 16)


def test_a_delayed_job_holds_nobody_up_and_starts_before_later_ones_once_it_may() -> None:
    jobs = [upcoming("late", ("audio", about(1)), not_before=NOW + timedelta(seconds=3))]
    jobs += [upcoming(name, ("audio", about(2))) for name in ("b", "c", "d")]
    made = starts_and_ends(forecast([], jobs, ONE_AT_A_TIME, NOW))
    assert made == {"b": (0, 2), "c": (2, 4), "late": (4, 5), "d": (5, 7)}


def test_a_delayed_job_that_may_start_just_when_a_slot_gets_free_is_not_passed() -> None:
    jobs = [upcoming("a", ("audio", about(3))), upcoming("late", not_before=NOW + timedelta(seconds=3))]
    jobs += [upcoming("b", ("audio", about(2)))]
    made = starts_and_ends(forecast([], jobs, ONE_AT_A_TIME, NOW))
    assert made == {"a": (0, 3), "late": (3, 3), "b": (3, 5)}


def test_an_owner_or_a_mode_at_its_cap_lets_others_pass() -> None:
    jobs = [upcoming(f"a{n}", ("audio", about(10)), owner="a") for n in range(3)]
    jobs += [upcoming(f"h{n}", ("audio", about(1)), mode="high") for n in range(2)]
    made = starts_and_ends(forecast([], jobs, Limits(max_running=4, modes={"high": 1}), NOW))
    assert made == {"a0": (0, 10), "a1": (0, 10), "a2": (10, 20), "h0": (0, 1), "h1": (1, 2)}


def test_a_free_slot_passes_over_a_job_whose_owner_is_at_the_cap() -> None:
    jobs = [upcoming(job_id, ("audio", about(seconds)), owner=job_id[0]) for job_id, seconds in
            (("a0", 10), ("b0", 1), ("a1", 1), ("c0", 1))]  # fmt: skip
    made = starts_and_ends(forecast([], jobs, Limits(max_running=2, user_running=1), NOW))
    assert made == {"a0": (0, 10), "b0": (0, 1), "c0": (1, 2), "a1": (10, 11)}


def test_what_waited_for_another_is_as_unsure_as_that_one() -> None:
    other = remaining("other", ("tts", about(10)), elapsed_s=0)
    same_phase = remaining("phase", ("tts", exactly(5)))
    same_slot = upcoming("slot", ("audio", exactly(5)))
    for_phase = forecast([other, same_phase], [], Limits(), NOW)
    for_slot = forecast([other], [same_slot], ONE_AT_A_TIME, NOW)
    for waiting, first in ((for_phase["phase"], for_phase["other"]), (for_slot["slot"], for_slot["other"])):
        assert waiting.end_low - first.end_low == timedelta(seconds=5)
        assert waiting.end_high - first.end_high == timedelta(seconds=5)
        assert first.end_low < first.end < first.end_high


def test_more_running_jobs_than_a_lowered_cap_allows_end_before_anything_starts() -> None:
    running = [remaining(name, ("audio", about(end)), elapsed_s=0) for name, end in (("a", 5), ("b", 8))]
    made = forecast(running, [upcoming("c", ("audio", about(1)))], ONE_AT_A_TIME, NOW)
    assert in_s(made["c"].start) == 8


def test_a_cap_of_zero_is_none() -> None:
    jobs = [upcoming(f"{n}", ("tts", about(1)), owner="a") for n in range(5)]
    made = starts_and_ends(forecast([], jobs, Limits(max_running=0, user_running=0, phases={"tts": 0}), NOW))
    assert set(made.values()) == {(0, 1)}


def test_jobs_with_nothing_left_end_at_once() -> None:
    made = forecast([remaining("a")], [upcoming("b"), upcoming("c")], ONE_AT_A_TIME, NOW)
    assert {one.end for one in made.values()} == {NOW}


def test_only_the_head_of_a_long_queue_is_forecast_and_as_with_the_whole_queue() -> None:
    jobs = [upcoming(f"{n}", ("transcribe", about(1)), ("tts", about(2))) for n in range(50)]
    head = forecast([], jobs, Limits(), NOW, limit=10)
    whole = forecast([], jobs, Limits(), NOW)
    assert list(head) == [f"{n}" for n in range(10)]
    assert head == {job_id: whole[job_id] for job_id in head}


def test_the_interval_grows_along_the_queue_slower_where_much_was_learned() -> None:
    def interval(samples: int, queue: int) -> float:
        jobs = [upcoming(f"{n}", ("audio", about(10, samples))) for n in range(queue)]
        last = forecast([], jobs, ONE_AT_A_TIME, NOW)[f"{queue - 1}"]
        return in_s(last.end_high) - in_s(last.end_low)

    assert interval(32, 1) < interval(32, 16) < interval(1, 16) < 16 * interval(1, 1) + 1e-3


def test_absurd_durations_are_still_dates() -> None:
    jobs = [upcoming("a", ("audio", about(1e15))), upcoming("b", ("audio", about(1e15)))]
    made = forecast([], jobs, ONE_AT_A_TIME, NOW)
    assert made["b"].end > NOW + timedelta(days=3000)


ESTIMATES = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 40)).map(
    lambda drawn: Estimate(*map(float, sorted(drawn[:3])), drawn[3])
)
STAGES = st.lists(st.tuples(st.sampled_from(["audio", "transcribe", "translate", "tts"]), ESTIMATES), max_size=4)
QUEUES = st.lists(
    st.builds(
        Upcoming,
        st.just(""),
        st.sampled_from("ab"),
        st.sampled_from(["high", "medium"]),
        STAGES,
        st.one_of(st.none(), st.integers(-3, 30).map(lambda s: NOW + timedelta(seconds=s))),
    ),
    max_size=12,
).map(lambda jobs: [Upcoming(f"q{n}", j.owner, j.mode, j.stages, j.not_before) for n, j in enumerate(jobs)])
RUNNING = st.lists(
    st.builds(
        Remaining,
        st.just(""),
        st.sampled_from("ab"),
        st.just("medium"),
        STAGES,
        st.one_of(st.none(), st.floats(0, 20)),
    ),
    max_size=2,
).map(lambda jobs: [Remaining(f"r{n}", j.owner, j.mode, j.stages, j.elapsed_s) for n, j in enumerate(jobs)])
LIMITS = st.builds(
    Limits,
    max_running=st.integers(1, 4),
    user_running=st.integers(0, 3),
    phases=st.fixed_dictionaries({"transcribe": st.integers(0, 2), "tts": st.integers(0, 2)}),
    modes=st.fixed_dictionaries({"high": st.integers(0, 2)}),
)


@given(RUNNING, QUEUES, LIMITS)
def test_every_job_is_forecast_and_low_is_never_above_the_expected_nor_that_above_high(
    running: list[Remaining], queue: list[Upcoming], limits: Limits
) -> None:
    made = forecast(running, queue, limits, NOW)
    assert made.keys() == {job.job_id for job in [*running, *queue]}
    for job in queue:
        one = made[job.job_id]
        assert one.start_low is not None
        assert one.start is not None
        assert one.start_high is not None
        assert max(NOW, job.not_before or NOW) <= one.start_low <= one.start <= one.start_high
        assert one.start <= one.end
    assert all(NOW <= one.end_low <= one.end <= one.end_high for one in made.values())


@given(QUEUES, LIMITS)
def test_no_cap_of_jobs_is_exceeded_in_the_expected_schedule(queue: list[Upcoming], limits: Limits) -> None:
    spans = starts_and_ends(forecast([], queue, limits, NOW))

    def busy(jobs: Iterable[Upcoming]) -> int:
        return most_at_once(spans[job.job_id] for job in jobs)

    assert busy(queue) <= limits.max_running
    assert busy(job for job in queue if job.mode == "high") <= (limits.modes["high"] or limits.max_running)
    for owner in "ab":
        assert busy(job for job in queue if job.owner == owner) <= (limits.user_running or limits.max_running)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=12), st.integers(1, 3), st.integers(1, 4))
def test_no_phase_cap_is_exceeded_in_the_expected_schedule(
    lengths: list[tuple[int, int]], cap: int, max_running: int
) -> None:
    jobs = [
        upcoming(f"{n}", ("audio", about(before)), ("tts", about(spoken))) for n, (before, spoken) in enumerate(lengths)
    ]
    made = starts_and_ends(forecast([], jobs, Limits(max_running=max_running, phases={"tts": cap}), NOW))
    assert most_at_once((end - lengths[int(n)][1], end) for n, (_, end) in made.items()) <= cap


@given(QUEUES, LIMITS)
def test_nobody_starts_before_one_ahead_who_could_start_as_well(queue: list[Upcoming], limits: Limits) -> None:
    made = forecast([], queue, limits, NOW)
    alike = [job for job in queue if job.owner == "a" and job.mode == "high"]
    for position, ahead in enumerate(alike):
        for behind in alike[position + 1 :]:
            if in_s(made[ahead.job_id].start) > in_s(made[behind.job_id].start):
                assert ahead.not_before is not None
                assert in_s(ahead.not_before) > in_s(made[behind.job_id].start)


@given(QUEUES, LIMITS)
def test_a_slot_is_never_left_free_for_a_job_that_could_take_it(queue: list[Upcoming], limits: Limits) -> None:
    spans = starts_and_ends(forecast([], queue, limits, NOW))

    def full(moment: float, jobs: Iterable[Upcoming], cap: int) -> bool:
        running = sum(spans[job.job_id][0] <= moment < spans[job.job_id][1] for job in jobs)
        return 0 < cap <= running

    moments = {0.0, *(moment for span in spans.values() for moment in span)}
    for job in queue:
        may_start = max(0.0, in_s(job.not_before or NOW))
        for moment in sorted(m for m in moments if may_start <= m < spans[job.job_id][0]):
            assert (
                full(moment, queue, limits.max_running)
                or full(moment, (j for j in queue if j.owner == job.owner), limits.user_running)
                or full(moment, (j for j in queue if j.mode == job.mode), limits.modes.get(job.mode, 0))
            )
