"""A profile in a form: which settings it offers, and what a row says of one. Pure.

Lives here: names of the settings and of their values. Does not live here: what a setting may be (`shared.job.modes`),
HTML (`templates`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from services.library.pages.words import DEVICE_NAMES
from shared.events.envelope import Value
from shared.job.modes import ALLOWED

SETTING_NAMES: Mapping[str, str] = {
    "asr_model": "Recogniser",
    "asr_beam": "Beams of the recogniser",
    "diarizer": "Telling speakers apart",
    "mt_batch": "Lines translated at once",
    "voice_mode": "Voices",
    "fast_voice": "Prefer the fast voice",
    "timing_fit": "Speak long lines faster",
    "separation": "Keep the music",
    "mix": "Original under the voice",
    "device": "Device",
}
"""`docs/modes.md` says what each one does."""

_VALUE_NAMES: Mapping[tuple[str, Value], str] = {
    ("voice_mode", "clone"): "each speaker's own",
    ("voice_mode", "single"): "one for all",
    **{("device", name): shown for name, shown in DEVICE_NAMES.items()},
}


@dataclass(frozen=True)
class ProfileField:
    """One setting: `choices` are values with their names; a number has none, and lies between the other two."""

    name: str
    label: str
    choices: tuple[tuple[Value, str], ...] = ()
    lowest: int = 0
    highest: int = 0


def _field(name: str, values: tuple[Value, ...]) -> ProfileField:
    label = setting_name(name)
    first, last = values[0], values[-1]
    if type(first) is int and type(last) is int:  # not bool, which is an int as well
        return ProfileField(name, label, lowest=first, highest=last)
    return ProfileField(name, label, tuple((value, _value_name(name, value)) for value in values))


def setting_name(name: str) -> str:
    """Return what a setting is called; one that is unknown here by its own name in words."""
    return SETTING_NAMES.get(name) or name.replace("_", " ").capitalize()


def _value_name(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _VALUE_NAMES.get((name, value), str(value))


def profile_words(profile: Mapping[str, Value]) -> list[str]:
    """Return what a profile changes, in words: Beams of the recogniser: 1."""
    return [f"{setting_name(name)}: {_value_name(name, value)}" for name, value in profile.items()]


FIELDS = tuple(_field(name, values) for name, values in ALLOWED.items())
"""What a form offers, in the order of the modes' table."""
