"""Many submissions in one request: what each of them asks for.

Lives here: the bodies' rules. Does not live here: submitting them (`routes.batch`). Pure.

What can be told from the body alone refuses the batch as a whole. What is found out later, of a file or of a limit, is
the answer to that item only: a batch of fifty films does not fail for the one that is damaged.
"""

from collections.abc import Mapping
from typing import Any

from services.ingest.fields import (
    IDEMPOTENCY_KEY_MAX,
    PathSubmission,
    Submission,
    UploadSubmission,
    parse_body,
    parse_form,
)
from shared.problems import Problem

ITEMS_MAX = 50


def items_of(raw: Mapping[str, Any], header_key: str | None) -> list[PathSubmission | UploadSubmission]:
    """Return the items of a JSON body, each with a key of its own where the batch has one.

    Raises Problem 422; its member `items` has what is wrong with which.
    """
    key = _batch_key(raw.get("idempotency_key"), header_key)
    items = raw.get("items")
    if raw.keys() - {"items", "idempotency_key"} or not isinstance(items, list):
        raise Problem(422, "invalid_request", "A batch is an object with a list named items, and perhaps a key.")
    if not 0 < len(items) <= ITEMS_MAX:
        raise Problem(422, "invalid_request", f"A batch has 1 to {ITEMS_MAX} items.")
    found: list[PathSubmission | UploadSubmission] = []
    wrong: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        try:
            found.append(_item(item, index, key))
        except Problem as problem:
            wrong.append({"index": index, "problem": problem.body})
    if wrong:
        detail = f"{len(wrong)} of the {len(items)} items cannot be submitted like this. Nothing was submitted."
        raise Problem(422, "invalid_items", detail, items=wrong)
    return found


def shared_fields(raw: Mapping[str, str], header_key: str | None, files: int) -> list[Submission]:
    """Return the fields of each file of a form: the same ones, each with a key of its own. Raises Problem 422."""
    if not files:
        raise Problem(422, "no_file", "The form has no field named files. Attach the videos there.")
    values = dict(raw)
    key = _batch_key(values.pop("idempotency_key", None), header_key)
    fields = parse_form(values, None)
    if isinstance(fields, UploadSubmission):
        raise Problem(422, "invalid_request", "A form brings its videos itself. Send uploads' ids as JSON.")
    return [fields.model_copy(update={"idempotency_key": _key_of(key, index)}) for index in range(files)]


def _batch_key(field: Any, header: str | None) -> str | None:
    if field is not None and header is not None and field != header:
        raise Problem(422, "invalid_request", "The Idempotency-Key header and the field differ. Send one.")
    key = header if field is None else field
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= IDEMPOTENCY_KEY_MAX - len(f"#{ITEMS_MAX}")):
        raise Problem(422, "invalid_request", "The idempotency key of a batch has 1 to 197 characters.")
    return key


def _key_of(key: str | None, index: int) -> str | None:
    return None if key is None else f"{key}#{index}"


def _item(raw: Any, index: int, key: str | None) -> PathSubmission | UploadSubmission:
    """`filename` is the predecessor's other word for `video_path`."""
    if not isinstance(raw, dict):
        raise Problem(422, "invalid_request", "The item is no object.")
    values = dict(raw)
    if "filename" in values:
        if values.get("video_path", values["filename"]) != values["filename"]:
            raise Problem(422, "invalid_request", "The fields filename and video_path differ. Send one.")
        values["video_path"] = values.pop("filename")
    if "upload_id" in values and "video_path" in values:
        raise Problem(422, "invalid_request", "The item has a video_path and an upload_id. Send one of them.")
    if values.get("idempotency_key") is None and key is not None:
        values["idempotency_key"] = _key_of(key, index)
    return parse_body(values, None)
