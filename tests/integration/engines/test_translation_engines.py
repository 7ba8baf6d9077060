"""The translation engines on their real weights and rules: what a segment keeps, loses and reports."""

import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.worker.engines.apertium import Apertium, private_prefix
from services.worker.engines.bergamot import WEIGHTS, Bergamot
from services.worker.engines.protocols import EngineError, EngineOptions
from shared.settings import default_models_dir

OPTIONS = EngineOptions(default_models_dir())


@pytest.fixture(scope="module")
def bergamot() -> Bergamot:
    engine = Bergamot(OPTIONS)
    assert engine.available() is None, engine.available()
    return engine


@pytest.fixture(scope="module")
def apertium() -> Apertium:
    engine = Apertium(OPTIONS)
    if reason := engine.available():
        pytest.skip(reason)
    return engine


def test_bergamot_translates_sentence_by_sentence(bergamot: Bergamot) -> None:
    [result] = bergamot.translate(["In the kitchen. The cat sleeps in the house."], "en", "pt")
    assert result.text == "Na cozinha. O gato dorme na casa."


def test_bergamot_leaves_no_as_in_the(bergamot: Bergamot) -> None:
    """The wrapper's post-processing would make it "não"."""
    [result] = bergamot.translate(["The bird sings in the garden."], "en", "pt")
    assert "no jardim" in result.text


def test_bergamot_keeps_empty_lines_and_bare_punctuation(bergamot: Bergamot) -> None:
    assert [done.text for done in bergamot.translate(["", "...", "Yes."], "en", "pt")][:2] == ["", "..."]


def test_bergamot_keeps_and_reports_what_it_would_swallow(bergamot: Bergamot) -> None:
    [result] = bergamot.translate(["日本語"], "en", "pt")
    assert (result.text, result.unknown_words) == ("日本語", ("日本語",))


def test_bergamot_refuses_a_pair_without_weights(bergamot: Bergamot) -> None:
    with pytest.raises(EngineError, match="en to es"):
        bergamot.translate(["Hello."], "en", "es")


def test_bergamot_never_loads_a_file_that_is_not_the_pinned_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, files in WEIGHTS.values():
        (tmp_path / folder).mkdir()
        for name in files:
            (tmp_path / folder / name).write_bytes(b"something else")
    monkeypatch.setattr(Bergamot, "_models", staticmethod(lambda: tmp_path))
    engine = Bergamot(OPTIONS)
    assert engine.available() is None
    with pytest.raises(EngineError, match="not the pinned file"):
        engine.load()


def test_apertium_translates_a_batch_one_to_one(apertium: Apertium) -> None:
    texts = ["O gato dorme em casa.", "", "Fomos à praia\ncom os amigos", "...", "E o cão?"]
    done = [result.text for result in apertium.translate(texts, "pt", "es")]
    assert done[0] == "El gato duerme en casa."
    assert done[1] == ""
    assert done[2] == "Fuimos a la playa con los amigos"
    assert done[3] == "..."
    assert len(done) == len(texts)


def test_apertium_reports_unknown_words_and_leaves_no_mark_of_them(apertium: Apertium) -> None:
    [result] = apertium.translate(["Os vizinhos barulhentos dormem."], "pt", "es")
    assert result.unknown_words == ("barulhentos",)
    assert "barulhentos" in result.text
    assert "*" not in result.text


@pytest.mark.parametrize("special", [*"[]{}^$/\\<>@*#~|+&%\"'_=", "[][<0>\n]", "\\[", "^a/a<n>$"])
def test_characters_of_the_stream_format_are_text(apertium: Apertium, special: str) -> None:
    results = apertium.translate([f"O gato {special} dorme.", "O gato dorme."], "pt", "es")
    kept = " ".join(special.split())
    assert results[0].text.replace(" ", "") == f"El gato {kept} duerme.".replace(" ", "")
    assert results[1].text == "El gato duerme."


def test_apertium_refuses_a_pair_that_is_not_installed(apertium: Apertium) -> None:
    with pytest.raises(EngineError, match="en to ja"):
        apertium.translate(["Hello."], "en", "ja")


def fake_installation(root: Path, script: str) -> Apertium:
    """A program in apertium's place, to see how its misbehaviour is handled."""
    program = root / "usr/bin/apertium"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    modes = root / "usr/share/apertium/modes"
    modes.mkdir(parents=True)
    (modes / "pt-es.mode").touch()
    return Apertium(OPTIONS, (root,), timeout_s=1.0)


def test_a_hanging_pipeline_is_ended_with_all_its_processes(tmp_path: Path) -> None:
    engine = fake_installation(tmp_path, "sleep 30 | sleep 30")
    started = time.monotonic()
    with pytest.raises(EngineError, match="no answer in 1 s"):
        engine.translate(["Olá."], "pt", "es")
    assert time.monotonic() - started < 10


def test_a_failing_pipeline_is_an_error_that_does_not_quote_the_text(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="exit status 3") as failure:
        fake_installation(tmp_path, "cat >&2; exit 3").translate(["Segredo."], "pt", "es")
    assert "Segredo" not in str(failure.value)


def test_a_batch_that_comes_back_with_a_segment_lost_is_translated_one_by_one(tmp_path: Path) -> None:
    engine = fake_installation(tmp_path, "sed -z 's/<1>/<9>/'")
    assert [result.text for result in engine.translate(["Um", "Dois"], "pt", "es")] == ["Um", "Dois"]


def test_a_private_installation_lies_beside_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DUBLINE_APERTIUM_PREFIX", raising=False)
    fake_installation(tmp_path / "apertium", "cat")
    engine = Apertium(EngineOptions(tmp_path / "models"), (private_prefix(EngineOptions(tmp_path / "models")),))
    assert engine.pairs() == {("pt", "es")}


def test_the_unprivileged_install_says_where_it_cannot_work(tmp_path: Path) -> None:
    script = Path(__file__).parents[3] / "scripts" / "apertium-unprivileged"
    done = subprocess.run(
        [sys.executable, script, tmp_path / "prefix"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "This needs a Debian-like system (no apt-get and no dpkg): install apertium by its own means."
    )
