"""The pure parts of the benchmarks: a wrong figure is worse than none."""

import pytest

from benchmarks.history import finished, submitted
from benchmarks.orchestration.figures import Round, ratio, stage_latencies
from benchmarks.rows import Row, percentile
from services.scheduler.board import Board
from services.scheduler.limits import Limits
from shared.events.subjects import event_subject
from shared.events.types import decode
from shared.job.aggregate import evolve
from shared.job.model import JobState
from shared.job.stages import GRAPH


def test_a_percentile_is_a_measured_value_that_enough_others_do_not_exceed():
    values = [float(n) for n in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile(values, 1.0) == 100
    assert percentile([7.0], 0.01) == 7


def test_a_goal_says_whether_it_holds():
    assert Row("figure", 10.0, "ms", None, "<= 10").holds is True
    assert Row("figure", 10.1, "ms", None, "<= 10").holds is False
    assert Row("figure", 0.3, "x", "a peer", ">= 0.35").holds is False
    assert Row("figure", 10.0, "ms").holds is None


def test_a_ratio_compares_round_with_round_so_that_a_slow_minute_hits_both_sides():
    assert ratio([10.0, 100.0, 12.0], [5.0, 50.0, 6.0]) == 2.0
    with pytest.raises(ValueError, match="zip"):
        ratio([1.0, 2.0], [1.0])


def test_a_rate_counts_all_jobs_of_a_round():
    assert Round(jobs=50, seconds=2.0).rate == 25.0


def test_a_stage_costs_the_time_since_the_end_of_the_one_before():
    spans = [("job", stage, n * 1.0, n * 1.0 + 0.25) for n, stage in enumerate(GRAPH)]
    assert stage_latencies(spans) == [1.0] * (len(GRAPH) - 1)


def test_two_jobs_in_one_trace_are_not_mixed_up_and_unfinished_ones_do_not_count():
    one = [("one", stage, float(n), float(n)) for n, stage in enumerate(GRAPH)]
    other = [("other", stage, n * 3.0 + 0.5, n * 3.0 + 0.5) for n, stage in enumerate(GRAPH)]
    unfinished = [("cut off", "audio", 0.0, 0.1)]
    mixed = sorted(one + other + unfinished, key=lambda span: span[2])
    assert sorted(stage_latencies(mixed)) == [1.0] * 5 + [3.0] * 5


def test_a_made_up_history_is_one_that_the_system_could_have_written():
    events = list(finished("user", epoch=1))
    job = None
    for seq, event in enumerate(events, 1):
        if event_subject(event).startswith("dub.evt.job."):
            assert event.subject == events[0].subject
            job = evolve(job, seq, decode(event.encode()))
    assert job is not None
    assert job.state is JobState.DONE
    assert job.done_stages == frozenset(GRAPH)


def test_a_made_up_history_leaves_the_scheduler_nothing_to_do():
    board = Board(Limits())
    for seq, event in enumerate(finished("user", epoch=1), 1):
        board.apply(seq, event_subject(event), event)
    assert not board.jobs
    assert not board.grants.open
    assert not board.active


def test_submissions_of_the_benchmark_keep_their_mode_under_pressure():
    assert not submitted("user").data.degrade
