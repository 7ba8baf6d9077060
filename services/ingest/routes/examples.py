"""What the OpenAPI document says about the bodies that are read by hand, and about refusals.

Lives here: fragments with examples.
"""

from typing import Any

from services.ingest.fields import PathSubmission, Submission
from shared.problems import CONTENT_TYPE

JOB_ID = "0192f0c1-2b3c-7d4e-8f50-61728394a5b6"

FORM_EXAMPLE = {"file": "(bytes)", "tgt_lang": "pt", "mode": "high", "degrade": "false"}

_FORM = Submission.model_json_schema()
_FORM["properties"] = {
    "file": {"type": "string", "format": "binary", "description": "The video, any size up to MAX_UPLOAD_MB."},
    **_FORM["properties"],
}
_FORM["required"] = ["file"]

SUBMIT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM, "example": FORM_EXAMPLE},
            "application/json": {
                "schema": PathSubmission.model_json_schema(),
                "example": {"video_path": "films/holiday.mp4", "tgt_lang": "pt", "src_lang": "en", "priority": 110},
            },
        },
    },
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "maxLength": 200},
            "description": "A retry with the same key and body answers with the first job.",
        }
    ],
}


def problem(description: str, *codes: str) -> dict[str, Any]:
    """Return the description of a refusal with the codes that it can carry."""
    schema = {
        "type": "object",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"type": "string", "examples": list(codes)},
            "detail": {"type": "string"},
        },
    }
    return {"description": description, "content": {CONTENT_TYPE: {"schema": schema}}}
