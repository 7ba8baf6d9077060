"""What a submission says besides the video: languages, mode, device, settings, project, preset, tags, priority, key.

Lives here: their rules and the fingerprint of a body. Pure. Does not live here: who can serve a pair (`languages`), and
which projects and presets there are (`placing`).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

from shared.curation import TAG_MAX_CHARS, TAGS_MAX, clean_tags
from shared.events.library import PresetSavedData, Visibility
from shared.events.names import Device, Mode
from shared.events.types import Value
from shared.job.modes import ALLOWED, validate_overrides
from shared.problems import Problem

AUTO = "auto"
IDEMPOTENCY_KEY_MAX = 200
LANGUAGE = r"^[a-z]{2,3}$"
"""A BCP 47 primary language subtag; regions and scripts do not select an engine."""

NORMAL, BACKGROUND = 100, 110
"""Priorities that everybody may ask for; a lower number starts first, and is an operator's to give."""

FROM_PRESET = ("mode", "device", "src_lang", "tgt_lang")
"""What a preset gives to a job so far."""

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


class Submission(BaseModel):
    """The fields of a submission; unknown ones are refused, so that a misspelt one is not silently a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

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
    idempotency_key: Key | None = None

    @property
    def named_project(self) -> str | None:
        """The project's name as sent, under either name of the field."""
        return self.project or self.project_name


class PathSubmission(Submission):
    """A submission of a file that already lies in the input folder."""

    video_path: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(examples=["films/holiday.mp4"])


def parse_form(raw: Mapping[str, str], header_key: str | None) -> Submission:
    """Return the checked fields of a form, which has only text. Raises Problem 422."""
    values: dict[str, Any] = dict(raw)
    try:
        if "overrides" in raw:
            values["overrides"] = json.loads(raw["overrides"])
        if "tags" in raw:
            values["tags"] = _tags_of(raw["tags"])
    except (ValueError, RecursionError) as error:
        raise Problem(422, "invalid_request", "The overrides, or the tags in brackets, are not JSON.") from error
    return _parse(Submission, values, header_key, strict=False)


def parse_body(raw: Mapping[str, Any], header_key: str | None) -> PathSubmission:
    """Return the checked members of a JSON object, each of its own type. Raises Problem 422."""
    return _parse(PathSubmission, raw, header_key, strict=True)


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
    return fields


def _tags_of(text: str) -> Any:
    return json.loads(text) if text.lstrip().startswith("[") else [tag for tag in text.split(",") if tag.strip()]


def _invalid(error: ValidationError) -> Problem:
    errors = [{"where": str(e["loc"][0])[:NAME_SHOWN] if e["loc"] else "", "what": e["msg"]} for e in error.errors()]
    where = {e["where"] for e in errors}
    if where & {"tgt_lang", "src_lang"}:
        return Problem(422, "invalid_language", "A language is a code of two or three letters, such as en, pt or ja.")
    detail = "; ".join(f"{e['where']}: {e['what']}" for e in errors)
    return Problem(422, "invalid_tags" if where == {"tags"} else "invalid_request", f"{detail}.", errors=errors)


def with_preset(fields: Submission, preset: PresetSavedData | None) -> Submission:
    """Return the fields with what the preset says where the request says nothing.

    Raises Problem 422 where the job would then be dubbed into its own language.
    """
    if preset is not None:
        said = {name: getattr(preset, name) for name in FROM_PRESET if name not in fields.model_fields_set}
        fields = fields.model_copy(update=said)
    if fields.src_lang == fields.tgt_lang:
        detail = f"The video would be dubbed from {fields.tgt_lang} into itself. Choose another target language."
        raise Problem(422, "same_language", detail)
    return fields


def fingerprint(fields: Submission, content: str, title: str) -> str:
    """Return the SHA-256 of all that a submission asks for; `content` names the bytes (a digest or a path).

    Only what was sent counts: beside a preset, a default that is sent asks for more than one that is not.
    """
    asked = fields.model_dump(exclude={"idempotency_key"}, exclude_unset=True)
    body = asked | {"content": content, "title": title}
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def trace_parent(header: str | None) -> str | None:
    """Return a W3C traceparent header if it is well-formed, else None."""
    return header if header and _TRACEPARENT.match(header) else None
