"""The translate stage on real engines: routes, what the file says, and what happens to what cannot be translated."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from services.worker.engines.apertium import Apertium
from services.worker.engines.bergamot import Bergamot
from services.worker.engines.kokoro import Kokoro
from services.worker.engines.protocols import ASR_SAMPLE_RATE, EngineError, EngineOptions, MtText, Samples
from services.worker.engines.registry import EngineFactory, Engines, Kind
from services.worker.engines.whisper import Whisper
from services.worker.stages import translate
from services.worker.stages.base import StageContext, StageError
from shared.artifacts import describe
from shared.ffmpeg import Ffmpeg
from shared.layout import Layout
from shared.manifests import Segment, Transcript, Translation
from shared.settings import default_models_dir
from tests.factories import command, submitted_data

OPTIONS = EngineOptions(default_models_dir())
NEURAL: dict[Kind, Sequence[EngineFactory]] = {"mt": [Bergamot]}
BOTH: dict[Kind, Sequence[EngineFactory]] = {"mt": [Bergamot, Apertium]}


class Context:
    """A job's directory with a transcript in it, ready for the stage."""

    def __init__(self, root: Path, source: str, target: str, texts: list[str], src_lang: str = "auto") -> None:
        self.layout = Layout(root)
        self.paths = self.layout.job("job", "film", "film")
        segments = [
            Segment(index=i, start=3.0 * i, end=3.0 * i + 2, text=text, words=[], avg_logprob=-0.1)
            for i, text in enumerate(texts)
        ]
        transcript = Transcript(
            language=source, language_probability=0.99, duration_s=3.0 * len(texts), segments=segments
        )
        transcript.write(self.paths.transcript)
        self.inputs = {"transcript": describe("transcript", self.paths.transcript, self.layout.output)}
        self.source, self.target, self.src_lang = source, target, src_lang
        self.progress: list[float] = []

    def of(self, factories: dict[Kind, Sequence[EngineFactory]], **changes: Any) -> StageContext:
        order = command(
            "job",
            "translate",
            job=submitted_data(src_lang=self.src_lang, tgt_lang=self.target),
            facts={"language": self.source},
            inputs=self.inputs,
            **changes,
        )
        return StageContext(
            command=order,
            layout=self.layout,
            paths=self.paths,
            source_file=self.layout.input / "source",
            engines=Engines(OPTIONS, factories),
            ffmpeg=Ffmpeg.find(log_dir=self.paths.ffmpeg_logs),
            progress=lambda fraction, _message: self.progress.append(fraction),
        )

    def has_audio(self, samples: Samples, rate: int, spans: list[tuple[float, float]]) -> None:
        """Put the audio stage's file there, and correct the transcript's times."""
        at = np.arange(0, samples.size, rate / ASR_SAMPLE_RATE)
        pcm = np.interp(at, np.arange(samples.size), samples)
        soundfile.write(self.paths.asr_audio, pcm, ASR_SAMPLE_RATE, subtype="PCM_16")
        transcript = Transcript.model_validate_json(self.paths.transcript.read_bytes())
        segments = [
            segment.model_copy(update={"start": start, "end": end})
            for segment, (start, end) in zip(transcript.segments, spans, strict=True)
        ]
        transcript.model_copy(update={"segments": segments}).write(self.paths.transcript)
        for name, path in (("transcript", self.paths.transcript), ("asr_audio", self.paths.asr_audio)):
            self.inputs[name] = describe(name, path, self.layout.output)

    def translation(self) -> Translation:
        return Translation.model_validate_json(self.paths.translation.read_bytes())


def need(*engines: type[Apertium | Whisper | Kokoro]) -> None:
    for factory in engines:
        if reason := factory(OPTIONS).available():
            pytest.skip(reason)


def test_every_segment_is_translated_and_keeps_its_place(tmp_path: Path) -> None:
    job = Context(tmp_path, "en", "pt", ["Hello. How are you?", "♪", "The cat sleeps in the house."])
    result = translate.run(job.of(NEURAL))
    found = job.translation()
    assert [segment.text for segment in found.segments] == ["Olá. Como você está?", "♪", "O gato dorme na casa."]
    assert [(segment.index, segment.start, segment.end) for segment in found.segments] == [
        (0, 0.0, 2.0),
        (1, 3.0, 5.0),
        (2, 6.0, 8.0),
    ]
    assert found.segments[2].source_text == "The cat sleeps in the house."
    assert (found.source_language, found.target_language, found.route) == ("en", "pt", ["bergamot:en-pt"])
    assert [artifact.name for artifact in result.outputs] == ["translation"]
    assert result.issues == []
    assert result.facts["translated_segments"] == 2


