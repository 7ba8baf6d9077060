"""What the OpenAPI document says about jobs' ids and the bodies that are read by hand.

Lives here: fragments with examples.
"""

from typing import Annotated, Any

from fastapi import Path

from services.ingest.fields import PathSubmission, Submission
from services.ingest.routes import patterns

JOB_ID = "0192f0c1-2b3c-7d4e-8f50-61728394a5b6"

JobId = Annotated[
    str,
    Path(json_schema_extra={"pattern": patterns.JOB_ID}, examples=[JOB_ID]),
]
"""The pattern is told but not enforced: what is no id is an unknown job, 404."""

FORM_EXAMPLE = {"file": "(bytes)", "tgt_lang": "pt", "mode": "high", "project": "Holidays", "tags": "family, 2026"}

_FORM = Submission.model_json_schema()
_FORM["properties"] = {
    "file": {"type": "string", "format": "binary", "description": "The video, any size up to MAX_UPLOAD_MB."},
    **_FORM["properties"],
    "tags": {"type": "string", "description": "Separated by commas, or a JSON list."},
}
_FORM["required"] = ["file"]

SUBMIT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM, "example": FORM_EXAMPLE},
            "application/json": {
                "schema": PathSubmission.model_json_schema(),
                "example": {"video_path": "films/holiday.mp4", "tgt_lang": "pt", "src_lang": "en", "tags": ["family"]},
            },
        },
    },
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "minLength": 1, "maxLength": 200},
            "description": "A retry with the same key and body answers with the first job.",
        }
    ],
}
