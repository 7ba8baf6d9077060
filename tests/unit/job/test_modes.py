"""What a mode means on which hardware, and why; and that nothing is shown which no stage applies."""

import ast
import inspect
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.engines.protocols import DEFAULT_ASR_MODEL
from services.worker.engines.registry import KINDS
from services.worker.execution import STAGES
from services.worker.models.manifest import load_lock
from services.worker.stages import base
from shared.events.envelope import Value
from shared.events.names import Device, Mode, Stage
from shared.events.types import Setting
from shared.job.modes import (
    ALLOWED,
    ASR_MODELS,
    DEFAULTS,
    FAST_VOICES,
    MADE_SMALLER,
    STAGE_SETTINGS,
    TABLE,
    Hardware,
    command_settings,
    effective,
    made_smaller,
    validate_overrides,
)

NOTHING = Hardware()
DEFAULT_SET = Hardware(
    models=frozenset({"whisper-base", "kokoro"}),
    engines=frozenset({"asr:whisper", "mt:apertium", "mt:bergamot", "tts:hibari", "tts:kokoro"}),
)
EVERYTHING = Hardware(
    gpu=True,
    models=frozenset(ASR_MODELS),
    engines=frozenset({"diarize:pyannote", "separate:demucs", "clone:any", *FAST_VOICES}),
)
MODES = get_args(Mode)

modes = st.sampled_from(MODES)
devices = st.sampled_from(get_args(Device))
choices = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in ALLOWED.items()})
hardwares = st.builds(
    Hardware,
    st.booleans(),
    st.frozensets(st.sampled_from(ASR_MODELS)),
    st.frozensets(st.sampled_from([f"{kind}:x" for kind in KINDS] + sorted(FAST_VOICES))),
)


def plain(settings: dict[str, Setting]) -> dict[str, Value]:
    return {name: setting.value for name, setting in settings.items()}


@pytest.mark.parametrize("mode", MODES)
def test_where_everything_is_there_a_mode_is_its_row_of_the_table(mode: Mode) -> None:
    settings = effective(mode, "auto", {}, EVERYTHING)
    assert plain(settings) == {name: values[mode] for name, values in TABLE.items()}
    assert {setting.reason for setting in settings.values()} == {f"mode:{mode}"}


def test_each_thing_that_is_missing_falls_back_and_says_so() -> None:
    settings = effective("high", "cuda", {}, DEFAULT_SET)
    assert {name: (s.value, s.reason) for name, s in settings.items() if s.reason.startswith("fallback:")} == {
        "asr_model": (
            "whisper-base",
            "fallback:no_gpu,model_missing:whisper-medium,model_missing:whisper-small",
        ),
        "device": ("cpu", "fallback:no_gpu"),
        "diarizer": ("off", "fallback:pyannote_missing"),
        "separation": ("off", "fallback:demucs_missing"),
        "voice_mode": ("single", "fallback:no_cloning_engine"),
    }


def test_a_fast_voice_falls_back_where_there_is_none() -> None:
    assert effective("low", "auto", {}, DEFAULT_SET)["fast_voice"].value is True
    assert effective("low", "auto", {}, NOTHING)["fast_voice"] == Setting(value=False, reason="fallback:no_fast_voice")


def test_the_largest_recogniser_needs_a_gpu_unless_a_user_insists() -> None:
    no_gpu = Hardware(models=frozenset(ASR_MODELS))
    on_cpu = Hardware(gpu=True, models=frozenset(ASR_MODELS))
    insisting = {"asr_model": "whisper-large-v3"}
    assert effective("high", "auto", {}, no_gpu)["asr_model"].reason == "fallback:no_gpu"
    assert effective("high", "cpu", {}, on_cpu)["asr_model"].reason == "fallback:device_cpu"
    assert effective("high", "auto", insisting, no_gpu)["asr_model"].value == "whisper-large-v3"


