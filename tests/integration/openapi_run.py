"""Asking a service everything that its OpenAPI document allows, and much that it does not.

Lives here: one run of schemathesis against one service, and the table of what a document cannot say. Does not live
here: the services (`whole_http`).
"""

import copy
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import schemathesis
from schemathesis.config import (
    CacheConfig,
    ChecksConfig,
    CoveragePhaseConfig,
    GenerationConfig,
    HealthCheck,
    PhasesConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
    StatefulPhaseConfig,
)
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.transport import Response
from schemathesis.engine import Status, events, from_schema
from schemathesis.generation.case import Case
from schemathesis.generation.meta import TestPhase
from schemathesis.hooks import HookContext
from schemathesis.openapi.checks import RejectedPositiveData
from schemathesis.transport.serialization import Binary

from tests.integration.whole_http import Known

SEED = 20260102
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "10"))
"""Generated requests for each operation, besides those that the document's examples and limits give."""

STORIES, STORY_STEPS = 5, 4
"""Sequences of requests that go on with what the one before made, such as to delete it and ask again."""

ROLE_EXAMPLES = 3
"""The same for each role that is no admin's, where all that counts is what it is refused."""

REQUEST_TIMEOUT_S = 20.0
ACCEPTED = ["2xx", "304", "404", "409", "410"]
"""What right data may be answered with: what it names may not be there, or not in this state."""


@dataclass(frozen=True)
class Excluded:
    """Operations that are not asked by generated requests."""

    path: str
    reason: str


EXCLUDED = (
    Excluded("/api/events", "a stream without an end"),
    Excluded("/api/jobs/events", "a stream without an end"),
    Excluded("/events/jobs/{job_id}", "a stream without an end"),
    Excluded("/api/jobs/{job_id}/events", "a stream without an end"),
    Excluded("/api/uploads/tus", "the tool cannot send its media type: ingest/uploads/test_tus.py does"),
    Excluded("/api/uploads/tus/{upload_id}", "the same"),
)

SIGNING_OUT = re.compile("POST ((/api)?/auth/logout|/api/auth/(confirm|password))")
"""Whose session has ended, or goes on with another cookie, is a role no more."""

LIKE_A_SUBMISSION = re.compile("/api/jobs/(batch|estimate)")
"""Their bodies are those of `POST /api/jobs`, whose limits are tried one by one: once is enough, it is hundreds."""


@dataclass(frozen=True)
class Caller:
    """Who asks: what they show; `whole`: who may do everything, so that each answer to right data can be judged."""

    headers: dict[str, str]
    whole: bool = False


@dataclass(frozen=True)
class Unsaid:
    """A refusal of right data by a rule that JSON Schema cannot say; `words`, an expression, are in its answer."""

    operations: str
    """A regular expression for the whole label."""
    words: str
    reason: str


_SUBMIT = "POST /api/jobs(/batch|/estimate)?"
_NAMED = r"(POST|PUT) /api/(projects|presets|webhooks|settings|admin/users)(/.*)?"
UNSAID = (
    Unsaid(_SUBMIT, '"not_a_video"', "the bytes of a form's file are read, not described"),
    Unsaid(_SUBMIT, '"unsupported_pair"', "which languages there are is the workers' word"),
    Unsaid(_SUBMIT, '"same_language"', "two members are compared"),
    Unsaid("POST /api/presets|PUT /api/(presets/|settings|admin/users/).*", "into itself", "two members are compared"),
    Unsaid(_SUBMIT, "The fields project and project_name differ", "two members are compared"),
    Unsaid(_SUBMIT, "The fields privacy and privacy_mode differ", "two members are compared"),
    Unsaid(_SUBMIT, "are of two projects", "two members are compared"),
    Unsaid(_SUBMIT, '"unknown_project"', "a body that names what is not there is no 404"),
    Unsaid(f"{_SUBMIT}|(POST|PUT) /api/projects.*", '"unknown_preset"', "as with projects"),
    Unsaid(_SUBMIT, '"invalid_import"', "what a subtitle file holds is read, not described"),
    Unsaid(_SUBMIT, '"no_file"', "of the parts of a form, one at least is a file"),
    Unsaid("POST (/api)?/auth/login", '"invalid_credentials"', "who has which password is not described"),
    Unsaid("POST (/api)?/auth/refresh", '"refresh_invalid"', "one-time secrets are not described"),
    Unsaid("POST /api/auth/reset", '"invalid_reset"', "as above"),
    Unsaid("POST /api/invites/redeem", '"invalid_invite"', "as above"),
    Unsaid("POST /api/setup", '"invalid_setup_token"|"setup_closed"', "as above"),
    Unsaid("PUT /api/projects/.*", '"project_fixed"', "the members may be repeated as they are"),
    Unsaid(_NAMED, "control or invisible characters", "as a pattern it would list ranges of all of Unicode"),
    Unsaid(
        "POST /api/(jobs(/.*)?|runtime/limits)|PUT /api/jobs/.*/tags", "control or invisible characters", "as above"
    ),
    Unsaid("GET /api/audit/recent", "valid datetime", "a number has no exponent, and its year is 1 to 9999"),
    Unsaid("GET /api/jobs", "names the owner already", "two parameters are compared"),
    Unsaid("GET /api/jobs", "must not differ", "two parameters are compared"),
    Unsaid(".*", '"person_needed"', "this machine's own key is nobody's, so it has no account to manage"),
    Unsaid(".*", '"confirmation_required"', "as above: it never shows a password"),
    Unsaid("POST .*", '"too_many_requests"', "how often was asked before"),
    Unsaid("POST (/api)?/auth/qr/redeem", '"invalid_grant"', "RFC 8628, 3.5: what is unknown or used is a 400"),
    Unsaid("POST /api/uploads/init", '"upload_too_large"', "the limit is a setting"),
    Unsaid("POST /api/uploads/init", '"quota_exceeded"', "it depends on what else its user has begun"),
    Unsaid("POST /api/uploads/.*/complete", '"chunks_missing"', "as the predecessor answers"),
    Unsaid("POST /api/uploads/.*/chunk", '"chunk_hash_mismatch"', "the bytes of a body are described by a header"),
    Unsaid("GET /files/.*", '"precondition_failed"', "what a condition is for"),
    Unsaid("GET /files/.*", '"range_not_satisfiable"', "the length of a file is its own"),
)
VIDEO_CHECKED_1_OF = 10
"""A right video is read by ffmpeg, which takes longer than all other requests."""
GROWING = "/logs/stream"
"""A stream that ends if it is asked to."""
NOT_SET = frozenset({"", "none", "null", "0", "f", "n", "no", "off", "false"})
QUOTAS = frozenset({"MAX_QUEUED_PER_USER", "JOBS_PER_DAY_PER_USER", "MAX_STORAGE_BYTES_PER_USER"})
CAP = {"MAX_JOBS_HIGH": 1}
NOWHERE = "http://127.7.7.7:9/hook"


