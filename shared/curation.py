"""Rules for the words that people give: tags, names of projects and presets, the directory of a project. Pure.

Lives here: what is accepted, and how it is written. Does not live here: who may give them (`services.ingest`).
"""

import re
import unicodedata
from collections.abc import Iterable

TAGS_MAX = 20
TAG_MAX_CHARS = 32
NAME_MAX_CHARS = 120
SUBDIR_MAX_DEPTH = 4
SUBDIR_PART_MAX_BYTES = 120

RESERVED_DIRECTORIES = frozenset({"_state", "jobs"})
"""Names at the output root that are the installation's own."""

_SUBDIR_PART = re.compile(r"^\w[\w\-. ]*\Z", re.UNICODE)


def clean_text(raw: str) -> str:
    """Return a name in NFC without control and reordering characters, white space collapsed. Raises ValueError."""
    text = unicodedata.normalize("NFC", raw)
    if any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} for c in text):
        raise ValueError("it has control or invisible characters")
    return re.sub(r"\s+", " ", text).strip()


def clean_tags(raw: Iterable[str]) -> tuple[str, ...]:
    """Return tags in lower case, each once, in their order. Raises ValueError for too many, too long, or empty ones."""
    tags = tuple(dict.fromkeys(clean_text(tag).lower() for tag in raw))
    if len(tags) > TAGS_MAX:
        raise ValueError(f"a job has at most {TAGS_MAX} tags")
    for tag in tags:
        if not 0 < len(tag) <= TAG_MAX_CHARS:
            raise ValueError(f"a tag has 1 to {TAG_MAX_CHARS} characters")
    return tags


def clean_name(raw: str) -> str:
    """Return the name of a project or a preset. Raises ValueError for an empty or too long one."""
    name = clean_text(raw)
    if not 0 < len(name) <= NAME_MAX_CHARS:
        raise ValueError(f"a name has 1 to {NAME_MAX_CHARS} characters")
    return name


def check_output_subdir(raw: str) -> str:
    """Return a project's directory below the output root, with forward slashes; empty for none. Raises ValueError.

    Every part begins with a letter or a digit: no `..`, nothing hidden, no drive, no absolute path.
    """
    if raw == "":
        return ""
    parts = unicodedata.normalize("NFC", raw).split("/")
    if len(parts) > SUBDIR_MAX_DEPTH:
        raise ValueError(f"a project's directory is at most {SUBDIR_MAX_DEPTH} levels deep")
    for part in parts:
        if not _SUBDIR_PART.match(part) or part != part.strip(" .") or part.startswith("_"):
            raise ValueError("every part is letters, digits, - . _ and blanks, and begins with a letter or a digit")
        if len(part.encode()) > SUBDIR_PART_MAX_BYTES:
            raise ValueError(f"a part is longer than {SUBDIR_PART_MAX_BYTES} bytes")
    if parts[0].lower() in RESERVED_DIRECTORIES:
        raise ValueError(f"{parts[0]} is the installation's own")
    return "/".join(parts)
