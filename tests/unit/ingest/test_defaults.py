"""What a submission gets where it says nothing: its preset's word, then its user's settings, then the system's."""

from typing import Any

import pytest

from services.ingest.defaults import profile_hash, with_defaults
from services.ingest.fields import Submission, parse_form
from shared.events.access import UserSettingsSavedData
from shared.events.library import PresetSavedData, ProjectSavedData
from shared.problems import Problem
from tests.factories import NOW


def request(**values: str) -> Submission:
    return parse_form(values, None)


def preset(**values: Any) -> PresetSavedData:
    return PresetSavedData(owner="local", name="a preset", created_at=NOW, **values)


def project(**profile: Any) -> ProjectSavedData:
    return ProjectSavedData(owner="local", name="a project", profile=profile, created_at=NOW)


def own(**values: Any) -> UserSettingsSavedData:
    return UserSettingsSavedData(**values)


def said(fields: Submission) -> tuple[str, str, str, str]:
    return fields.mode, fields.device, fields.src_lang, fields.tgt_lang


def test_where_nobody_says_anything_the_system_does() -> None:
    assert said(with_defaults(request(), None)) == ("medium", "auto", "auto", "en")
    assert said(with_defaults(request(), None, project(), own())) == ("medium", "auto", "auto", "en")


def test_a_users_settings_say_what_neither_the_request_nor_a_preset_does() -> None:
    mine = own(mode="low", device="cpu", src_lang="ja", tgt_lang="pt")
    assert said(with_defaults(request(), None, None, mine)) == ("low", "cpu", "ja", "pt")
    assert said(with_defaults(request(mode="medium", tgt_lang="en"), None, None, mine)) == (
        "medium", "cpu", "ja", "en",
    )  # fmt: skip
    assert said(with_defaults(request(), None, None, own(tgt_lang="pt"))) == ("medium", "auto", "auto", "pt")


def test_a_preset_says_only_what_the_request_does_not_and_wins_over_the_users_settings() -> None:
    given = preset(mode="low", device="cpu", src_lang="ja", tgt_lang="pt")
    mine = own(mode="high", device="cuda", src_lang="de", tgt_lang="fr")
    filled = with_defaults(request(tgt_lang="en", mode="medium"), given, None, mine)
    assert said(filled) == ("medium", "cpu", "ja", "en")


@pytest.mark.parametrize("written", [{"tgt_lang": "pt", "src_lang": "pt"}, {"tgt_lang": "PT", "src_lang": "pt "}])
def test_nothing_is_dubbed_into_its_own_language(written: dict[str, str]) -> None:
    with pytest.raises(Problem) as refusal:
        with_defaults(request(**written), None)
    assert (refusal.value.status, refusal.value.code) == (422, "same_language")


def test_a_default_may_make_a_request_senseless_and_another_one_sensible() -> None:
    for given, mine in ((preset(src_lang="pt", tgt_lang="en"), None), (None, own(src_lang="pt"))):
        with pytest.raises(Problem) as refusal:
            with_defaults(request(tgt_lang="pt"), given, None, mine)
        assert refusal.value.code == "same_language"
    assert with_defaults(request(src_lang="en"), preset(tgt_lang="pt")).tgt_lang == "pt"
    assert with_defaults(request(src_lang="en"), None, None, own(tgt_lang="pt")).tgt_lang == "pt"


def test_of_the_overrides_the_requests_win_then_the_presets_then_the_projects() -> None:
    filled = with_defaults(
        request(overrides='{"asr_beam": 1}'),
        preset(profile={"asr_beam": 2, "mix": "legacy"}),
        project(asr_beam=3, mix="enhanced", timing_fit=False),
    )
    assert filled.overrides == {"asr_beam": 1, "mix": "legacy", "timing_fit": False}
    assert with_defaults(request(), None, project(mix="legacy")).overrides == {"mix": "legacy"}
    assert with_defaults(request(), preset(profile={"mix": "legacy"})).overrides == {"mix": "legacy"}
    assert with_defaults(request(), preset(), project()).overrides == {}


def test_a_device_that_is_nearer_is_not_beaten_by_a_profile_that_is_farther() -> None:
    """The override `device` beats the field of this name: the order of the sources must hold all the same."""
    farther = project(device="cuda")
    assert with_defaults(request(), None, farther, own(device="cpu")).overrides == {"device": "cuda"}
    assert with_defaults(request(), preset(), farther).overrides == {"device": "cuda"}
    assert with_defaults(request(), preset(device="cpu"), farther).overrides == {}
    assert with_defaults(request(), preset(device="cpu", profile={"device": "cuda"})).overrides == {"device": "cuda"}
    for device in ("cpu", "auto"):
        asked = request(device=device)
        assert with_defaults(asked, preset(profile={"device": "cuda"}), farther).overrides == {}
    assert with_defaults(request(device="cpu", overrides='{"device": "cuda"}'), None, farther).overrides == {
        "device": "cuda"
    }


def test_the_hash_of_a_profile_is_of_what_it_says_and_not_of_how_it_is_written() -> None:
    hashed = profile_hash({"mix": "legacy", "asr_beam": 1})
    assert hashed == profile_hash({"asr_beam": 1, "mix": "legacy"})
    assert hashed == "9bfaf0ad3ce46983", 'the SHA-256 of {"asr_beam":1,"mix":"legacy"}, as any tool counts it'
    different = [{"mix": "legacy"}, {"mix": "legacy", "asr_beam": 2}, {"timing_fit": True}, {"asr_beam": 1}, {}]
    assert len({hashed, *map(profile_hash, different)}) == 1 + len(different)
