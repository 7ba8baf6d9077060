"""What the OpenAPI document says about jobs' ids and the bodies that are read by hand.

Lives here: fragments with examples.
"""

from typing import Annotated, Any

from fastapi import Path

from services.ingest.batch import ITEMS_MAX
from services.ingest.fields import IMPORT_FIELDS, UPLOAD_ID, PathSubmission, Submission, Supposed, UploadSubmission
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
_FORM["properties"] |= {
    name: {"type": "string", "format": "binary", "description": f"The same as {name}_text, as a file of at most 2 MB."}
    for name in IMPORT_FIELDS
}
_FORM["properties"]["upload_id"] = {
    "type": "string",
    "pattern": UPLOAD_ID,
    "description": "A finished upload, in place of the file.",
}

_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
    "description": "A retry with the same key and body answers with the first job.",
}
SUBMIT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM, "example": FORM_EXAMPLE},
            "application/json": {
                "schema": {"anyOf": [PathSubmission.model_json_schema(), UploadSubmission.model_json_schema()]},
                "example": {"video_path": "films/holiday.mp4", "tgt_lang": "pt", "src_lang": "en", "tags": ["family"]},
            },
        },
    },
    "parameters": [_KEY],
}

_ITEM = {"anyOf": [PathSubmission.model_json_schema(), UploadSubmission.model_json_schema()]}
_FILES = {
    "type": "object",
    "required": ["files"],
    "additionalProperties": False,
    "properties": {
        "files": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "maxItems": ITEMS_MAX,
            "description": "The videos. The form's other fields are those of a submission, and go for each of them.",
        },
        **{name: _FORM["properties"][name] for name in _FORM["properties"] if name not in ("file", "upload_id")},
    },
}
BATCH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["items"],
                    "additionalProperties": False,
                    "properties": {
                        "items": {"type": "array", "minItems": 1, "maxItems": ITEMS_MAX, "items": _ITEM},
                        "idempotency_key": {"type": ["string", "null"], "minLength": 1, "maxLength": 197},
                    },
                },
                "example": {"items": [{"video_path": "films/holiday.mp4", "tgt_lang": "pt", "src_lang": "en"}]},
            },
            "multipart/form-data": {"schema": _FILES, "example": {"files": ["(bytes)", "(bytes)"], "tgt_lang": "pt"}},
        },
    },
    "parameters": [_KEY],
}

ESTIMATE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [*_ITEM["anyOf"], Supposed.model_json_schema()]},
                "example": {"duration_s": 1420.0, "size_bytes": 734003200, "src_lang": "en", "tgt_lang": "pt"},
            },
        },
    },
}
