"""Apertium's stream format: segments in, segments out, and which pairs a directory of modes offers."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.engines.apertium import Apertium, Installation, join_stream, read_marks, split_stream
from services.worker.engines.protocols import EngineOptions
from services.worker.engines.routes import RULES_COST, RULES_RELATED_COST

OPTIONS = EngineOptions(models_dir=Path("models"))

texts = st.lists(st.text(alphabet="aé .[]{}^$/\\<>@*#~|+\n0?", max_size=30), min_size=1, max_size=8)


@given(texts)
def test_a_pipeline_that_changes_nothing_gives_every_text_back(segments: list[str]) -> None:
    parts = split_stream(join_stream(segments), len(segments))
    assert parts is not None
    assert [read_marks(part).text for part in parts] == [" ".join(segment.split()) for segment in segments]


@given(texts)
def test_no_text_can_look_like_a_mark_or_a_boundary(segments: list[str]) -> None:
    parts = split_stream(join_stream(segments), len(segments))
    assert parts is not None
    assert all(read_marks(part).unknown_words == () for part in parts)


@pytest.mark.parametrize(
    "stream",
    [
        "one.[][<0>\n]",
        "one.[][<1>\n]two.[][<0>\n]",
        "one.[][<0>\n]two.[][<1>\n]more",
        "one.[][<0>\n]two.[][<1>\n]three.[][<2>\n]",
    ],
)
def test_a_stream_with_segments_lost_moved_or_added_is_not_trusted(stream: str) -> None:
    assert split_stream(stream, 2) is None


def test_marks_are_stripped_and_unknown_words_listed() -> None:
    result = read_marks("Los *vecinos-b no @gustan de #café \uff0ax\uff0a")
    assert result.text == "Los vecinos-b no gustan de café *x*"
    assert result.unknown_words == ("vecinos-b", "gustan")


def modes(root: Path, *names: str) -> Installation:
    folder = root / "usr/share/apertium/modes"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    return Installation(root)


def test_pairs_are_found_by_their_mode_files_in_either_code(tmp_path: Path) -> None:
    found = modes(tmp_path, "pt-es.mode", "eng-spa.mode", "README", "eng-spa.log", "spa-eng-tagger.mode").modes
    assert found == {("pt", "es"): "pt-es", ("en", "es"): "eng-spa"}


def test_a_regional_variant_counts_only_where_it_is_alone(tmp_path: Path) -> None:
    found = modes(tmp_path, "es-pt_BR.mode", "es-pt.mode", "spa-eng_US.mode").modes
    assert found == {("es", "pt"): "es-pt", ("es", "en"): "spa-eng_US"}


def test_without_an_installation_it_says_what_to_install(tmp_path: Path) -> None:
    engine = Apertium(OPTIONS, (tmp_path,))
    assert "apt-get install apertium" in (engine.available() or "")
    assert engine.pairs() == frozenset()


def test_rules_are_good_between_close_relatives_only(tmp_path: Path) -> None:
    engine = Apertium(OPTIONS, (tmp_path,))
    assert engine.cost("pt", "es") == RULES_RELATED_COST
    assert engine.cost("en", "es") == RULES_COST
