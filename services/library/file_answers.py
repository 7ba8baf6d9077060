"""The answer to a request for a file.

Lives here: the order of RFC 9110 (find, preconditions, range, send), and what is recorded of a file. Does not live
here: the parts of it, who may read it (`file_owners`), the route and its document (`routes.files`).
"""

import asyncio
import hmac
import os
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from starlette.responses import Response

from services.library.file_headers import describing_headers, validating_headers, validators
from services.library.file_owners import may_read
from services.library.files import NotServedError, OpenFile, open_below
from services.library.jobstore.queries import RecordedFile, read_file
from services.library.library import Library
from services.library.ranges import UnsatisfiableRangeError, combined, parse_ranges, precondition, range_applies
from services.library.sending import FileResponse, handed_off
from services.library.unsealing import revealed
from shared.access.principal import Principal
from shared.problems import Problem

GATEWAY_HEADER = "x-dubline-gateway"
"""The gateway writes a word into it that nobody else knows, over whatever a client sent."""

_RECORDED_AT = "SELECT coalesce(value ->> '$.ended_at', value ->> '$.updated_at') FROM jobs WHERE key = ?"
"""Once a job has ended, none of its files is written any more."""


@dataclass(frozen=True)
class Owner:
    """Whose a file is, as jobs.db records it; `since` is the time of the record."""

    file: RecordedFile
    since: datetime | None


@dataclass(frozen=True)
class Asked:
    """A request: `headers` with lower-case names, each once; `token` is the gateway's word, empty without one."""

    method: str
    path: str
    headers: Mapping[str, str]
    token: str
    who: Principal

    @classmethod
    def of(cls, method: str, path: str, headers: Iterable[tuple[str, str]], token: str, who: Principal) -> "Asked":
        """`headers` may repeat names; `path` is relative to the output root, decoded."""
        return cls(method, path, combined(headers), token, who)


async def answer(library: Library, asked: Asked) -> Response:
    """Return the response to a request for a file. Raises Problem 404, 412, 416, 500 (`unsealing`)."""
    root, path = library.layout.output, asked.path

    def find(jobs_db: sqlite3.Connection) -> tuple[Owner | None, OpenFile]:
        if not may_read(jobs_db, root, path, asked.who):
            raise NotServedError(path)
        owner = owner_of(jobs_db, path)
        digest = owner.file.sha256 if owner else None
        return owner, revealed(open_below(root, path), root / path, library.vault, digest)

    try:
        # One turn of a thread for all; jobs.db lies on the same volume, so one is as slow as the other.
        owner, opened = await _kept(asyncio.ensure_future(library.reader.run(find)))
    except NotServedError as error:
        raise Problem(404, "file_not_found", "There is no such file.") from error
    try:
        response = _answer(asked, opened, owner)
    except BaseException:
        os.close(opened.fd)
        raise
    if not isinstance(response, FileResponse):
        os.close(opened.fd)
    return response


async def _kept(finding: asyncio.Future[tuple[Owner | None, OpenFile]]) -> tuple[Owner | None, OpenFile]:
    """Wait for it; what a thread opens for a request that has ended meanwhile is closed."""
    try:
        return await asyncio.shield(finding)
    except asyncio.CancelledError:
        finding.add_done_callback(_close)
        raise


def _close(found: asyncio.Future[tuple[Owner | None, OpenFile]]) -> None:
    if found.exception() is None:
        os.close(found.result()[1].fd)


def owner_of(connection: sqlite3.Connection, path: str) -> Owner | None:
    """Return what is recorded of this file, by indexed look-ups, however many jobs there are (predecessor fault V10).

    None for what no job recorded: logs, review files, chunks of a stream, what the predecessor left.
    Raises sqlite3.Error.
    """
    recorded = read_file(connection, path)
    if recorded is None:
        return None
    row = connection.execute(_RECORDED_AT, (recorded.job_id,)).fetchone()
    return Owner(recorded, datetime.fromisoformat(row[0]) if row and row[0] else None)


def _answer(asked: Asked, opened: OpenFile, owner: Owner | None) -> Response:
    """Return the response. A FileResponse closes the file; for any other, and on any error, the caller does."""
    headers = asked.headers
    known = validators(opened, owner.file, owner.since) if owner else validators(opened, None, None)
    match precondition(headers, known, asked.method):
        case 304:
            return Response(status_code=304, headers=validating_headers(known))
        case 412:
            detail = "The file is not the one that was named by If-Match, If-None-Match or If-Unmodified-Since."
            raise Problem(412, "precondition_failed", detail, headers=validating_headers(known))
    spans = None
    wanted = headers.get("range")
    if asked.method == "GET" and wanted and range_applies(headers, known):
        try:
            spans = parse_ranges(wanted, opened.size)
        except UnsatisfiableRangeError as error:
            unsatisfied = validating_headers(known) | {"Content-Range": f"bytes */{opened.size}"}
            detail = f"The file has {opened.size} bytes."
            raise Problem(416, "range_not_satisfiable", detail, headers=unsatisfied) from error
    described = describing_headers(asked.path, known)
    if asked.method == "GET" and opened.sealed is None and _through_gateway(asked):
        return handed_off(asked.path, described, spans)
    return FileResponse(opened, described, spans)


def _through_gateway(asked: Asked) -> bool:
    """Return whether the gateway asks, and this library was told to hand files off to it."""
    shown = asked.headers.get(GATEWAY_HEADER, "")
    return bool(asked.token) and hmac.compare_digest(shown.encode(), asked.token.encode())
