"""A profile in a form, and in words."""

import pytest

from services.library.pages.profiles import FIELDS, SETTING_NAMES, profile_words, setting_name
from shared.events.envelope import Value
from shared.job.modes import ALLOWED, validate_overrides


def test_every_setting_has_a_name_and_a_field_in_the_order_of_the_modes() -> None:
    assert list(SETTING_NAMES) == list(ALLOWED) == [field.name for field in FIELDS]


def test_a_form_offers_every_value_that_is_allowed_and_no_other() -> None:
    for field in FIELDS:
        numbers = range(field.lowest, field.highest + 1)
        offered = tuple(value for value, _ in field.choices) if field.choices else tuple(numbers)
        assert offered == ALLOWED[field.name], field.name
        assert not any(validate_overrides({field.name: value}) for value in offered)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ({}, []),
        ({"asr_beam": 1, "mix": "legacy"}, ["Beams of the recogniser: 1", "Original under the voice: legacy"]),
        ({"fast_voice": False, "timing_fit": True}, ["Prefer the fast voice: no", "Speak long lines faster: yes"]),
        ({"voice_mode": "single", "device": "cuda"}, ["Voices: one for all", "Device: GPU"]),
        ({"of_another_release": 2.5}, ["Of another release: 2.5"]),
    ],
)
def test_a_profile_in_words(profile: dict[str, Value], expected: list[str]) -> None:
    assert profile_words(profile) == expected


def test_a_setting_that_is_unknown_here_is_named_by_itself() -> None:
    assert setting_name("of_another_release") == "Of another release"