def test_english_reaches_spanish_through_portuguese(tmp_path: Path) -> None:
    need(Apertium)
    job = Context(tmp_path, "en", "es", ["The cat sleeps in the house."])
    translate.run(job.of(BOTH))
    found = job.translation()
    assert found.route == ["bergamot:en-pt", "apertium:pt-es"]
    assert found.segments[0].text == "El gato duerme en la casa."


def test_progress_grows_to_the_end(tmp_path: Path) -> None:
    job = Context(tmp_path, "en", "pt", ["Yes."] * 70)
    translate.run(job.of(NEURAL))
    assert job.progress == sorted(job.progress)
    assert (job.progress[0], job.progress[-1]) == (0.0, 1.0)
    assert len(job.progress) > 2


def test_words_that_no_engine_knows_are_an_issue_without_their_text(tmp_path: Path) -> None:
    need(Apertium)
    job = Context(tmp_path, "pt", "es", ["O gato dorme.", "Os vizinhos barulhentos dormem."])
    result = translate.run(job.of({"mt": [Apertium]}))
    assert job.translation().segments[1].unknown_words == 1
    assert [(issue.code, issue.segment) for issue in result.issues] == [("untranslated_words", 1)]
    assert "barulhentos" not in result.issues[0].detail


class Moody:
    """A translator that refuses some texts, as real ones do for reasons of their own."""

    kind, name, version, preference = "mt", "moody", "1", 50
    refuses: Callable[[str], bool]

    def __init__(self, refuses: Callable[[str], bool]) -> None:
        self.refuses = refuses

    def available(self) -> str | None:
        return None

    def device(self) -> str:
        return "cpu"

    def digest(self) -> str:
        return "0"

    def memory(self) -> int:
        return 0

    def load(self) -> None: ...

    def loaded(self) -> bool:
        return False

    def unload(self) -> None: ...

    def pairs(self) -> frozenset[tuple[str, str]]:
        return frozenset({("en", "pt")})

    def cost(self, source: str, target: str) -> float:  # noqa: ARG002 -- an engine's signature
        return 1.0

    def translate(self, texts: list[str], source: str, target: str) -> list[MtText]:  # noqa: ARG002 -- an engine's signature
        if any(self.refuses(text) for text in texts):
            raise EngineError("moody: not today")
        return [MtText(text.upper()) for text in texts]


def test_one_segment_that_fails_keeps_its_text_and_costs_no_other_one(tmp_path: Path) -> None:
    job = Context(tmp_path, "en", "pt", ["one", "bad", "three"])
    result = translate.run(job.of({"mt": [lambda _: Moody(lambda text: text == "bad")]}))
    assert [segment.text for segment in job.translation().segments] == ["ONE", "bad", "THREE"]
    assert [(issue.code, issue.segment) for issue in result.issues] == [("translation_failed", 1)]
    assert "bad" not in result.issues[0].detail


def test_an_engine_that_fails_everywhere_fails_the_stage(tmp_path: Path) -> None:
    job = Context(tmp_path, "en", "pt", ["one", "two"])
    with pytest.raises(StageError) as failure:
        translate.run(job.of({"mt": [lambda _: Moody(lambda _text: True)]}))
    assert failure.value.code == "translation_failed"
    assert not job.paths.translation.exists()


def test_an_engine_that_fails_everywhere_is_named_and_may_be_tried_again(tmp_path: Path) -> None:
    job = Context(tmp_path, "en", "pt", ["one"])
    with pytest.raises(StageError) as failure:
        translate.run(job.of({"mt": [lambda _: Moody(lambda _text: True)]}))
    assert (failure.value.engine, failure.value.retryable) == ("moody", True)


@pytest.mark.parametrize(("size", "batches"), [(1, [1] * 5), (2, [2, 2, 1]), (32, [5])])
def test_an_engine_gets_as_many_lines_at_once_as_the_settings_say(
    tmp_path: Path, size: int, batches: list[int]
) -> None:
    class Counting(Moody):
        def translate(self, texts: list[str], source: str, target: str) -> list[MtText]:
            found.append(len(texts))
            return super().translate(texts, source, target)

    found: list[int] = []
    job = Context(tmp_path, "en", "pt", ["Yes."] * 5)
    translate.run(job.of({"mt": [lambda _: Counting(lambda _text: False)]}, settings={"mt_batch": size}))
    assert found == batches


