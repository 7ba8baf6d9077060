"""Which engine is chosen, and how many stay in memory. The engines here are real classes with nothing to load."""

from dataclasses import replace
from importlib.metadata import entry_points

import numpy as np
import pytest

from services.worker.engines.hibari import Hibari
from services.worker.engines.kokoro import LANGUAGES, Kokoro
from services.worker.engines.protocols import AsrResult, EngineError, EngineOptions, MtText, Progress, Samples
from services.worker.engines.registry import Engines, engine_used
from services.worker.engines.whisper import Whisper
from shared.job.modes import FAST_VOICES


class Tone:
    """A voice that says everything as a tone; subclasses differ in what the registry looks at."""

    kind, name, version, preference, fast = "tts", "tone", "1", 50, False
    speaks = frozenset({"en", "eo"})
    reason: str | None = None
    size = 100

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self.in_memory = False

    def memory(self) -> int:
        return self.size

    def available(self) -> str | None:
        return self.reason

    def device(self) -> str:
        return "cpu"

    def digest(self) -> str:
        return "0" * 64

    def load(self) -> None:
        self.in_memory = True

    def loaded(self) -> bool:
        return self.in_memory

    def unload(self) -> None:
        self.in_memory = False

    def languages(self) -> frozenset[str]:
        return self.speaks

    def voices(self, _language: str) -> list[str]:
        return ["a"]

    def default_voice(self, _language: str) -> str:
        return "a"

    def synthesize(self, text: str, _language: str, _voice: str, _rate: float) -> tuple[Samples, int]:
        return np.ones(len(text), np.float32), 8000


class FastTone(Tone):
    name, fast, speaks = "fast-tone", True, frozenset({"en"})


class PreferredTone(Tone):
    name, preference, speaks = "preferred-tone", 10, frozenset({"eo"})


class BrokenTone(Tone):
    name, preference, reason = "broken-tone", 1, "its power is off: switch it on"


class CudaTone(Tone):
    """Runs where it is asked to."""

    name, preference = "cuda-tone", 1

    def device(self) -> str:
        return "cuda" if self.options.device == "cuda" else "cpu"


class Ear:
    """A recogniser that hears nothing."""

    kind, name, version, preference, size = "asr", "ear", "1", 50, 300

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self.in_memory = False

    available = staticmethod(lambda: None)
    device = staticmethod(lambda: "cpu")
    digest = staticmethod(lambda: "1" * 64)
    memory, load, loaded, unload = Tone.memory, Tone.load, Tone.loaded, Tone.unload
    languages = staticmethod(lambda: frozenset({"en"}))

    def transcribe(self, _pcm: Samples, _language: str | None, _progress: Progress) -> AsrResult:
        return AsrResult("en", 1.0, (), 0.0, 0.0)

    translate_to_english = transcribe


class Echo:
    """A translator that says the same again."""

    kind, name, version, preference, size = "mt", "echo", "1", 50, 0

    def __init__(self, _options: EngineOptions) -> None:
        self.in_memory = False

    available = staticmethod(lambda: None)
    device = staticmethod(lambda: "cpu")
    digest = staticmethod(lambda: "2" * 64)
    memory, load, loaded, unload = Tone.memory, Tone.load, Tone.loaded, Tone.unload
    pairs = staticmethod(lambda: frozenset({("en", "eo")}))
    cost = staticmethod(lambda _source, _target: 1.0)

    def translate(self, texts: list[str], _source: str, _target: str) -> list[MtText]:
        return [MtText(text) for text in texts]


@pytest.fixture
def options(tmp_path) -> EngineOptions:
    return EngineOptions(models_dir=tmp_path)


def test_the_preferred_voice_that_speaks_the_language_is_chosen(options):
    engines = Engines(options, {"tts": [FastTone, Tone, PreferredTone]})

    assert engines.tts("eo").name == "preferred-tone"
    assert engines.tts("en").name == "tone"


def test_a_fast_voice_comes_first_only_when_fast_is_asked_for(options):
    engines = Engines(options, {"tts": [Tone, FastTone]})

    assert engines.tts("en", fast=True).name == "fast-tone"
    assert engines.tts("en").name == "tone"
    assert engines.tts("eo", fast=True).name == "tone"


def test_an_engine_that_cannot_be_used_is_passed_over(options):
    assert Engines(options, {"tts": [BrokenTone, Tone]}).tts("en").name == "tone"


def test_the_refusal_says_what_is_missing(options):
    with pytest.raises(EngineError, match=r"no tts engine speaks 'en' \(broken-tone: its power is off: switch it on\)"):
        Engines(options, {"tts": [BrokenTone]}).tts("en")
    with pytest.raises(EngineError, match="no asr engine recognises speech"):
        Engines(options, {}).asr()


def test_choosing_loads_nothing_and_gives_the_same_engine_each_time(options):
    engines = Engines(options, {"tts": [Tone]})

    assert engines.tts("en") is engines.tts("eo")
    assert engines.loaded() == []


def test_a_job_that_names_a_device_gets_an_engine_for_it_and_weights_load_once_per_device(options):
    engines = Engines(options, {"tts": [CudaTone]})

    assert engines.tts("en", device="cuda").device() == "cuda"
    assert engines.tts("en", device="cpu") is engines.tts("en", device="auto")
    assert engines.tts("en", device="cpu") is not engines.tts("en", device="cuda")


def test_the_least_recently_used_engine_makes_room(options):
    engines = Engines(options, {"asr": [Ear], "tts": [Tone, FastTone], "mt": [Echo]}, max_loaded=2)
    engines.load(engines.asr())
    engines.load(engines.tts("en"))
    engines.load(engines.asr())

    engines.load(engines.tts("en", fast=True))

    assert engines.loaded() == ["ear", "fast-tone"]
    engines.unload()
    assert engines.loaded() == []


