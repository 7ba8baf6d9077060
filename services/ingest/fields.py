"""What a submission says besides the video: languages, mode, device, settings, priority, key.

Lives here: their rules and the fingerprint of a body. Pure. Does not live here: who can serve a pair (`languages`).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from shared.events.names import Device, Mode
from shared.events.types import Value
from shared.job.modes import validate_overrides
from shared.problems import Problem

AUTO = "auto"
IDEMPOTENCY_KEY_MAX = 200
LANGUAGE = r"^[a-z]{2,3}$"
"""A BCP 47 primary language subtag; regions and scripts do not select an engine."""

NORMAL, BACKGROUND = 100, 110
"""Priorities that everybody may ask for; a lower number starts first, and is an operator's to give."""

_TRACEPARENT = re.compile(r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")


def _lowered(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _from_json(value: Any) -> Any:
    """A form has only text: there, the overrides are a JSON object."""
    return json.loads(value) if isinstance(value, str) else value


def _known_overrides(overrides: dict[str, Value]) -> dict[str, Value]:
    if problems := validate_overrides(overrides):
        raise ValueError("; ".join(problems))
    return overrides


def _offered(priority: int) -> int:
    if priority not in (NORMAL, BACKGROUND):
        raise ValueError(f"it is {NORMAL}, or {BACKGROUND} for a job that may wait for all others")
    return priority


Language = Annotated[str, BeforeValidator(_lowered), StringConstraints(pattern=LANGUAGE)]
Overrides = Annotated[dict[str, Value], BeforeValidator(_from_json), AfterValidator(_known_overrides)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=IDEMPOTENCY_KEY_MAX)]


class Submission(BaseModel):
    """The fields of a submission; unknown ones are refused, so that a misspelt one is not silently a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    tgt_lang: Language = Field("en", examples=["pt"])
    src_lang: Language | Literal["auto"] = Field(AUTO, examples=["en", "auto"])
    mode: Mode = "medium"
    device: Device = "auto"
    degrade: bool = True
    """False keeps the mode when the queue is long; the job then waits longer."""
    overrides: Overrides = Field({}, examples=[{"asr_model": "small"}])
    """Settings that differ from the mode's, by name. In a form: as JSON."""
    priority: Annotated[int, AfterValidator(_offered)] = Field(NORMAL, examples=[NORMAL, BACKGROUND])
    idempotency_key: Key | None = None


class PathSubmission(Submission):
    """A submission of a file that already lies in the input folder."""

    video_path: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(examples=["films/holiday.mp4"])


def parse(model: type[Submission], raw: Mapping[str, Any], header_key: str | None) -> Submission:
    """Return the checked fields; an `Idempotency-Key` header stands for the field. Raises Problem 422."""
    values = dict(raw)
    if header_key is not None:
        if values.get("idempotency_key", header_key) != header_key:
            raise Problem(422, "invalid_request", "The Idempotency-Key header and the form field differ. Send one.")
        values["idempotency_key"] = header_key
    try:
        fields = model.model_validate(values)
    except ValidationError as error:
        raise _invalid(error) from error
    if fields.src_lang == fields.tgt_lang:
        detail = f"The video would be dubbed from {fields.tgt_lang} into itself. Choose another target language."
        raise Problem(422, "same_language", detail)
    return fields


def _invalid(error: ValidationError) -> Problem:
    errors = [{"where": str(e["loc"][0]) if e["loc"] else "", "what": e["msg"]} for e in error.errors()]
    if any(e["where"] in {"tgt_lang", "src_lang"} for e in errors):
        return Problem(422, "invalid_language", "A language is a code of two or three letters, such as en, pt or ja.")
    detail = "; ".join(f"{e['where']}: {e['what']}" for e in errors)
    return Problem(422, "invalid_request", f"{detail}.", errors=errors)


def fingerprint(fields: Submission, content: str, title: str) -> str:
    """Return the SHA-256 of all that a submission asks for; `content` names the bytes (a digest or a path)."""
    body = fields.model_dump(exclude={"idempotency_key"}) | {"content": content, "title": title}
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def trace_parent(header: str | None) -> str | None:
    """Return a W3C traceparent header if it is well-formed, else None."""
    return header if header and _TRACEPARENT.match(header) else None
