"""What a submission says besides the video: languages, mode, device, settings, project, preset, tags, priority, key.

Lives here: their rules and the fingerprint of a body. Pure. Does not live here: who can serve a pair (`languages`),
what is kept (`keeping`), which projects and presets there are (`placing`), and what these give it (`defaults`).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

from services.ingest.keeping import KeepingFields, check_one_word
from services.ingest.not_yet import NOT_SUPPORTED, NOT_YET, NotYet
from shared.curation import TAG_MAX_CHARS, TAGS_MAX, clean_tags
from shared.events.envelope import Value
from shared.events.library import Visibility
from shared.events.names import Device, Mode
from shared.job.modes import ALLOWED, validate_overrides
from shared.problems import Problem

AUTO = "auto"
IDEMPOTENCY_KEY_MAX = 200
LANGUAGE = r"^[a-z]{2,3}$"
"""A BCP 47 primary language subtag; regions and scripts do not select an engine."""

UPLOAD_ID = r"^up_[0-9a-f]{16}$"

IMPORT_MAX_BYTES = 2 << 20
"""The predecessor's limit for each imported file."""
IMPORT_FIELDS = ("src_srt", "tgt_srt", "transcript_json")
"""A form may send each of these as a file, or its text under the same name with `_text` behind it."""

NORMAL, BACKGROUND = 100, 110
"""Priorities that everybody may ask for; a lower number starts first, and is an operator's to give."""

NAME_SHOWN = 60
"""A refusal repeats so many characters of a member's name."""

