"""What the OpenAPI document says about answers: their shapes, an example of each, and refusals.

Lives here: models that describe and do not run (stored JSON is sent as it is), and fragments. Does not live here: the
row (`services.library.view`), examples (`services.library.routes.examples`), any route.
"""

from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from services.library.routes.examples import JOB_ID
from services.library.view import JobView, OutputView, StageView
from shared.events.envelope import Timestamp, Value
from shared.events.names import Device, Mode
from shared.job.model import JobState
from shared.problems import CONTENT_TYPE, TYPE_BASE


class Described(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LiveStage(StageView):
    """A stage; `fraction` 0..1 only while it runs and its worker tells how far it is."""

    fraction: float | None = Field(None, ge=0, le=1)


class JobItem(JobView):
    """A job of a list. While it runs, `progress` and `message` are live."""

    stages: list[LiveStage]  # type: ignore[assignment]  # a list is invariant to the type checker


class JobPage(Described):
    """`total` is exact, of the whole filter; `next_offset` and `next_cursor` are null on the last page."""

    items: list[JobItem]
    limit: int
    offset: int
    total: int
    next_offset: int | None
    next_cursor: str | None


class At(Described):
    """The last event that the answer knows of."""

    seq: int
    time: Timestamp


class ToldEvent(BaseModel):
    """A CloudEvent as it is in the log; `seq` is its sequence there."""

    model_config = ConfigDict(extra="allow")

    specversion: Literal["1.0"]
    id: str
    type: str
    source: str
    subject: str
    time: Timestamp
    data: dict[str, Any]
    seq: int


class JobDetail(JobItem):
    """A whole job: its timeline per stage and what it made; `history` and `at` only where asked for."""

    outputs: list[OutputView]
    history: list[ToldEvent] = Field(default_factory=list)
    history_truncated: bool = False
    at: At | None = None


class ProjectItem(Described):
    id: str
    owner_id: str
    name: str
    created_at: Timestamp
    updated_at: Timestamp
    default_preset_id: str | None
    output_subdir: str
    profile: dict[str, Value]


class PresetItem(Described):
    id: str
    owner_id: str
    name: str
    created_at: Timestamp
    updated_at: Timestamp
    mode: Mode
    device: Device
    src_lang: str
    tgt_lang: str
    tts_lang: str
    tts_speaker: str
    profile: dict[str, Value]


class Projects(Described):
    items: list[ProjectItem]


class Presets(Described):
    items: list[PresetItem]


class TagCount(Described):
    tag: str
    n: int


class Tags(Described):
    """Tags of jobs that are not archived, the most used first."""

    items: list[TagCount]


class Stats(Described):
    """`counts` by state, of jobs that are not archived; `lag` in events, null while the broker is away.

    `quarantined`: events of whatever job that do not decode; null for anybody but an administrator.
    """

    counts: dict[JobState, int]
    total: int
    position: int
    lag: int | None
    quarantined: int | None


class ProblemDocument(BaseModel):
    """RFC 9457; some problems have members of their own."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str
    detail: str


PROBLEM_SCHEMA = ProblemDocument.model_json_schema()


def problem(status: int, description: str, *codes: str) -> dict[int | str, dict[str, Any]]:
    """Return what the document says about a refusal with the codes that it can carry."""
    examples = {
        code: {
            "value": {
                "type": TYPE_BASE + code,
                "title": code.replace("_", " "),
                "status": status,
                "code": code,
                "detail": description,
            }
        }
        for code in codes
    }
    return {
        status: {
            "description": description,
            "content": {CONTENT_TYPE: {"schema": PROBLEM_SCHEMA, "examples": examples}},
        }
    }


def found(description: str, example: object) -> dict[int | str, dict[str, Any]]:
    """Return what the document says about an answer that may be kept: 200 with its tag, and 304."""
    tag = {"ETag": {"schema": {"type": "string"}, "description": "Send it back as If-None-Match."}}
    return {
        200: {
            "description": description,
            "headers": tag,
            "content": {"application/json": {"example": example}},
        },
        304: {"description": "It is as the client has it.", "headers": tag},
    }


EVERYWHERE = {
    **problem(401, "Nobody is signed in, or not any more.", "not_signed_in", "invalid_credential"),
    **problem(403, "Not for this credential; or the name in Host is not served.", "scope_missing", "host_not_allowed"),
    **problem(422, "A parameter is not acceptable.", "invalid_request"),
    **problem(500, "The service failed.", "internal_error"),
    **problem(503, "Nobody can say now whose the credential is; try again.", "access_unavailable"),
}
"""Refusals that any operation can answer with."""

JobId = Annotated[
    str, Path(json_schema_extra={"pattern": r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}, examples=[JOB_ID])
]
"""The pattern is told but not enforced: what is no id is an unknown job, 404."""

NO_JOB = problem(404, "There is no job with this id.", "job_not_found")
GONE = problem(410, "The job was deleted.", "job_deleted")
NO_LOG = problem(503, "The event log does not answer; Retry-After says when to try again.", "log_unavailable")