class Video(Binary):
    """The bytes of a form's file that are a video."""


@dataclass
class Outcome:
    """What one run found: failures in words, how many requests were sent, and of which operations.

    `succeeded` are the operations that answered some request with 2xx.
    """

    failures: list[str]
    cases: int
    operations: set[str]
    succeeded: set[str]


def run(url: str, document: dict[str, Any], known: Known, caller: Caller) -> Outcome:
    """Ask one service; return what it should not have answered."""
    outcome = Outcome([], 0, set(), set())
    if not caller.whole:
        schema = _schema(url, document, known, caller, limits=False)
        _ask(schema.exclude(name_regex=SIGNING_OUT.pattern), outcome)
        return outcome
    _ask(_schema(url, document, known, caller).exclude(path_regex=LIKE_A_SUBMISSION.pattern), outcome)
    if any(LIKE_A_SUBMISSION.fullmatch(path) for path in document["paths"]):
        schema = _schema(url, document, known, caller, limits=False)
        _ask(schema.include(path_regex=LIKE_A_SUBMISSION.pattern), outcome)
    return outcome


def _schema(url: str, document: dict[str, Any], known: Known, caller: Caller, *, limits: bool = True) -> Any:
    """Return the document as the tool has it; `limits`: each limit that it tells is tried by itself."""
    config = SchemathesisConfig(
        seed=SEED,
        cache=CacheConfig(enabled=False),
        suppress_health_check=[HealthCheck.all],
        projects=ProjectsConfig(default=_project(url, caller, limits=limits)),
    )
    schema = schemathesis.openapi.from_dict(copy.deepcopy(document), config=config)  # the tool changes it
    for excluded in EXCLUDED:
        schema = schema.exclude(path=excluded.path)
    schema.hooks.register_hook_with_name(_something_real(known), "map_case")
    schema.hooks.register_hook_with_name(_is_failure, "filter_failure")
    return schema


def _ask(schema: Any, outcome: Outcome) -> None:
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished():
                outcome.cases += len(event.recorder.cases)
                if event.recorder.interactions and event.label:
                    outcome.operations.add(event.label)
                outcome.succeeded |= set(_succeeded(event))
                outcome.failures += _failures(event)
            case events.NonFatalError():
                outcome.failures.append(f"{event.label}: {event.info.format()}")
            case events.FatalError():
                outcome.failures.append(str(event.exception))


def _project(url: str, caller: Caller, *, limits: bool) -> ProjectConfig:
    generation = GenerationConfig(
        max_examples=EXAMPLES if caller.whole else ROLE_EXAMPLES, database="none", no_shrink=True
    )
    stories = GenerationConfig(max_examples=STORIES, database="none", no_shrink=True)
    return ProjectConfig(
        base_url=url,
        headers=caller.headers,
        workers=1,
        continue_on_failure=True,
        request_timeout=REQUEST_TIMEOUT_S,
        generation=generation,
        checks=_checks(caller),
        phases=PhasesConfig(
            coverage=CoveragePhaseConfig(enabled=limits),
            stateful=StatefulPhaseConfig(enabled=limits, generation=stories, max_steps=STORY_STEPS),
        ),
    )


