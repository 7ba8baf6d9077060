"""GET and HEAD /files/{path}: finished files, with ranges.

Lives here: the route and its document. Does not live here: the answer (`services.library.file_answers`), and the way
that most requests take to it, past the framework (`services.library.lane`).
"""

from typing import Any

from fastapi import APIRouter, Request, Response

from services.library.file_answers import Asked, answer
from services.library.library import library_of
from services.library.routes.documents import problem
from shared.access.current import Who

router = APIRouter(tags=["files"])

_BYTES: dict[str, Any] = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": _BYTES},
    206: {"description": "A part of it, or several as multipart/byteranges.", "content": _BYTES},
    304: {"description": "It is as the client has it."},
    **problem(404, "There is no such file, or it is not yours to read.", "file_not_found"),
    **problem(412, "The file is not the one that was named.", "precondition_failed"),
    **problem(416, "The file does not have these bytes.", "range_not_satisfiable"),
    **problem(500, "The file is encrypted at rest and cannot be opened.", "file_unreadable", "internal_error"),
}
CONDITIONS = {
    "parameters": [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "example": example}
        for name, example in (
            ("Range", "bytes=0-1023"),
            ("If-Range", '"9f86d081"'),
            ("If-Match", '"9f86d081"'),
            ("If-None-Match", '"9f86d081"'),
            ("If-Modified-Since", "Fri, 02 Jan 2026 03:04:05 GMT"),
            ("If-Unmodified-Since", "Fri, 02 Jan 2026 03:04:05 GMT"),
        )
    ]
}


@router.get(
    "/files/{path:path}",
    response_class=Response,
    summary="A file, whole or in parts",
    responses=RESPONSES,
    openapi_extra=CONDITIONS,
)
@router.head("/files/{path:path}", include_in_schema=False)
async def file(request: Request, who: Who, path: str) -> Response:
    """A file below the output root, by its path; the whole, one range or several."""
    asked = Asked.of(request.method, path, request.headers.items(), request.app.state.handoff_token, who)
    return await answer(library_of(request), asked)
