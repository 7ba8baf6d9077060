"""What finished stages teach about the next ones."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.eta import MAX_KEYS, WINDOW, Estimate, Speeds
from shared.events.names import Mode, Stage
from shared.events.types import Timings
from shared.job.stages import GRAPH

MODES: tuple[Mode, ...] = ("high", "medium", "low")
SECONDS = st.floats(0.0, 1e5)
LEARNED = st.tuples(
    st.sampled_from(list(GRAPH)),
    st.sampled_from(["whisper", "kokoro", "ffmpeg"]),
    st.sampled_from(["cpu", "cuda"]),
    st.sampled_from(MODES),
    st.floats(0.0, 1e5),
    st.builds(lambda load, work: Timings(load_s=load, total_s=load + work), SECONDS, SECONDS),
)


def taught(*learned: tuple[Stage, str, str, Mode, float, Timings]) -> Speeds:
    speeds = Speeds()
    for one in learned:
        speeds.learn(*one)
    return speeds


def spoken(total_s: float, media_s: float = 100, load_s: float = 0.0, *, times: int = 1, **changes: str) -> Speeds:
    speeds = Speeds()
    speak(speeds, total_s, media_s, load_s, times=times, **changes)
    return speeds


def speak(
    speeds: Speeds,
    total_s: float,
    media_s: float = 100,
    load_s: float = 0.0,
    *,
    engine: str = "kokoro",
    device: str = "cpu",
    mode: Mode = "medium",
    times: int = 1,
) -> None:
    for _ in range(times):
        speeds.learn("tts", engine, device, mode, media_s, Timings(load_s=load_s, total_s=total_s))


def width(estimate: Estimate) -> float:
    return estimate.high_s - estimate.low_s


def test_a_stage_takes_its_learned_factor_of_the_media() -> None:
    estimate = spoken(50, media_s=100).estimate("tts", "medium", "cpu", 600)
    assert estimate.mid_s == pytest.approx(300)
    assert estimate.samples == 1


def test_one_odd_stage_does_not_move_what_is_expected() -> None:
    speeds = spoken(50, times=9)
    speak(speeds, 5000)
    assert speeds.estimate("tts", "medium", "cpu", 100).mid_s == pytest.approx(50)


def test_loading_does_not_grow_with_the_media() -> None:
    speeds = spoken(total_s=60, media_s=100, load_s=10, times=WINDOW)
    assert speeds.estimate("tts", "medium", "cpu", 1000).mid_s == pytest.approx(510)


def test_an_engine_that_is_mostly_warm_is_expected_warm_and_may_be_cold() -> None:
    speeds = spoken(total_s=70, load_s=20, times=2)
    speak(speeds, 50, times=8)
    warm = spoken(total_s=50, times=10).estimate("tts", "medium", "cpu", 100)
    mixed = speeds.estimate("tts", "medium", "cpu", 100)
    assert mixed.mid_s == pytest.approx(warm.mid_s)
    assert mixed.high_s == pytest.approx(warm.high_s + 20)


def test_only_the_last_stages_count() -> None:
    speeds = spoken(500, times=WINDOW)
    speak(speeds, 50, times=WINDOW)
    assert speeds.estimate("tts", "medium", "cpu", 100) == spoken(50, times=WINDOW).estimate(
        "tts", "medium", "cpu", 100
    )


def test_the_engine_counts_where_it_is_known_and_all_of_the_mode_where_it_is_not() -> None:
    speeds = spoken(50, engine="kokoro", times=3)
    speak(speeds, 10, engine="hibari", times=2)
    assert speeds.estimate("tts", "medium", "cpu", 100, engine="hibari").mid_s == pytest.approx(10)
    assert speeds.estimate("tts", "medium", "cpu", 100).samples == 5


def test_without_the_like_the_stage_in_other_modes_then_on_other_devices_stands_in_less_surely() -> None:
    speeds = spoken(50, times=10)
    same = speeds.estimate("tts", "medium", "cpu", 100)
    other_engine = speeds.estimate("tts", "medium", "cpu", 100, engine="coqui")
    other_mode = speeds.estimate("tts", "high", "cpu", 100)
    other_device = speeds.estimate("tts", "high", "cuda", 100)
    assert [e.mid_s for e in (other_engine, other_mode, other_device)] == [same.mid_s] * 3
    assert width(same) < width(other_engine) == width(other_mode) < width(other_device)


@pytest.mark.parametrize("stage", list(GRAPH))
def test_before_anything_finished_built_in_factors_stand_in_with_a_wide_interval(stage: Stage) -> None:
    low, medium, high = (Speeds().estimate(stage, mode, "cpu", 600) for mode in ("low", "medium", "high"))
    assert low.mid_s < medium.mid_s < high.mid_s
    assert medium.samples == 0
    assert medium.high_s > 5 * medium.low_s


@pytest.mark.parametrize(
    ("media_s", "timings"),
    [
        (0.0, Timings(total_s=5)),
        (float("nan"), Timings(total_s=5)),
        (10.0, Timings(total_s=float("inf"))),
        (10.0, Timings(total_s=5, load_s=6)),
    ],
)
def test_impossible_timings_teach_nothing(media_s: float, timings: Timings) -> None:
    assert taught(("tts", "kokoro", "cpu", "medium", media_s, timings)).dump() == Speeds().dump()


def test_a_log_full_of_engine_names_is_bounded_and_the_last_one_is_kept() -> None:
    speeds = Speeds()
    for number in range(2 * MAX_KEYS):
        speak(speeds, 50, engine=f"engine-{number}")
    speak(speeds, 70, engine="last")
    assert len(speeds.dump()["windows"]) == MAX_KEYS
    assert speeds.estimate("tts", "medium", "cpu", 100, engine="last").mid_s == pytest.approx(70)


@given(st.lists(LEARNED, max_size=60), SECONDS)
def test_low_is_never_above_the_expected_and_that_never_above_high(learned: list, media_s: float) -> None:
    speeds = taught(*learned)
    for stage in GRAPH:
        for mode in MODES:
            estimate = speeds.estimate(stage, mode, "cpu", media_s)
            assert 0 <= estimate.low_s <= estimate.mid_s <= estimate.high_s


@given(st.floats(0.1, 1e4), st.floats(0.0, 100), st.floats(0.1, 1e4))
def test_more_of_the_same_never_widens_the_interval(work_s: float, load_s: float, media_s: float) -> None:
    speeds = Speeds()
    widths = []
    for _ in range(WINDOW + 3):
        speak(speeds, work_s + load_s, media_s, load_s)
        widths.append(width(speeds.estimate("tts", "medium", "cpu", media_s)))
    assert all(after <= before * (1 + 1e-9) for before, after in pairwise(widths))
    assert widths[WINDOW - 1] < 0.5 * widths[0]


@given(st.lists(st.floats(10, 200), min_size=2, max_size=WINDOW))
def test_stages_that_vary_never_have_a_narrower_interval_than_constant_ones(seen: list[float]) -> None:
    speeds = Speeds()
    for total_s in seen:
        speak(speeds, total_s)
    constant = spoken(seen[0], times=len(seen)).estimate("tts", "medium", "cpu", 100)
    varied = speeds.estimate("tts", "medium", "cpu", 100)
    assert varied.high_s / varied.mid_s >= constant.high_s / constant.mid_s * (1 - 1e-9)


@given(st.lists(LEARNED, max_size=80), st.lists(LEARNED, max_size=80))
def test_a_snapshot_and_the_tail_give_exactly_what_the_whole_log_gives(head: list, tail: list) -> None:
    whole = taught(*head, *tail)
    restored = Speeds.load(json.loads(json.dumps(taught(*head).dump())))
    for one in tail:
        restored.learn(*one)
    assert json.dumps(restored.dump()) == json.dumps(whole.dump())
    for stage in GRAPH:
        for mode in MODES:
            assert restored.estimate(stage, mode, "cpu", 60) == whole.estimate(stage, mode, "cpu", 60)
