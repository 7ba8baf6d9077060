"""JSON answers that a client may keep and ask about again: ETag, If-None-Match, Cache-Control.

Lives here: the tag of a body and what follows from it. A tag is made of the bytes that would be sent and of nothing
else, so it is right whoever wrote the rows. Does not live here: files (`services.library.files`), any body.
"""

import hashlib

from fastapi import Response

TAG_BYTES = 12
HEADERS = {"Cache-Control": "private, no-cache"}
"""Keep it, but ask each time: an answer shows one owner's jobs as they are now."""

CONTENT_TYPE = "application/json"


def etag_of(body: bytes) -> str:
    """Return the weak tag of a body. SHA-1 is the fastest digest that processors have instructions for."""
    digest = hashlib.sha1(body, usedforsecurity=False).hexdigest()
    return f'W/"{digest[: 2 * TAG_BYTES]}"'


def unchanged(if_none_match: str | None, etag: str) -> bool:
    """Return whether the client has this body already (RFC 9110, 13.1.2: tags are compared weakly)."""
    if not if_none_match:
        return False
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return known == ["*"] or etag.removeprefix("W/") in known


def answer(body: bytes, if_none_match: str | None, etag: str | None = None) -> Response:
    """Return the body, or 304 without it; `etag` where it is known already."""
    tag = etag or etag_of(body)
    headers = HEADERS | {"ETag": tag}
    if unchanged(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=CONTENT_TYPE, headers=headers)
