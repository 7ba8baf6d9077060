"""The fields of a submission: what is refused, and what makes two submissions the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.fields import PathSubmission, Submission, fingerprint, parse, trace_parent
from shared.problems import Problem


def fields(**values: Any) -> Submission:
    return parse(Submission, {"tgt_lang": "pt"} | values, None)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"tgt_lang": "pt", "src_lang": "pt"}, "same_language"),
        ({"tgt_lang": "PT", "src_lang": "pt "}, "same_language"),
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
    ],
)
def test_bad_fields_are_refused(values: dict[str, str], code: str) -> None:
    with pytest.raises(Problem) as refusal:
        parse(Submission, {"tgt_lang": "pt"} | values, None)
    assert (refusal.value.status, refusal.value.code) == (422, code)
    assert refusal.value.detail


def test_defaults() -> None:
    plain = parse(Submission, {}, None)
    assert (plain.tgt_lang, plain.src_lang, plain.mode, plain.device) == ("en", "auto", "medium", "auto")
    assert (plain.degrade, plain.priority, plain.overrides) == (True, 100, {})


def test_a_form_says_the_same_as_json() -> None:
    form = fields(degrade="false", priority="110", overrides='{"asr_beam": 2, "timing_fit": false}')
    body = fields(degrade=False, priority=110, overrides={"asr_beam": 2, "timing_fit": False})
    assert form == body
    assert form.overrides["timing_fit"] is False
    assert fingerprint(form, "sha256:ab", "t") == fingerprint(body, "sha256:ab", "t")


@pytest.mark.parametrize("change", [{"degrade": "false"}, {"priority": "110"}, {"overrides": '{"asr_beam": 2}'}])
def test_the_fingerprint_covers_how_a_job_is_to_run(change: dict[str, str]) -> None:
    assert fingerprint(fields(**change), "sha256:ab", "t") != fingerprint(fields(), "sha256:ab", "t")


def test_the_header_stands_for_the_field_and_must_not_differ_from_it() -> None:
    assert parse(Submission, {}, "key").idempotency_key == "key"
    assert parse(Submission, {"idempotency_key": "key"}, "key").idempotency_key == "key"
    with pytest.raises(Problem):
        parse(Submission, {"idempotency_key": "other"}, "key")


def test_a_path_is_needed_where_a_path_is_asked_for() -> None:
    with pytest.raises(Problem):
        parse(PathSubmission, {"tgt_lang": "pt"}, None)


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
