"""What is said of a file in a response's headers: type, name, validators, and what a browser may do with it. Pure.

Does not live here: what a request's headers ask (`ranges`), the bytes (`sending`).
"""

import posixpath
import re
import unicodedata
from datetime import datetime, timedelta
from urllib.parse import quote

from services.library.files import OpenFile
from services.library.http_dates import format_http_date
from services.library.jobstore.queries import RecordedFile
from services.library.ranges import Validators

TEXT = "text/plain; charset=utf-8"
MEDIA_TYPES = {
    ".mkv": "video/x-matroska",
    ".mp4": "video/mp4",
    ".m4s": "video/mp4",
    ".webm": "video/webm",
    ".ts": "video/mp2t",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".wav": "audio/wav",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".srt": "application/x-subrip; charset=utf-8",
    ".vtt": "text/vtt; charset=utf-8",
    ".json": "application/json",
    ".jsonl": TEXT,
    ".log": TEXT,
    ".md": TEXT,
    ".txt": TEXT,
}
UNKNOWN_TYPE = "application/octet-stream"

SAVED = frozenset({".mkv", ".srt", ".ts", ".m4s", ".m3u8"})
"""Of known types, what no browser shows by itself: it is offered to be saved, as everything of an unknown type is."""

SAFETY_HEADERS = {
    # A file that is opened by itself runs nothing and reaches nothing; a browser's own player may show it.
    "Content-Security-Policy": "sandbox; default-src 'none'; media-src 'self'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}

CLOCK_SLACK = timedelta(seconds=2)
"""By how much a file server's clock may be ahead of that of a worker."""


def media_type(path: str) -> str:
    """Return the Content-Type of a path, by its suffix in any case."""
    return MEDIA_TYPES.get(_suffix(path), UNKNOWN_TYPE)


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1].lower()


def validators(file: OpenFile, recorded: RecordedFile | None, recorded_at: datetime | None) -> Validators:
    """Return a strong entity tag, the recorded SHA-256, if this is the recorded file; else a weak one.

    It is if it has the recorded size and was not written after the record: artifacts are complete before their event
    and never changed after it. The digest is not computed anew, so a file of the same size whose times were set back
    on purpose passes; `dubline library verify` finds it. A copy with new times (an ordinary restore) gets a weak tag,
    which is right and costs a client that resumes a download the whole of it.
    """
    if (
        recorded is not None
        and recorded_at is not None
        and recorded.size == file.size
        and file.modified <= recorded_at + CLOCK_SLACK
    ):
        return Validators(f'"{recorded.sha256}"', file.modified)
    return Validators(f'W/"{file.size:x}-{int(file.modified.timestamp()):x}"', file.modified)


def describing_headers(path: str, file_validators: Validators) -> dict[str, str]:
    """Return the headers of a response that has the file, or a part of it."""
    return {
        **validating_headers(file_validators),
        "Content-Type": media_type(path),
        "Last-Modified": format_http_date(file_validators.modified),
        "Accept-Ranges": "bytes",
        "Content-Disposition": content_disposition(path),
    }


def validating_headers(file_validators: Validators) -> dict[str, str]:
    """Return the headers that an answer without the file has too: 304 (RFC 9110, 15.4.5), 412 and 416."""
    return {"ETag": file_validators.etag, "Cache-Control": "private, no-cache", **SAFETY_HEADERS}


def content_disposition(path: str) -> str:
    """Return whether a browser shows or saves the file, and under which name (RFC 6266, RFC 8187).

    Control, direction-changing and other invisible characters are replaced in the name: a person who saves
    `report[U+202E]txt.exe` should see what it is.
    """
    name = path.rsplit("/", 1)[-1]
    name = "".join("_" if unicodedata.category(character)[0] == "C" else character for character in name)
    suffix = _suffix(path)
    disposition = "inline" if suffix in MEDIA_TYPES and suffix not in SAVED else "attachment"
    ascii_name = re.sub(r'[^\x20-\x7e]|["\\%]', "_", name)
    return f"{disposition}; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}"