_TRACEPARENT = re.compile(r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")


def _lowered(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def whole(value: Any) -> Any:
    """Return 2 for 2.0: to JSON they are one number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _none_if_empty(value: Any) -> Any:
    """A form sends an empty field where nothing was chosen."""
    return None if value == "" else value


def _private_or_shared(value: Any) -> Any:
    return "shared" if value == "public" else value


def _known_overrides(overrides: dict[str, Value]) -> dict[str, Value]:
    overrides = {name: whole(value) for name, value in overrides.items()}
    if problems := validate_overrides(overrides):
        raise ValueError("; ".join(problems))
    return overrides


def _told(choices: tuple[Value, ...]) -> dict[str, Any]:
    """Return the schema of a setting that has these values; of numbers, they are all between two."""
    first, last = choices[0], choices[-1]
    if type(first) is int:
        return {"type": "integer", "minimum": first, "maximum": last}
    return {"type": "boolean"} if isinstance(first, bool) else {"type": "string", "enum": list(choices)}


def _offered(priority: int) -> int:
    if priority not in (NORMAL, BACKGROUND):
        raise ValueError(f"it is {NORMAL}, or {BACKGROUND} for a job that may wait for all others")
    return priority


Language = Annotated[
    str,
    StringConstraints(pattern=LANGUAGE),
    BeforeValidator(_lowered),
    WithJsonSchema({"type": "string", "pattern": r"^\s*[A-Za-z]{2,3}\s*$"}),
]
Priority = Annotated[
    int, AfterValidator(_offered), BeforeValidator(whole), Field(json_schema_extra={"enum": [NORMAL, BACKGROUND]})
]
Overrides = Annotated[
    dict[str, Value],
    AfterValidator(_known_overrides),
    Field(
        json_schema_extra={
            "properties": {name: _told(choices) for name, choices in ALLOWED.items()},
            "additionalProperties": False,
        }
    ),
]
Key = Annotated[str, StringConstraints(min_length=1, max_length=IDEMPOTENCY_KEY_MAX)]
Chosen = Annotated[str | None, BeforeValidator(_none_if_empty)]
Import = Annotated[
    str | None, BeforeValidator(_none_if_empty), Field(json_schema_extra={"maxLength": IMPORT_MAX_BYTES})
]
Tags = Annotated[
    list[str],
    AfterValidator(lambda tags: list(clean_tags(tags))),
    Field(
        json_schema_extra={
            "maxItems": TAGS_MAX,
            "items": {"type": "string", "minLength": 1, "maxLength": TAG_MAX_CHARS},
        }
    ),
]
Visible = Annotated[
    Visibility,
    BeforeValidator(_private_or_shared),
    Field(json_schema_extra={"enum": ["private", "shared", "public"]}),
]
"""`public` is another word for `shared`."""


class Submission(KeepingFields, NotYet):
    """The fields of a submission; unknown ones are refused, so that a misspelt one is not silently a default."""

    tgt_lang: Language = Field("en", examples=["pt"])
    src_lang: Language | Literal["auto"] = Field(AUTO, examples=["en", "auto"])
    mode: Mode = "medium"
    device: Device = "auto"
    degrade: bool = True
    """False keeps the mode when the queue is long; the job then waits longer."""
    overrides: Overrides = Field({}, examples=[{"asr_model": "whisper-small"}])
    """Settings that differ from the mode's, by name. In a form: as JSON."""
    priority: Priority = Field(NORMAL, examples=[NORMAL, BACKGROUND])
    project_id: Chosen = Field(None, examples=["proj_0123456789abcdef"])
    project: Chosen = Field(None, examples=["Holidays"])
    """The project by its name, in any case."""
    project_name: Chosen = Field(None, examples=["Holidays"])
    """The same as `project`."""
    preset_id: Chosen = Field(None, examples=["preset_0123456789abcdef"])
    """Gives mode, device and languages where the request does not. Not sent: the project's default preset does."""
    tags: Tags = Field([], examples=[["family", "2026"]])
    """In a form: as JSON, or separated by commas."""
    visibility: Visible = "private"
    src_srt_text: Import = Field(None, examples=["1\n00:00:01,000 --> 00:00:02,500\nWhat was said.\n"])
    """What is said, as SubRip or WebVTT: nothing is recognised then. At most 2 MB; its language is `src_lang`."""
    tgt_srt_text: Import = Field(None, examples=["1\n00:00:01,000 --> 00:00:02,500\nO que foi dito.\n"])
    """The translation, as SubRip or WebVTT: nothing is translated, and nothing recognised, then."""
    transcript_json_text: Import = None
    """What is said, as JSON: `{"language": "en", "segments": [{"start": 1.0, "end": 2.5, "text": "…"}]}`."""
    idempotency_key: Key | None = None

    @property
    def named_project(self) -> str | None:
        """The project's name as sent, under either name of the field."""
        return self.project or self.project_name


class PathSubmission(Submission):
    """A submission of a file that already lies in the input folder."""

    video_path: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(examples=["films/holiday.mp4"])


class UploadSubmission(Submission):
    """A submission of a finished upload; its name is the one that the upload was created with."""

    upload_id: Annotated[str, StringConstraints(pattern=UPLOAD_ID)] = Field(examples=["up_0123456789abcdef"])


class Supposed(Submission):
    """A submission without a video, to ask what it would take."""

    duration_s: Annotated[float, Field(gt=0, le=1e6, strict=False)] = Field(examples=[1420.0])
    size_bytes: Annotated[int, Field(ge=0, le=1 << 50)] = Field(0, examples=[734003200])


def parse_form(raw: Mapping[str, str], header_key: str | None) -> Submission:
    """Return the checked fields of a form, which has only text. Raises Problem 422."""
    values: dict[str, Any] = dict(raw)
    for name in IMPORT_FIELDS:
        if name in values and values.setdefault(f"{name}_text", values[name]) != values.pop(name):
            raise Problem(422, "invalid_request", f"The fields {name} and {name}_text differ. Send one.")
    try:
        if "overrides" in raw:
            values["overrides"] = json.loads(raw["overrides"])
        if "tags" in raw:
            values["tags"] = _tags_of(raw["tags"])
    except (ValueError, RecursionError) as error:
        raise Problem(422, "invalid_request", "The overrides, or the tags in brackets, are not JSON.") from error
    return _parse(UploadSubmission if "upload_id" in raw else Submission, values, header_key, strict=False)


def parse_body(raw: Mapping[str, Any], header_key: str | None) -> PathSubmission | UploadSubmission:
    """Return the checked members of a JSON object, each of its own type. Raises Problem 422."""
    if "upload_id" in raw:
        return _parse(UploadSubmission, raw, header_key, strict=True)
    return _parse(PathSubmission, raw, header_key, strict=True)


def parse_estimate(raw: Mapping[str, Any]) -> "PathSubmission | UploadSubmission | Supposed":
    """Return the checked members of what is to be estimated: a submission, or a video that nobody has. Raises 422."""
    return _parse(Supposed, raw, None, strict=True) if "duration_s" in raw else parse_body(raw, None)


SubmissionT = TypeVar("SubmissionT", bound=Submission)


def _parse(model: type[SubmissionT], raw: Mapping[str, Any], header_key: str | None, *, strict: bool) -> SubmissionT:
    """An `Idempotency-Key` header stands for the field."""
    values = dict(raw)
    if header_key is not None:
        if values.get("idempotency_key", header_key) != header_key:
            raise Problem(422, "invalid_request", "The Idempotency-Key header and the field differ. Send one.")
        values["idempotency_key"] = header_key
    try:
        fields = model.model_validate(values, strict=strict)
    except ValidationError as error:
        raise _invalid(error) from error
    if fields.project and fields.project_name and fields.project.casefold() != fields.project_name.casefold():
        raise Problem(422, "invalid_request", "The fields project and project_name differ. Send one.")
    check_one_word(fields)
    return fields


def _tags_of(text: str) -> Any:
    return json.loads(text) if text.lstrip().startswith("[") else [tag for tag in text.split(",") if tag.strip()]


def _invalid(error: ValidationError) -> Problem:
    errors = [{"where": str(e["loc"][0])[:NAME_SHOWN] if e["loc"] else "", "what": e["msg"]} for e in error.errors()]
    where = {e["where"] for e in errors}
    if missing := [e["loc"][0] for e in error.errors() if e["type"] == NOT_SUPPORTED]:
        detail = f"{', '.join(map(str, missing))}: this server cannot do that yet. Leave it out, or switch it off."
        return Problem(422, NOT_SUPPORTED, detail, errors=errors)
    if where & {"tgt_lang", "src_lang"}:
        return Problem(422, "invalid_language", "A language is a code of two or three letters, such as en, pt or ja.")
    detail = "; ".join(f"{e['where']}: {e['what']}" for e in errors)
    return Problem(422, "invalid_tags" if where == {"tags"} else "invalid_request", f"{detail}.", errors=errors)


def fingerprint(fields: Submission, content: str, title: str) -> str:
    """Return the SHA-256 of all that a submission asks for; `content` names the bytes (a digest or a path).

    Only what was sent counts: beside a preset, a default that is sent asks for more than one that is not.
    """
    asked = fields.model_dump(exclude={"idempotency_key", *NOT_YET}, exclude_unset=True)
    body = asked | {"content": content, "title": title}
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def trace_parent(header: str | None) -> str | None:
    """Return a W3C traceparent header if it is well-formed, else None."""
    return header if header and _TRACEPARENT.match(header) else None
