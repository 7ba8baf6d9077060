"""What a submission says about what is kept: every spelling, which word wins, and what is refused."""

from typing import Any

import pytest

from services.ingest.fields import fingerprint, parse_body, parse_form
from services.ingest.keeping import KeepingFields, keeping_of
from services.ingest.settings import IngestSettings
from shared.keeping import KEEP_ALL, PRIVATE, Keeping
from shared.problems import Problem

TRUE = ["on", "true", "1", "yes", " On "]
UNSAID = ["", "null"]
FALSE = ["off", "false", "0", "no", "OFF"]


def kept(installation: dict[str, Any] | None = None, **said: Any) -> Keeping:
    return keeping_of(KeepingFields(**said), KeepingFields(**installation or {}))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, KEEP_ALL),
        ({"cache_policy": "balanced"}, Keeping(cache="balanced")),
        ({"cache_policy": " Minimal"}, Keeping(cache="minimal")),
        ({"no_store_transcript": True}, Keeping(transcript=False)),
        ({"no_store_source_audio": True}, Keeping(source_audio=False)),
        ({"minimal_artifacts": True}, Keeping(cache="minimal", logs=False)),
        ({"minimal_artifacts": True, "cache_policy": "full"}, Keeping(cache="minimal", logs=False)),
        ({"privacy": True}, PRIVATE),
        ({"privacy_mode": True, "no_store_transcript": False, "cache_policy": "full"}, PRIVATE),
        ({"privacy": False, "no_store_transcript": True}, Keeping(transcript=False)),
    ],
)
def test_what_the_fields_amount_to(said: dict[str, Any], expected: Keeping) -> None:
    assert kept(**said) == expected


def test_the_installation_decides_what_a_request_does_not_say() -> None:
    usual = {"cache_policy": "minimal", "no_store_transcript": True}
    assert kept(usual) == Keeping(cache="minimal", transcript=False)
    assert kept(usual, cache_policy="full") == Keeping(transcript=False)
    assert kept(usual, no_store_transcript="0", cache_policy="") == Keeping(cache="minimal")
    assert kept({"privacy_mode": True}) == PRIVATE
    assert kept({"privacy_mode": True}, no_store_transcript=False) == PRIVATE
    assert kept({"privacy_mode": True}, privacy="off") == KEEP_ALL
    assert kept({"privacy_mode": True}, privacy_mode=False) == KEEP_ALL


def test_the_installation_is_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert keeping_of(KeepingFields(), IngestSettings().keeping) == KEEP_ALL
    monkeypatch.setenv("CACHE_POLICY", "balanced")
    monkeypatch.setenv("NO_STORE_SOURCE_AUDIO", "1")
    assert keeping_of(KeepingFields(), IngestSettings().keeping) == Keeping(cache="balanced", source_audio=False)
    monkeypatch.setenv("PRIVACY_MODE", "on")
    assert keeping_of(KeepingFields(), IngestSettings().keeping) == PRIVATE


@pytest.mark.parametrize("name", ["privacy", "privacy_mode", "no_store_transcript", "minimal_artifacts"])
def test_a_form_and_an_old_program_have_many_words_for_one_switch(name: str) -> None:
    for word, said in [
        *dict.fromkeys(TRUE, True).items(),
        *dict.fromkeys(FALSE, False).items(),
        *dict.fromkeys(UNSAID).items(),
    ]:
        assert getattr(parse_form({name: word}, None), name) is said
        assert getattr(parse_body({name: word, "video_path": "x"}, None), name) is said
    for json_value in (True, False, None):
        assert getattr(parse_body({name: json_value, "video_path": "x"}, None), name) is json_value


@pytest.mark.parametrize(
    "values",
    [
        {"cache_policy": "none"},
        {"cache_policy": 1},
        {"privacy": "perhaps"},
        {"privacy": 1},
        {"no_store_transcript": []},
        {"privacy": True, "privacy_mode": False},
        {"retention_days": 3},
    ],
)
def test_what_is_no_answer_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(Problem) as refusal:
        parse_body({"video_path": "x"} | values, None)
    assert (refusal.value.status, refusal.value.code) == (422, "invalid_request")


def test_two_submissions_that_keep_differently_are_not_the_same() -> None:
    said = [{}, {"privacy": "on"}, {"no_store_transcript": "on"}, {"cache_policy": "minimal"}]
    assert len({fingerprint(parse_form(each, None), "sha256:x", "film.mp4") for each in said}) == len(said)
