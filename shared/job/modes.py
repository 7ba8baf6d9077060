"""What a mode means: the effective settings of a job, each with the reason for its value.

Lives here: the table of the modes, a user's own choices over it, what falls back because this installation lacks it,
and how a stage gets smaller after it ran out of memory. Pure. Does not live here: finding out what there is
(heartbeats), and doing it (`services.worker.stages`), which read nothing but `StageCommand.settings`.

A setting that is shown is applied (predecessor fault D1): what no worker can do falls back, with its reason, to what it
does instead.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from shared.events.envelope import Value
from shared.events.names import Device, Mode, Stage
from shared.events.types import Setting

ASR_MODELS = ("whisper-large-v3", "whisper-medium", "whisper-small", "whisper-base")
"""Ids of the model lock, the largest first."""
LARGEST_ON_CPU = "whisper-medium"
"""A mode chooses nothing larger without a GPU; a user may."""
MAX_BEAM = 10
MAX_BATCH = 64
FAST_VOICES = frozenset({"tts:hibari"})
"""The engines that the setting `fast_voice` prefers, where they speak the language."""

TABLE: Mapping[str, Mapping[Mode, Value]] = {
    "asr_model": {"high": "whisper-large-v3", "medium": "whisper-medium", "low": "whisper-small"},
    "asr_beam": {"high": 5, "medium": 5, "low": 1},
    "diarizer": {"high": "pyannote", "medium": "off", "low": "off"},
    "mt_batch": {"high": 32, "medium": 32, "low": 32},
    "voice_mode": {"high": "clone", "medium": "single", "low": "single"},
    "fast_voice": {"high": False, "medium": False, "low": True},
    "timing_fit": {"high": True, "medium": True, "low": False},
    "separation": {"high": "demucs", "medium": "off", "low": "off"},
    "mix": {"high": "enhanced", "medium": "enhanced", "low": "legacy"},
    "device": {"high": "auto", "medium": "auto", "low": "auto"},
}
"""Every setting, and its value in each mode. `docs/modes.md` says what each one does."""

ALLOWED: Mapping[str, tuple[Value, ...]] = {
    "asr_model": ASR_MODELS,
    "asr_beam": tuple(range(1, MAX_BEAM + 1)),
    "diarizer": ("pyannote", "off"),
    "mt_batch": tuple(range(1, MAX_BATCH + 1)),
    "voice_mode": ("clone", "single"),
    "fast_voice": (True, False),
    "timing_fit": (True, False),
    "separation": ("demucs", "off"),
    "mix": ("enhanced", "legacy"),
    "device": ("auto", "cuda", "cpu"),
}
"""The values that each setting may have."""

STAGE_SETTINGS: Mapping[Stage, tuple[str, ...]] = {
    "audio": (),
    "transcribe": ("asr_model", "asr_beam", "device"),
    "translate": ("asr_model", "asr_beam", "mt_batch", "device"),  # some routes begin with the recogniser
    "tts": ("fast_voice", "timing_fit", "device"),
    "mix": ("mix",),
    "mux": (),
}
"""What each stage reads. A setting that is nowhere here has one value only once it has fallen back."""

MADE_SMALLER = "made_smaller"
"""Beside the settings in a command: what is smaller than the job's settings say, as words for an issue."""

SMALL_BATCH = 8


@dataclass(frozen=True)
class Hardware:
    """What the live workers have: a GPU, models by id, usable engines as `kind:name`."""

    gpu: bool = False
    models: frozenset[str] = frozenset()
    engines: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Smaller:
    """One setting of a command that is smaller than the job's, because the stage ran out of memory before."""

    name: str
    wanted: Value
    used: Value

    def __str__(self) -> str:
        return f"{self.name} {self.used} instead of {self.wanted}"


def validate_overrides(overrides: Mapping[str, Value]) -> list[str]:
    """Return what is wrong with a user's choices, as sentences; empty if nothing is."""
    problems = []
    for name, value in overrides.items():
        if name not in ALLOWED:
            problems.append(f"there is no setting {name!r}; the settings are {', '.join(ALLOWED)}")
        elif not _is_allowed(name, value):
            problems.append(f"{name} cannot be {value!r}; it can be {_choices(name)}")
    return problems