def test_a_missing_recogniser_is_replaced_by_the_next_smaller_one_else_by_a_larger_one() -> None:
    for present, used in [({"whisper-base", "whisper-medium"}, "whisper-base"), ({"whisper-medium"}, "whisper-medium")]:
        settings = effective("low", "auto", {}, Hardware(models=frozenset(present)))
        assert settings["asr_model"].value == used
        assert "model_missing:whisper-small" in settings["asr_model"].reason


def test_a_user_s_choice_wins_over_the_mode_and_is_called_an_override() -> None:
    settings = effective("low", "auto", {"mix": "enhanced", "asr_beam": 8}, EVERYTHING)
    assert settings["mix"] == Setting(value="enhanced", reason="override")
    assert settings["asr_beam"] == Setting(value=8, reason="override")
    assert effective("low", "cpu", {}, EVERYTHING)["device"] == Setting(value="cpu", reason="override")


def test_a_choice_that_cannot_be_met_falls_back_like_a_mode_s() -> None:
    settings = effective("medium", "auto", {"separation": "demucs", "voice_mode": "clone"}, DEFAULT_SET)
    assert settings["separation"] == Setting(value="off", reason="fallback:demucs_missing")
    assert settings["voice_mode"] == Setting(value="single", reason="fallback:no_cloning_engine")


def test_wrong_choices_are_told_by_name_with_what_is_possible() -> None:
    assert validate_overrides({"mix": "legacy", "asr_beam": 10, "timing_fit": False}) == []
    unknown, beam, mix = validate_overrides({"colour": "red", "asr_beam": 11, "mix": "loud"})
    assert unknown.startswith("there is no setting 'colour'; the settings are asr_model, ")
    assert beam == "asr_beam cannot be 11; it can be 1 to 10"
    assert mix == "mix cannot be 'loud'; it can be 'enhanced', 'legacy'"


@pytest.mark.parametrize(("name", "value"), [("asr_beam", True), ("asr_beam", 5.0), ("timing_fit", 1), ("mix", False)])
def test_a_number_is_no_yes_and_a_yes_is_no_number(name: str, value: Value) -> None:
    assert len(validate_overrides({name: value})) == 1
    assert effective("high", "auto", {name: value}, EVERYTHING)[name].reason == "mode:high"


@given(modes, devices, choices, hardwares)
def test_every_setting_has_an_allowed_value_and_a_reason(
    mode: Mode, device: Device, overrides: dict[str, Value], hardware: Hardware
) -> None:
    settings = effective(mode, device, overrides, hardware)
    assert list(settings) == list(TABLE)
    assert validate_overrides(plain(settings)) == []
    for name, setting in settings.items():
        source, _, detail = setting.reason.partition(":")
        assert source in {"mode", "override", "fallback"}
        assert (source == "override") == (not detail)
        if source == "override":
            assert setting.value == overrides.get(name, device)


@given(modes, devices, choices, hardwares)
def test_d1_a_setting_that_no_stage_reads_shows_only_what_workers_do_anyway(
    mode: Mode, device: Device, overrides: dict[str, Value], hardware: Hardware
) -> None:
    """The hardware tells of the kinds of engines that the registry knows; it has none that could do more."""
    settings = plain(effective(mode, device, overrides, hardware))
    read = {name for names in STAGE_SETTINGS.values() for name in names}
    assert {name: value for name, value in settings.items() if name not in read} == {
        "diarizer": "off",
        "voice_mode": "single",
        "separation": "off",
    }


def settings_read_by(module: ModuleType) -> set[str]:
    """Return the names that a stage's module mentions as words: those of settings among them."""
    words = {node.value for node in ast.walk(tree(module)) if isinstance(node, ast.Constant)}
    helpers = {"device"} if "device_of(" in inspect.getsource(module) else set()
    return (words | helpers) & set(TABLE)


def tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


@pytest.mark.parametrize("stage", get_args(Stage))
def test_d1_each_stage_reads_exactly_the_settings_that_its_command_carries(stage: Stage) -> None:
    assert settings_read_by(STAGES[stage]) == set(STAGE_SETTINGS[stage])
    assert set(command_settings(effective("high", "auto", {}, EVERYTHING), stage)) == set(STAGE_SETTINGS[stage])


