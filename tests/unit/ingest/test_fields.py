"""The fields of a submission: what is refused, and what makes two submissions the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.fields import Submission, fingerprint, parse_body, parse_form, trace_parent
from shared.problems import Problem


def fields(**values: str) -> Submission:
    return parse_form({"tgt_lang": "pt"} | values, None)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"tgt_lang": "portuguese"}, "invalid_language"),
        ({"tgt_lang": "pt-BR"}, "invalid_language"),
        ({"tgt_lang": "auto"}, "invalid_language"),
        ({"tgt_lang": ""}, "invalid_language"),
        ({"tgt_lang": "p>"}, "invalid_language"),
        ({"src_lang": "e.*"}, "invalid_language"),
        ({"mode": "ultra"}, "invalid_request"),
        ({"device": "tpu"}, "invalid_request"),
        ({"idempotency_key": "k" * 201}, "invalid_request"),
        ({"idempotency_key": ""}, "invalid_request"),
        ({"target_lang": "pt"}, "invalid_request"),
        ({"priority": "50"}, "invalid_request"),
        ({"priority": "high"}, "invalid_request"),
        ({"degrade": "perhaps"}, "invalid_request"),
        ({"overrides": "{"}, "invalid_request"),
        ({"overrides": "[]"}, "invalid_request"),
        ({"overrides": '{"no_such_setting": 1}'}, "invalid_request"),
        ({"overrides": '{"asr_beam": 1000}'}, "invalid_request"),
        ({"overrides": '{"asr_beam": NaN}'}, "invalid_request"),
        ({"overrides": '{"asr_beam": [1]}'}, "invalid_request"),
        ({"overrides": "[" * 60_000}, "invalid_request"),
        ({"tags": "a," * 20 + "b," + ",".join("cdefghijklmnopqrstu")}, "invalid_tags"),
        ({"tags": "x" * 33}, "invalid_tags"),
        ({"tags": "[1]"}, "invalid_tags"),
        ({"tags": "["}, "invalid_request"),
        ({"visibility": "all"}, "invalid_request"),
        ({"project": "One", "project_name": "Two"}, "invalid_request"),
    ],
)
def test_bad_fields_are_refused(values: dict[str, str], code: str) -> None:
    with pytest.raises(Problem) as refusal:
        fields(**values)
    assert (refusal.value.status, refusal.value.code) == (422, code)
    assert refusal.value.detail


def test_defaults() -> None:
    plain = parse_form({}, None)
    assert (plain.tgt_lang, plain.src_lang, plain.mode, plain.device) == ("en", "auto", "medium", "auto")
    assert (plain.degrade, plain.priority, plain.overrides) == (True, 100, {})
    assert (plain.named_project, plain.project_id, plain.preset_id) == (None, None, None)
    assert (plain.tags, plain.visibility) == ([], "private")


def test_a_form_says_the_same_as_json() -> None:
    form = fields(degrade="false", priority="110", overrides='{"asr_beam": 2, "timing_fit": false}', tags="A, b,")
    values = {"degrade": False, "priority": 110, "overrides": {"asr_beam": 2, "timing_fit": False}, "tags": ["a", "b"]}
    body = parse_body(values | {"tgt_lang": "pt", "video_path": "x"}, None)
    assert form.model_dump() == body.model_dump(exclude={"video_path"})
    assert fields(tags='["a,b"]').tags == ["a,b"]
    assert form.overrides["timing_fit"] is False


@pytest.mark.parametrize(
    "values", [{"degrade": 1}, {"priority": "100"}, {"overrides": "{}"}, {"tags": "a,b"}, {"tags": [1]}, {"mode": 1}]
)
def test_json_has_types_of_its_own_and_is_not_read_as_a_form(values: dict[str, Any]) -> None:
    with pytest.raises(Problem):
        parse_body({"video_path": "x"} | values, None)


def test_an_empty_choice_of_a_form_is_none() -> None:
    chosen = fields(project_id="", project="", preset_id="", tags="")
    assert (chosen.project_id, chosen.named_project, chosen.preset_id, chosen.tags) == (None, None, None, [])


def test_the_project_may_be_named_twice_but_not_differently() -> None:
    assert fields(project="Films", project_name="FILMS").named_project == "Films"
    assert fields(project_name="Films").named_project == "Films"


def test_public_is_shared() -> None:
    assert fields(visibility="public").visibility == "shared"


@pytest.mark.parametrize(
    "change",
    [
        {"degrade": "false"},
        {"priority": "110"},
        {"overrides": '{"asr_beam": 2}'},
        {"project_id": "proj_0123456789abcdef"},
        {"project": "Films"},
        {"preset_id": "preset_0123456789abcdef"},
        {"tags": "a"},
        {"visibility": "shared"},
        {"mode": "medium"},  # what is sent wins over a preset, so it asks for more than the default
    ],
)
def test_the_fingerprint_covers_how_a_job_is_to_run(change: dict[str, str]) -> None:
    assert fingerprint(fields(**change), "sha256:ab", "t") != fingerprint(fields(), "sha256:ab", "t")


def test_the_header_stands_for_the_field_and_must_not_differ_from_it() -> None:
    assert parse_form({}, "key").idempotency_key == "key"
    assert parse_form({"idempotency_key": "key"}, "key").idempotency_key == "key"
    with pytest.raises(Problem):
        parse_form({"idempotency_key": "other"}, "key")


def test_a_path_is_needed_where_a_path_is_asked_for() -> None:
    with pytest.raises(Problem):
        parse_body({"tgt_lang": "pt"}, None)


languages = st.sampled_from(["en", "pt", "de"])
asked = st.tuples(languages, st.sampled_from(["auto", "ja"]), st.sampled_from(["low", "high"]), st.text(max_size=4))


@given(asked, asked)
def test_fingerprints_are_equal_exactly_for_equal_requests(one: tuple[str, ...], two: tuple[str, ...]) -> None:
    def of(request: tuple[str, ...]) -> str:
        target, source, mode, title = request
        return fingerprint(fields(tgt_lang=target, src_lang=source, mode=mode), "sha256:ab", title)

    assert (of(one) == of(two)) == (one == two)


def test_the_fingerprint_covers_the_content_but_not_the_key() -> None:
    assert fingerprint(fields(idempotency_key="a"), "sha256:ab", "t") == fingerprint(fields(), "sha256:ab", "t")
    assert fingerprint(fields(), "sha256:ab", "t") != fingerprint(fields(), "sha256:cd", "t")


def test_a_trace_parent_is_passed_on_only_if_it_is_one() -> None:
    good = f"00-{'a' * 32}-{'b' * 16}-01"
    assert trace_parent(good) == good
    assert trace_parent("00-x\r\nevil: 1") is None
    assert trace_parent(None) is None
