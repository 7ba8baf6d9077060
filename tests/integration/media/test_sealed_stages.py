"""The stages make the same files of an encrypted video as of a plain one, and leave no plain file behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from services.worker.stages import tts
from services.worker.stages.base import StageContext
from shared.artifacts import Artifact, set_rules
from shared.ffmpeg import Ffmpeg
from shared.layout import Layout
from shared.sealing.classes import CLASSES
from shared.sealing.format import MAGIC, SealError
from shared.sealing.keyring import Keyring
from shared.sealing.vault import Vault
from shared.sealing.writer import SealedWriter
from tests.integration.media import films
from tests.integration.stages import test_tts

KEYS = Keyring((b"k" * 32,))
UPLOAD = "up_0123456789abcdef"


@contextmanager
def sealing(data: Path) -> Iterator[None]:
    set_rules(None, None, Vault(KEYS, frozenset(CLASSES), Layout(data).output))
    try:
        yield
    finally:
        set_rules(None, None)


def sealed_copy(film: Path, target: Path) -> Path:
    """What ingest leaves of an upload."""
    with target.open("w+b") as file:
        writer = SealedWriter(file.fileno(), KEYS, UPLOAD)
        writer.append(film.read_bytes())
        writer.finish()
    return target


def made_by_stages(dubbed: films.Dubbed) -> list[Artifact]:
    """What the stages wrote; the dialogue and the texts are the test's own."""
    return [output for stage, result in dubbed.results.items() if stage != "tts" for output in result.outputs]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return films.make_film(Ffmpeg.find(), tmp_path_factory.mktemp("film") / "film.mp4", "mp4")


def test_v11_audio_mix_and_mux_of_a_sealed_source_make_what_they_make_of_a_plain_one(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ffmpeg = Ffmpeg.find()
    plain = films.dub(ffmpeg, tmp_path / "plain", film)
    made = films.context_for

    def from_sealed(ffmpeg: Ffmpeg, data: Path, film: Path) -> StageContext:
        context = made(ffmpeg, data, film)
        job = context.command.job
        job = job.model_copy(update={"source": job.source.model_copy(update={"sealed": UPLOAD})})
        command = context.command.model_copy(update={"job": job})
        return replace(context, command=command, source_file=sealed_copy(film, data / "film.sealed"))

    monkeypatch.setattr(films, "context_for", from_sealed)
    data = tmp_path / "sealed"
    with sealing(data):
        sealed = films.dub(ffmpeg, data, film)
    sealed.context.held.close()
    outputs = made_by_stages(sealed)
    expected = {output.name: output.sha256 for output in made_by_stages(plain)}
    assert {output.name: output.sha256 for output in outputs} == expected
    assert sealed.facts == plain.facts
    assert {output.name for output in outputs} >= {"asr_audio", "final_mix", "dub_mkv", "dub_mp4", "subs_target_srt"}
    assert_all_sealed(outputs, data)


def test_spoken_lines_and_their_cache_are_sealed_and_used_again(tmp_path: Path) -> None:
    voice = test_tts.Speaking(test_tts.EngineOptions(tmp_path))
    plain = tts.run(test_tts.context(tmp_path / "plain", test_tts.job(tmp_path / "plain"), voice))
    data = tmp_path / "sealed"
    with sealing(data):
        context = test_tts.context(data, test_tts.job(data), voice)
        first = tts.run(context)
        again = tts.run(test_tts.context(data, test_tts.job(data), voice))
        context.held.close()
    assert [output.sha256 for output in first.outputs] == [output.sha256 for output in plain.outputs]
    assert again.facts["takes_synthesised"] == 0
    takes = list(Layout(data).takes.rglob("*.wav"))
    assert len(takes) == first.facts["takes_synthesised"]
    assert all(take.read_bytes().startswith(MAGIC) for take in takes)
    assert_all_sealed(first.outputs, data)


def test_another_uploads_sealed_video_in_its_place_is_no_source(film: Path, tmp_path: Path) -> None:
    context = films.context_for(Ffmpeg.find(), tmp_path, film)
    job = context.command.job
    source = job.source.model_copy(update={"sealed": "up_another"})
    command = context.command.model_copy(update={"job": job.model_copy(update={"source": source})})
    context = replace(context, command=command, source_file=sealed_copy(film, tmp_path / "film.sealed"))
    with sealing(tmp_path), pytest.raises(SealError, match="another one"):
        _ = context.source


def assert_all_sealed(outputs: list[Artifact], data: Path) -> None:
    for output in outputs:
        file = Layout(data).output / output.path
        assert output.sealed, output.name
        assert file.read_bytes().startswith(MAGIC), output.name
    assert not [file for file in Layout(data).output.rglob(".*.tmp*") if file.is_file()]
