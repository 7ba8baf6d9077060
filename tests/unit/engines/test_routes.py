"""The graph of language pairs: which chain of engines serves a pair, and that the choice is sound and stable."""

from itertools import pairwise, permutations, product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.engines.routes import (
    MAX_STEPS,
    NEURAL_COST,
    RULES_COST,
    RULES_RELATED_COST,
    Route,
    Step,
    cheapest,
    routes_from,
    speech_steps,
)

NEURAL = [Step("bergamot", "en", "pt", NEURAL_COST), Step("bergamot", "pt", "en", NEURAL_COST)]
RULES = [
    Step("apertium", "pt", "es", RULES_RELATED_COST),
    Step("apertium", "es", "pt", RULES_RELATED_COST),
    Step("apertium", "en", "es", RULES_COST),
    Step("apertium", "es", "en", RULES_COST),
]
ASR = ["en", "es", "fr", "ja", "pt"]
DEFAULT_SET = [*NEURAL, *RULES, *speech_steps("whisper", ASR)]


@pytest.mark.parametrize(
    ("source", "target", "route"),
    [
        ("en", "pt", ["bergamot:en-pt"]),
        ("en", "es", ["bergamot:en-pt", "apertium:pt-es"]),
        ("pt", "en", ["bergamot:pt-en"]),
        ("es", "pt", ["apertium:es-pt"]),
        ("ja", "en", ["whisper:ja-en"]),
        ("ja", "pt", ["whisper:ja-en", "bergamot:en-pt"]),
        ("ja", "es", ["whisper:ja-en", "bergamot:en-pt", "apertium:pt-es"]),
    ],
)
def test_the_default_set_serves_a_pair_by_its_best_route(source: str, target: str, route: list[str]) -> None:
    assert cheapest(DEFAULT_SET, source)[target].names() == route


def test_without_the_neural_pair_the_rules_go_directly() -> None:
    assert cheapest(RULES, "en")["es"].names() == ["apertium:en-es"]


def test_a_recogniser_translates_only_as_the_first_step() -> None:
    steps = [*speech_steps("whisper", ["es"]), Step("apertium", "pt", "es", RULES_RELATED_COST)]
    assert set(cheapest(steps, "pt")) == {"es"}


def test_english_speech_needs_no_translation_to_english() -> None:
    assert speech_steps("whisper", ["en"]) == []


def test_a_route_has_at_most_three_steps() -> None:
    chain = [Step("x", a, b, 1.0) for a, b in ("ab", "bc", "cd", "de")]
    assert set(cheapest(chain, "a")) == {"b", "c", "d"}


def test_a_long_cheap_route_beats_a_short_dear_one() -> None:
    steps = [Step("x", "a", "b", 1.0), Step("x", "b", "c", 1.0), Step("y", "a", "c", 2.5)]
    assert cheapest(steps, "a")["c"].names() == ["x:a-b", "x:b-c"]


def test_equal_cost_is_decided_by_fewer_steps_then_by_name() -> None:
    steps = [Step("x", "a", "b", 1.0), Step("x", "b", "c", 1.0), Step("z", "a", "c", 2.25), Step("y", "a", "c", 2.25)]
    assert cheapest(steps, "a")["c"].names() == ["y:a-c"]


def test_only_languages_that_are_heard_and_spoken_are_servable() -> None:
    served = routes_from(DEFAULT_SET, ["en", "ja"], ["en", "es"])
    assert list(served) == [("en", "es"), ("ja", "en"), ("ja", "es")]


LANGUAGES = "abcde"
steps_strategy = st.lists(
    st.builds(
        Step,
        st.sampled_from(["x", "y", "z"]),
        st.sampled_from(LANGUAGES),
        st.sampled_from(LANGUAGES),
        st.sampled_from([1.0, 2.0, 2.5]),
        st.booleans(),
    ).filter(lambda step: step.source != step.target),
    max_size=12,
)


def every_route(steps: list[Step], source: str) -> dict[str, list[Route]]:
    """The slow, obvious way: try every chain without repetition."""
    found: dict[str, list[Route]] = {}
    for length in range(1, MAX_STEPS + 1):
        for chain in permutations(dict.fromkeys(steps), length):
            joined = all(a.target == b.source for a, b in pairwise(chain))
            if joined and chain[0].source == source and not any(step.hears for step in chain[1:]):
                found.setdefault(chain[-1].target, []).append(Route(chain))
    found.pop(source, None)
    return found


@given(steps_strategy, st.sampled_from(LANGUAGES))
def test_the_chosen_route_is_valid_and_none_is_cheaper(steps: list[Step], source: str) -> None:
    chosen = cheapest(steps, source)
    possible = every_route(steps, source)
    assert set(chosen) == set(possible)
    for target, route in chosen.items():
        assert route in possible[target]
        assert route.cost == min(other.cost for other in possible[target])


@given(steps_strategy, st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_the_engines(steps: list[Step], random: Random) -> None:
    shuffled = steps.copy()
    random.shuffle(shuffled)
    assert routes_from(steps, LANGUAGES, LANGUAGES) == routes_from(shuffled, LANGUAGES, LANGUAGES)


@given(steps_strategy, st.sets(st.sampled_from(LANGUAGES)), st.sets(st.sampled_from(LANGUAGES)))
def test_a_served_pair_is_heard_spoken_and_of_two_languages(steps: list[Step], asr: set[str], tts: set[str]) -> None:
    served = routes_from(steps, asr, tts)
    assert all(source != target for source, target in served)
    assert set(served) <= set(product(asr, tts))
    assert all((route.source, route.target) == pair for pair, route in served.items())