def _checks(caller: Caller) -> ChecksConfig:
    """What is asked of the answers: of all of them for who may do everything; else that they are described, no 5xx."""
    checks = ChecksConfig(positive_data_acceptance=PositiveDataAcceptanceConfig(expected_statuses=ACCEPTED))
    checks.ignored_auth.enabled = False  # the authorisation matrix says it exactly
    if not caller.whole:
        checks.positive_data_acceptance.enabled = False
        checks.negative_data_rejection.enabled = False
        checks.missing_required_header.enabled = False
        checks.unsupported_method.enabled = False
        checks.use_after_free.enabled = False
        checks.ensure_resource_availability.enabled = False
    return checks


def _succeeded(event: events.ScenarioFinished) -> Iterator[str]:
    for case_id, interaction in event.recorder.interactions.items():
        if interaction.response is not None and 200 <= interaction.response.status_code < 300:
            yield event.recorder.cases[case_id].value.operation.label


def _something_real(known: Known) -> Callable[[HookContext, Case], Case]:
    """Return the hook that lets about half of the right requests name something that there is."""

    def change(_context: HookContext, case: Case) -> Case:
        if case.path.endswith(GROWING):
            _let_end(case)
        if case.meta is None:
            return case
        # From what was generated, so that the same request is made again when a failure is looked into.
        dice = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode(errors="replace"))
        story = case.meta.phase.name is TestPhase.STATEFUL  # it goes on with what it made itself
        if case.path_parameters and not story and not case.meta.is_negative_at(ParameterLocation.PATH):
            case.path_parameters = {
                name: _some_id(known, case.method, name, value, dice) for name, value in case.path_parameters.items()
            }
        if isinstance(case.body, dict) and not case.meta.is_negative_at(ParameterLocation.BODY):
            _fill_body(case, known, dice)
        return case

    return change


def _let_end(case: Case) -> None:
    """Ask a growing stream to end, or not to begin where something in the query is wrong anyhow."""
    once = case.query.get("once")
    if not isinstance(once, str | int) or str(once).lower() in NOT_SET:
        wrong = case.meta is not None and case.meta.is_negative_at(ParameterLocation.QUERY)
        case.query = {**case.query, "once": "neither" if wrong else "true"}


def _some_id(known: Known, method: str, name: str, generated: Any, dice: int) -> Any:
    """Return a real id, the generated one, or one that may go if it is going to be deleted."""
    there = known.ids.get(name)
    if there is None:
        return generated
    if method == "DELETE":
        victims = known.victims.get(name, there)
        return victims[dice // 2 % len(victims)] if dice % 2 or generated in there else generated
    return there[dice // 2 % len(there)] if dice % 2 else generated


def _fill_body(case: Case, known: Known, dice: int) -> None:
    body: dict[str, Any] = dict(case.body)
    if "url" in body:  # a right one could be of a host that there is
        body["url"] = NOWHERE
    if "overrides" in body and case.path.endswith("/limits"):  # every submission would be refused from then on
        body["overrides"] = {name: value for name, value in body["overrides"].items() if name not in QUOTAS} or CAP
    if case.headers and "Idempotency-Key" in case.headers:  # the two must be the same
        body.pop("idempotency_key", None)
    if dice % 2 and case.meta is not None and case.meta.generation.mode.is_positive:
        preset = known.ids["preset_id"][0]
        real: dict[str, Any] = {
            "project_id": known.ids["project_id"][0],
            "preset_id": preset,
            "default_preset_id": preset,
        }
        if dice % VIDEO_CHECKED_1_OF == 1:
            real |= {"video_path": known.video_path, "file": Video(known.video)}
        body |= {name: value for name, value in real.items() if body.get(name) is not None}
        if body.get("project_id") is not None:
            body = {name: value for name, value in body.items() if name not in {"project", "project_name"}}
    case.body = body


def _is_failure(_context: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    if isinstance(failure, AcceptedNegativeData) and isinstance(case.body, dict):
        # The tool calls each body wrong that has bytes and was changed; only right requests are given the video.
        return not isinstance(case.body.get("file"), Video)
    if not isinstance(failure, RejectedPositiveData):
        return True
    text = response.content.decode()
    return not any(
        re.fullmatch(rule.operations, case.operation.label) and re.search(rule.words, text) for rule in UNSAID
    )


def _failures(event: events.ScenarioFinished) -> Iterator[str]:
    for case_id, checks in event.recorder.checks.items():
        for check in checks:
            if check.status is Status.SUCCESS:
                continue
            interaction = event.recorder.interactions.get(case_id)
            answer = interaction.response if interaction else None
            told = f"{answer.status_code} {answer.content[:300]!r}" if answer else ""
            info = check.failure_info
            what = f"{info.failure.title}: {info.failure.message}\n{info.code_sample}" if info else ""
            yield f"[{event.phase.value}] {event.label} {check.name}: {what}\n{told}"
