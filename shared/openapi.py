"""What an OpenAPI document says of every operation alike: refusals, with an example of each.

Lives here: the finishing of FastAPI's document. Does not live here: what single routes refuse (each service's own).
"""

from typing import Any

from fastapi import FastAPI

from shared.problems import CONTENT_TYPE, TYPE_BASE

SCHEMA = "Problem"
CODES = "x-codes"
REPLACED = ("HTTPValidationError", "ValidationError")
"""FastAPI's own error schemas, which no answer follows."""
METHODS = ("get", "head", "options", "put", "post", "patch", "delete")


def problem(description: str, *codes: str) -> dict[str, Any]:
    """Return the description of a refusal with the codes that it can carry, which `finish` makes into examples."""
    return {"description": description, CODES: codes}


_PROBLEM: dict[str, Any] = {
    "title": SCHEMA,
    "description": "RFC 9457. `code` is stable, `detail` is a sentence that says what to do; some have more members.",
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
    },
}
_EVERYWHERE = {
    "401": problem("Nobody is signed in, or not any more", "not_signed_in", "invalid_credential"),
    "403": problem(
        "Not for this credential; a page of another site, or a name not served",
        *("scope_missing", "person_needed", "csrf_required", "csrf_invalid", "cross_site_request", "host_not_allowed"),
    ),
    "429": problem("Too many tries; `Retry-After` says when the next one counts", "too_many_requests"),
    "503": problem("Nobody can say now whose the credential is; try again", "access_unavailable"),
}
_WRITING = {"413": problem("The body is too large", "body_too_large")}
_WITH_BODY = {
    "400": problem("The body could not be read", "http_400"),
    "422": problem("Not what is described here", "invalid_request"),
}


def install(app: FastAPI) -> None:
    """Let this application's document be finished when it is asked for first."""
    made = app.openapi

    def finished() -> dict[str, Any]:
        if app.openapi_schema is None:
            finish(made())
        return app.openapi_schema or {}

    app.openapi = finished  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def finish(document: dict[str, Any]) -> None:
    """Complete the document in place."""
    for path in document["paths"].values():
        for method in METHODS:
            if method in path:
                _finish(path[method], _EVERYWHERE if method in ("get", "head", "options") else _EVERYWHERE | _WRITING)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in REPLACED:
        schemas.pop(name, None)
    schemas[SCHEMA] = _PROBLEM


def _finish(operation: dict[str, Any], everywhere: dict[str, Any]) -> None:
    responses = operation["responses"]
    if "application/json" in responses.get("422", {}).get("content", {}):  # FastAPI's own
        del responses["422"]
        if any(parameter["in"] == "query" for parameter in operation.get("parameters", ())):
            responses["422"] = _WITH_BODY["422"]
    common = everywhere | (_WITH_BODY if "requestBody" in operation else {})
    operation["responses"] = {
        status: _described(int(status), _joined(common.get(status), answer))
        for status, answer in sorted((common | responses).items())
    }


def _joined(common: dict[str, Any] | None, own: dict[str, Any]) -> dict[str, Any]:
    """Return a route's own refusal with the codes that every route has for its status."""
    if common is None or CODES not in own:
        return own
    return own | {CODES: tuple(dict.fromkeys((*own[CODES], *common[CODES])))}


def _described(status: int, answer: dict[str, Any]) -> dict[str, Any]:
    if CODES not in answer:
        return answer
    examples = {code: {"value": _example(status, code, answer["description"])} for code in answer[CODES]}
    content = {"schema": {"$ref": f"#/components/schemas/{SCHEMA}"}, "examples": examples}
    return {"description": answer["description"], "content": {CONTENT_TYPE: content}}


def _example(status: int, code: str, description: str) -> dict[str, Any]:
    return {
        "type": TYPE_BASE + code,
        "title": code.replace("_", " "),
        "status": status,
        "code": code,
        "detail": f"{description}.",
    }