def effective(mode: Mode, device: Device, overrides: Mapping[str, Value], hardware: Hardware) -> dict[str, Setting]:
    """Return every setting of a job: the mode's, the user's over it, and what there is instead of what is missing.

    `device` is the job's; `auto` leaves it to the mode. A choice that `validate_overrides` finds fault with is ignored.
    """
    chosen: dict[str, Value] = {} if device == "auto" else {"device": device}
    chosen |= {name: value for name, value in overrides.items() if name in ALLOWED and _is_allowed(name, value)}
    settings = {
        name: Setting(value=chosen[name], reason="override")
        if name in chosen
        else Setting(value=values[mode], reason=f"mode:{mode}")
        for name, values in TABLE.items()
    }
    settings["device"] = _device(settings["device"], hardware)
    settings["asr_model"] = _asr_model(settings["asr_model"], settings["device"], hardware)
    has_cloning = any(engine.startswith("clone:") for engine in hardware.engines)
    for name, wish, present, instead, reason in (
        ("diarizer", "pyannote", "diarize:pyannote" in hardware.engines, "off", "pyannote_missing"),
        ("separation", "demucs", "separate:demucs" in hardware.engines, "off", "demucs_missing"),
        ("voice_mode", "clone", has_cloning, "single", "no_cloning_engine"),
        ("fast_voice", True, not FAST_VOICES.isdisjoint(hardware.engines), False, "no_fast_voice"),
    ):
        if settings[name].value == wish and not present:
            settings[name] = _fallen_back(instead, [reason])
    return settings


def command_settings(
    settings: Mapping[str, Setting], stage: Stage, out_of_memory: int = 0, models: Iterable[str] = ()
) -> dict[str, Value]:
    """Return what the command of a stage carries: the values that it reads, smaller after running out of memory.

    `out_of_memory` is how often it did; `models` are those present, for a smaller one than the job's. What was made
    smaller is told under `MADE_SMALLER`, so that the worker can flag it on the stage.
    """
    values = _plain(settings, stage)
    changes = made_smaller(settings, stage, out_of_memory, models)
    values |= {change.name: change.used for change in changes}
    return values | ({MADE_SMALLER: ", ".join(map(str, changes))} if changes else {})


def made_smaller(
    settings: Mapping[str, Setting], stage: Stage, out_of_memory: int, models: Iterable[str] = ()
) -> list[Smaller]:
    """Return what a stage's command changes after running out of memory that often.

    Once: no beam search, small batches. From the second time on also: the next smaller model each time, and the CPU
    where there is none.
    """
    before = _plain(settings, stage)
    after = dict(before)
    if out_of_memory >= 1:
        least: Mapping[str, int] = {"asr_beam": 1, "mt_batch": SMALL_BATCH}
        after |= {name: min(int(before[name]), value) for name, value in least.items() if name in before}
    for _ in range(out_of_memory - 1):
        after |= _smaller_model(after, frozenset(models)) or ({"device": "cpu"} if "device" in after else {})
    return [Smaller(name, before[name], value) for name, value in after.items() if value != before[name]]


def _smaller_model(values: Mapping[str, Value], models: frozenset[str]) -> dict[str, Value]:
    """Return the next smaller model that is present: of the recogniser, or the small voice."""
    if "asr_model" in values:
        smaller = ASR_MODELS[ASR_MODELS.index(str(values["asr_model"])) + 1 :]
        model = next((model for model in smaller if model in models), None)
        return {"asr_model": model} if model else {}
    return {"fast_voice": True} if values.get("fast_voice") is False else {}


def _plain(settings: Mapping[str, Setting], stage: Stage) -> dict[str, Value]:
    return {name: settings[name].value if name in settings else DEFAULTS[name] for name in STAGE_SETTINGS[stage]}


def _device(setting: Setting, hardware: Hardware) -> Setting:
    if setting.value == "cpu" or hardware.gpu:
        return setting
    return _fallen_back("cpu", ["no_gpu"])


def _asr_model(setting: Setting, device: Setting, hardware: Hardware) -> Setting:
    """Return the largest model that may and can run: first down from the wish, then up."""
    wish = str(setting.value)
    reasons = []
    if setting.reason != "override" and device.value == "cpu" and _larger(wish, LARGEST_ON_CPU):
        reasons.append("device_cpu" if hardware.gpu else "no_gpu")
        wish = LARGEST_ON_CPU
    place = ASR_MODELS.index(wish)
    for model in (*ASR_MODELS[place:], *reversed(ASR_MODELS[:place])):
        if model in hardware.models:
            return _fallen_back(model, reasons) if reasons else setting
        reasons.append(f"model_missing:{model}")
    return _fallen_back(ASR_MODELS[-1], reasons)  # nothing can run: the stage will say how to get the default model


def _fallen_back(value: Value, reasons: Iterable[str]) -> Setting:
    return Setting(value=value, reason=f"fallback:{','.join(reasons)}")


def _larger(model: str, other: str) -> bool:
    return ASR_MODELS.index(model) < ASR_MODELS.index(other)


def _is_allowed(name: str, value: Value) -> bool:
    """1 is not True here, although Python says so."""
    return any(type(value) is type(choice) and value == choice for choice in ALLOWED[name])


def _choices(name: str) -> str:
    choices = ALLOWED[name]
    if type(choices[0]) is int:
        return f"{choices[0]} to {choices[-1]}"
    return ", ".join(repr(choice) for choice in choices)


DEFAULTS: Mapping[str, Value] = MappingProxyType(
    {name: setting.value for name, setting in effective("medium", "auto", {}, Hardware()).items()}
)
"""Mode medium where nothing extra is installed: for a job whose start recorded no settings."""
