"""GET and HEAD /files/{path}: finished files, with ranges.

Lives here: the order of RFC 9110 (find, preconditions, range, send). Does not live here: the parts of it.
"""

import asyncio
import os

from fastapi import APIRouter, Request, Response

from services.library.files import (
    FileResponse,
    NotServedError,
    OpenFile,
    describing_headers,
    open_below,
    validators,
)
from services.library.jobstore.reader import read_file
from services.library.library import Library
from services.library.ranges import UnsatisfiableRangeError, parse_ranges, precondition, range_applies
from services.library.routes.jobs import NeedsLibrary
from shared.problems import Problem

router = APIRouter(tags=["files"])


@router.api_route("/files/{path:path}", methods=["GET", "HEAD"])
async def file(library: NeedsLibrary, request: Request, path: str) -> Response:
    """A file below the output root, by its path; the whole, one range or several."""
    try:
        opened = await asyncio.to_thread(open_below, library.layout.output, path)
    except NotServedError as error:
        raise Problem(404, "file_not_found", "There is no such file.") from error
    try:
        return await _answer(library, request, path, opened)
    except BaseException:
        os.close(opened.fd)
        raise


async def _answer(library: Library, request: Request, path: str, opened: OpenFile) -> Response:
    """Return the response, which closes the file if it is a FileResponse; on any error the caller does."""
    recorded = await library.reader.run(lambda connection: read_file(connection, path))
    sha256 = recorded.sha256 if recorded and recorded.size == opened.size else None
    known = validators(opened, sha256)
    headers = describing_headers(path, known)
    if (status := precondition(request.headers, known, request.method)) is not None:
        os.close(opened.fd)
        return Response(status_code=status, headers=headers)
    spans = None
    asked = request.headers.get("range")
    if request.method == "GET" and asked and range_applies(request.headers, known):
        try:
            spans = parse_ranges(asked, opened.size)
        except UnsatisfiableRangeError as error:
            detail = f"The file has {opened.size} bytes."
            unsatisfied = {"Content-Range": f"bytes */{opened.size}"}
            raise Problem(416, "range_not_satisfiable", detail, headers=unsatisfied) from error
    return FileResponse(opened, path, headers, spans)
