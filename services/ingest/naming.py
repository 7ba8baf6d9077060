"""What a user's file name becomes: a title to show. Any name is accepted; none ever reaches a command line or a path.

A private job's title is made of its id instead.

Lives here: cleaning. Does not live here: directory names (`shared.layout.safe_stem`).
"""

import re
import unicodedata

TITLE_MAX_CHARS = 255
NO_NAME = "video"
REDACTED = "(redacted)"
"""What the predecessor wrote for the name of a private job's video, in `video.txt`."""

_FORM_ESCAPE = re.compile(r"%(0[0-9A-Fa-f]|1[0-9A-Fa-f]|22)")
_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Invisible characters that reorder text and so disguise an ending. Right-to-left letters need none of them."""


def form_file_name(raw: bytes) -> str:
    """Return the name in a form's `filename` parameter.

    Clients send UTF-8 and escape only quotes and control characters (WHATWG HTML, "multipart/form-data").
    """
    return _FORM_ESCAPE.sub(lambda match: chr(int(match[1], 16)), raw.decode("utf-8", errors="replace"))


def clean_title(file_name: str) -> str:
    """Return a file name fit to be shown: its last path component, without control characters, at most 255 long."""
    name = unicodedata.normalize("NFC", file_name).replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(c for c in name if unicodedata.category(c) not in {"Cc", "Cs", "Zl", "Zp"})
    shown = "".join(c for c in kept if c not in _BIDI_CONTROLS)
    return re.sub(r"\s+", " ", shown).strip()[:TITLE_MAX_CHARS].rstrip() or NO_NAME


def private_title(job_id: str) -> str:
    """Return the title, and the stem, of a job whose video's name is nobody's business. The end of an id is random."""
    return f"private-{job_id[-8:]}"