@pytest.mark.parametrize("file", sorted(Path(base.__file__).parent.glob("*.py")), ids=lambda file: file.stem)
def test_no_stage_looks_at_the_job_s_mode_device_or_overrides(file: Path) -> None:
    attributes = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
    assert attributes.isdisjoint({"mode", "overrides"})
    assert "job.device" not in file.read_text()


@pytest.mark.parametrize(
    ("stage", "times", "changes"),
    [
        ("transcribe", 0, {}),
        ("transcribe", 1, {"asr_beam": 1}),
        ("transcribe", 2, {"asr_beam": 1, "asr_model": "whisper-small"}),
        ("transcribe", 3, {"asr_beam": 1, "asr_model": "whisper-small", "device": "cpu"}),
        ("translate", 1, {"asr_beam": 1, "mt_batch": 8}),
        ("tts", 1, {}),
        ("tts", 2, {"fast_voice": True}),
        ("tts", 3, {"fast_voice": True, "device": "cpu"}),
        ("mix", 3, {}),
    ],
)
def test_after_running_out_of_memory_a_stage_gets_smaller_step_by_step(
    stage: Stage, times: int, changes: dict[str, Value]
) -> None:
    settings = effective("high", "auto", {}, EVERYTHING)
    before = command_settings(settings, stage)
    after = command_settings(settings, stage, times, {"whisper-large-v3", "whisper-small"})
    told = str(after.pop(MADE_SMALLER, ""))
    assert after == before | changes
    assert told == ", ".join(f"{name} {value} instead of {before[name]}" for name, value in sorted_as(after, changes))


def sorted_as(order: dict[str, Value], changes: dict[str, Value]) -> list[tuple[str, Value]]:
    return [(name, changes[name]) for name in order if name in changes]


def test_without_a_smaller_model_the_recogniser_moves_to_the_cpu() -> None:
    settings = effective("high", "auto", {}, EVERYTHING)
    assert command_settings(settings, "transcribe", 2)["device"] == "cpu"


@given(modes, devices, choices, hardwares, st.sampled_from(get_args(Stage)), st.integers(0, 5))
def test_a_smaller_command_is_never_larger_and_always_allowed(
    mode: Mode, device: Device, overrides: dict[str, Value], hardware: Hardware, stage: Stage, times: int
) -> None:
    settings = effective(mode, device, overrides, hardware)
    sent = command_settings(settings, stage, times, hardware.models)
    told = sent.pop(MADE_SMALLER, None)
    assert validate_overrides(sent) == []
    assert (told is not None) == (sent != command_settings(settings, stage))
    for change in made_smaller(settings, stage, times, hardware.models):
        if change.name == "asr_model":
            assert ASR_MODELS.index(str(change.used)) > ASR_MODELS.index(str(change.wanted))
        elif isinstance(change.used, int) and not isinstance(change.used, bool):
            assert change.used < int(change.wanted)


def test_a_job_without_recorded_settings_runs_as_medium_on_the_default_set() -> None:
    assert dict(DEFAULTS) == plain(effective("medium", "auto", {}, NOTHING))
    assert command_settings({}, "transcribe") == {"asr_model": DEFAULT_ASR_MODEL, "asr_beam": 5, "device": "cpu"}
    assert load_lock().model(DEFAULT_ASR_MODEL)


def test_the_page_about_modes_shows_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "modes.md").read_text()
    rows = {
        cells[0].strip("`"): cells[1:4]
        for line in page.splitlines()
        if line.startswith("| `") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) > 3
    }
    assert rows == {name: [spelled(values[mode]) for mode in MODES] for name, values in TABLE.items()}
    for name, values in ALLOWED.items():
        choices_of = f"1 to {values[-1]}" if type(values[0]) is int else ", ".join(map(spelled, values))
        assert f"**`{name}`** ({choices_of})" in page


def spelled(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
