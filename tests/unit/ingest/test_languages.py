"""What the workers' reports amount to, and which pairs are refused."""

import pytest

from services.ingest.languages import check_pair, describe, pairs_of
from shared.capabilities import Capabilities, EngineStatus, LanguagePair
from shared.problems import Problem


def worker(name: str, *pairs: tuple[str, str, list[str]]) -> Capabilities:
    engine = EngineStatus(kind="mt", name="bergamot", version="1", available=True)
    served = [LanguagePair(source=s, target=t, route=r) for s, t, r in pairs]
    return Capabilities(worker=name, pools=["cpu"], engines=[engine], pairs=served)


WORKERS = [worker("a", ("en", "pt", ["x", "y"]), ("pt", "en", ["w"])), worker("b", ("en", "pt", ["x"]))]


def test_pairs_of_several_workers_come_once_with_the_shortest_route() -> None:
    assert [(p.source, p.target, p.route) for p in pairs_of(WORKERS)] == [("en", "pt", ["x"]), ("pt", "en", ["w"])]


@pytest.mark.parametrize(("source", "target"), [("en", "pt"), ("auto", "pt"), ("pt", "en")])
def test_served_pairs_pass(source: str, target: str) -> None:
    check_pair(pairs_of(WORKERS), source, target)


@pytest.mark.parametrize(("source", "target"), [("pt", "de"), ("auto", "de"), ("ja", "en")])
def test_other_pairs_are_refused_with_those_that_are_served(source: str, target: str) -> None:
    with pytest.raises(Problem) as refusal:
        check_pair(pairs_of(WORKERS), source, target)
    assert refusal.value.code == "unsupported_pair"
    assert "en → pt, pt → en" in refusal.value.detail
    assert refusal.value.extra["pairs"] == [{"source": "en", "target": "pt"}, {"source": "pt", "target": "en"}]


def test_description() -> None:
    answer = describe(WORKERS)
    assert answer["sources"] == ["en", "pt"]
    assert answer["targets"] == ["en", "pt"]
    assert [engine["worker"] for engine in answer["engines"]] == ["a", "b"]