def test_running_out_of_memory_ends_the_stage_at_once_with_the_code_for_a_smaller_try(tmp_path: Path) -> None:
    class Hungry(Moody):
        def translate(self, texts: list[str], source: str, target: str) -> list[MtText]:
            if len(texts) > 1:
                raise RuntimeError("CUDA failed with error out of memory")
            return super().translate(texts, source, target)

    hungry: dict[Kind, Sequence[EngineFactory]] = {"mt": [lambda _: Hungry(lambda _text: False)]}
    job = Context(tmp_path, "en", "pt", ["one", "two"])
    with pytest.raises(StageError) as failure:
        translate.run(job.of(hungry))
    assert (failure.value.code, failure.value.engine, failure.value.retryable) == ("out_of_memory", "moody", True)
    assert translate.run(job.of(hungry, settings={"mt_batch": 1})).issues == []


def test_the_route_goes_around_an_engine_to_avoid_while_it_can(tmp_path: Path) -> None:
    class Dearer(Moody):
        name = "dearer"

        def cost(self, source: str, target: str) -> float:  # noqa: ARG002 -- an engine's signature
            return 9.0

    both: dict[Kind, Sequence[EngineFactory]] = {
        "mt": [kind_of(Moody), kind_of(Dearer)],
    }
    job = Context(tmp_path, "en", "pt", ["one"])
    for avoid, route in [([], "moody:en-pt"), (["moody"], "dearer:en-pt"), (["moody", "dearer"], "moody:en-pt")]:
        context = job.of(both, avoid=avoid)
        translate.run(context)
        assert job.translation().route == [route]
        assert translate.engine(context.command, context.engines).name == route.split(":")[0]


def kind_of(engine: type[Moody]) -> EngineFactory:
    return lambda _: engine(lambda _text: False)


def test_the_target_must_be_another_language(tmp_path: Path) -> None:
    context = Context(tmp_path, "en", "en", ["Hello."]).of(NEURAL)
    for call in (lambda: translate.run(context), lambda: translate.engine(context.command, context.engines)):
        with pytest.raises(StageError) as failure:
            call()
        assert failure.value.code == "same_language"


def test_an_unsupported_pair_is_refused_with_what_can_be_reached(tmp_path: Path) -> None:
    context = Context(tmp_path, "en", "ja", ["Hello."]).of(NEURAL)
    with pytest.raises(StageError, match=r"'en' it can go to: pt$") as failure:
        translate.run(context)
    assert failure.value.code == "unsupported_pair"


def test_the_key_holds_both_languages_and_every_engine_of_the_route(tmp_path: Path) -> None:
    need(Apertium)
    direct = Context(tmp_path, "en", "pt", ["Hello."]).of(BOTH)
    pivot = Context(tmp_path, "en", "es", ["Hello."]).of(BOTH)
    assert translate.params(pivot.command) == {"src": "en", "tgt": "es"}
    assert translate.engine(direct.command, direct.engines).name == "bergamot"
    used = translate.engine(pivot.command, pivot.engines)
    assert used.name == "bergamot+apertium"
    assert used.digest != translate.engine(direct.command, direct.engines).digest
    assert translate.engine(pivot.command, pivot.engines) == used


def test_a_language_without_a_translator_is_heard_in_english(tmp_path: Path) -> None:
    """Whisper translates the audio itself; its English lands on the segments in which it was said."""
    need(Whisper, Kokoro)
    lines = ["Hoy vamos a visitar la casa de mi abuela.", "El perro duerme en el jardín."]
    job = Context(tmp_path, "es", "en", lines)
    voice, placed, spans = Kokoro(OPTIONS), np.zeros(0, np.float32), []
    for line in lines:
        take, rate = voice.synthesize(line, "es", voice.default_voice("es"), 1.0)
        start = placed.size / rate
        placed = np.concatenate([placed, take, np.zeros(rate, np.float32)])
        spans.append((start, start + take.size / rate))
    job.has_audio(placed, rate, spans)
    translate.run(job.of({"asr": [Whisper]}))
    found = job.translation()
    assert found.route == ["whisper:es-en"]
    assert "grandmother" in found.segments[0].text.lower()
    assert "garden" in found.segments[1].text.lower()