def test_engines_together_stay_within_the_memory_that_they_may_take(options):
    engines = Engines(replace(options, memory_bytes=450), {"asr": [Ear], "tts": [Tone, FastTone]}, max_loaded=9)
    engines.load(engines.tts("en"))
    engines.load(engines.asr())
    assert engines.loaded() == ["tone", "ear"]

    engines.load(engines.tts("en", fast=True))

    assert engines.loaded() == ["ear", "fast-tone"]


def test_an_engine_larger_than_the_bound_is_loaded_alone(options):
    engines = Engines(replace(options, memory_bytes=200), {"asr": [Ear], "tts": [Tone]})
    engines.load(engines.tts("en"))

    engines.load(engines.asr())

    assert engines.loaded() == ["ear"]


def test_choosing_an_engine_unloads_nothing(options):
    engines = Engines(replace(options, memory_bytes=100), {"asr": [Ear], "tts": [Tone], "mt": [Echo]}, max_loaded=1)
    engines.load(engines.tts("en"))

    engines.asr()
    engines.mt()

    assert engines.loaded() == ["tone"]


def test_an_engine_to_avoid_is_passed_over_while_there_is_another(options):
    engines = Engines(options, {"asr": [Ear], "tts": [Tone, FastTone]})

    assert engines.tts("en", avoid=["tone"]).name == "fast-tone"
    assert engines.tts("en", avoid=["tone", "fast-tone"]).name == "tone"
    assert engines.asr(avoid=["ear"]).name == "ear"


def test_each_size_of_a_recogniser_is_an_engine_of_its_own(options):
    engines = Engines(options, {"asr": [Ear]})
    small, base = engines.asr(model="whisper-small"), engines.asr(model="whisper-base")

    assert (small.options.asr_model, base.options.asr_model) == ("whisper-small", "whisper-base")
    assert engines.asr() is base
    assert engines.asr("cpu", model="whisper-small") is small


def test_translators_are_given_in_order_of_preference_without_the_unusable(options):
    class Better(Echo):
        name, preference = "better", 10

    class Absent(Echo):
        name = "absent"
        available = staticmethod(lambda: "not installed")

    engines = Engines(options, {"mt": [Absent, Echo, Better]})

    assert [engine.name for engine in engines.mt()] == ["better", "echo"]


def test_statuses_tell_of_every_engine_what_it_can_do_or_why_not(options):
    statuses = {each.name: each for each in Engines(options, {"tts": [BrokenTone], "mt": [Echo]}).statuses()}

    assert statuses["echo"].available
    assert statuses["echo"].languages == ["en", "eo"]
    assert not statuses["broken-tone"].available
    assert statuses["broken-tone"].reason == "its power is off: switch it on"


def test_what_an_event_says_of_an_engine_is_known_before_it_is_loaded(options):
    used = [engine_used(engine(options)) for engine in (Hibari, Kokoro)]

    assert [each.name for each in used] == ["hibari", "kokoro"]
    assert used[0].digest == "5f70741d4e900f4e85d0037498736cc1b3e1b9a63a13546a5da1e63abf4fccd8"
    assert all(each.version and each.device == "cpu" and len(each.digest) == 64 for each in used)


def test_the_setting_for_a_fast_voice_knows_the_fast_voices():
    voices = [entry.load() for entry in entry_points(group="dubline.engines.tts")]

    assert {f"tts:{voice.name}" for voice in voices if voice.fast} == FAST_VOICES


def test_the_memory_of_an_engine_is_known_before_it_is_loaded(options):
    hibari, kokoro, whisper = (engine(options).memory() for engine in (Hibari, Kokoro, Whisper))

    assert 7_900_000 < hibari < kokoro < whisper < 1 << 30


def test_without_any_model_only_what_ships_in_a_package_is_usable(options):
    statuses = Engines(options, {"asr": [Whisper], "tts": [Kokoro, Hibari]}).statuses()

    assert [each.name for each in statuses if each.available] == ["hibari"]
    assert all("services.worker.models.fetch" in each.reason for each in statuses if not each.available)


@pytest.mark.parametrize("engine", [Hibari, Kokoro])
def test_every_spoken_language_has_a_default_voice_and_others_are_refused(options, engine):
    voice = engine(options)

    for language in voice.languages():
        assert voice.default_voice(language) == voice.voices(language)[0]
    assert voice.voices("xx") == []
    with pytest.raises(EngineError, match="xx"):
        voice.default_voice("xx")


@pytest.mark.parametrize("engine", [Hibari, Kokoro])
@pytest.mark.parametrize(
    ("text", "language", "voice", "rate"),
    [
        ("Secret", "xx", "a", 1.0),
        ("Secret", "en", "nobody", 1.0),
        ("Secret", "en", None, 5.0),
        ("...", "en", None, 1.0),
    ],
)
def test_what_cannot_be_spoken_is_refused_without_loading_or_repeating_the_text(
    options, engine, text, language, voice, rate
):
    tts = engine(options)

    with pytest.raises(EngineError) as refusal:
        tts.synthesize(text, language, voice or tts.default_voice("en"), rate)

    assert text not in str(refusal.value)
    assert not tts.loaded()


def test_kokoro_speaks_six_languages_with_voices_of_their_own():
    initials = {"en": "ab", "es": "e", "fr": "f", "hi": "h", "it": "i", "pt": "p"}

    assert set(LANGUAGES) == set(initials)
    for language, speech in LANGUAGES.items():
        assert all(voice[0] in initials[language] for voice in speech.voices)
