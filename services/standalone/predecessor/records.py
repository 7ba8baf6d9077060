"""What a record of the predecessor means here. Pure.

Lives here: old jobs, presets and projects as our events' data, with every tolerance that old records need (missing
members, `JobState.DONE`, unfinished jobs). Does not live here: files (`importer`).
"""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast, get_args

from shared.curation import TAGS_MAX, check_output_subdir, clean_name, clean_tags
from shared.events.library import PresetSavedData, ProjectSavedData, Visibility
from shared.events.names import Device, Mode
from shared.events.types import AudioTrack, JobImportedData, JobSubmittedData, SourceMedia, VideoTrack
from shared.identity import LOCAL_OWNER, is_job_id
from shared.layout import safe_stem

Ended = Literal["DONE", "FAILED", "CANCELED"]
UNFINISHED = frozenset({"QUEUED", "PAUSED", "RUNNING"})
LEFT_UNFINISHED = "It was not finished when it was imported."
LANGUAGE_MAX_CHARS = 16
TITLE_MAX_CHARS = 255

_PRESET_ID = re.compile(r"^preset_[0-9a-f]{16}\Z")
_PROJECT_ID = re.compile(r"^proj_[0-9a-f]{16}\Z")


class SkippedError(Exception):
    """The record cannot be taken over; the message says why."""


@dataclass(frozen=True)
class OldJob:
    """A job as it will be imported, but for its base directory and files; `video` names its source there."""

    id: str
    data: JobImportedData
    project_subdir: str
    recorded: tuple[str, ...]
    """Absolute paths of outputs that the record names."""
    notes: list[str] = field(default_factory=list)
    """What was left out of it, and why."""


def old_job(key: str, record: Any) -> OldJob:
    """Return what a row of the table `jobs` means. Raises SkippedError."""
    if not isinstance(record, Mapping):
        raise SkippedError("it is not a record")
    job_id = str(record.get("id") or key)
    if not is_job_id(job_id):
        raise SkippedError("its id is not a UUID")
    notes: list[str] = []
    runtime = _mapping(record.get("runtime"))
    state, error = _state(record)
    video = _text(record.get("video_path"))
    name = posixpath.basename(video.replace("\\", "/"))
    created = _time(record.get("created_at")) or datetime.fromtimestamp(0, UTC)
    project_name, project_subdir = _project(runtime, notes)
    submitted = JobSubmittedData(
        owner=_text(record.get("owner_id")) or LOCAL_OWNER,
        title=(name or _text(runtime.get("source_stem")) or job_id)[:TITLE_MAX_CHARS],
        stem=safe_stem(_text(runtime.get("source_stem")) or name or job_id),
        base_dir="",
        source=_unknown_source(_number(record.get("duration_s"))),
        src_lang=_text(record.get("src_lang"))[:LANGUAGE_MAX_CHARS] or "auto",
        tgt_lang=_text(record.get("tgt_lang"))[:LANGUAGE_MAX_CHARS] or "en",
        mode=_choice(record.get("mode"), Mode, "medium"),
        device=_choice(record.get("device"), Device, "auto"),
        project_id=_known_id(_PROJECT_ID, runtime.get("project_id")),
        project_name=project_name,
        preset_id=_known_id(_PRESET_ID, runtime.get("preset_id")),
        tags=_tags(runtime.get("tags"), notes),
        visibility=_visibility(record.get("visibility")),
    )
    data = JobImportedData(
        submitted=submitted,
        state=state,
        created_at=created,
        updated_at=_time(record.get("updated_at")) or created,
        error=error,
        archived=bool(runtime.get("archived")),
    )
    recorded = tuple(path for key in ("output_mkv", "output_srt") if (path := _text(record.get(key))))
    return OldJob(job_id, data, project_subdir, recorded, notes)


def old_preset(key: str, record: Any) -> tuple[str, PresetSavedData]:
    """Return a preset's id and data. Raises SkippedError."""
    preset_id, name, owner, created = _named(key, record, _PRESET_ID)
    return preset_id, PresetSavedData(
        owner=owner,
        name=name,
        mode=_choice(record.get("mode"), Mode, "medium"),
        device=_choice(record.get("device"), Device, "auto"),
        src_lang=_text(record.get("src_lang"))[:LANGUAGE_MAX_CHARS] or "ja",
        tgt_lang=_text(record.get("tgt_lang"))[:LANGUAGE_MAX_CHARS] or "en",
        tts_lang=_text(record.get("tts_lang"))[:LANGUAGE_MAX_CHARS],
        tts_speaker=_text(record.get("tts_speaker"))[:TITLE_MAX_CHARS],
        created_at=created,
    )


def old_project(key: str, record: Any) -> tuple[str, ProjectSavedData]:
    """Return a project's id and data. Raises SkippedError."""
    project_id, name, owner, created = _named(key, record, _PROJECT_ID)
    try:
        subdir = check_output_subdir(_text(record.get("output_subdir")).strip("/"))
    except ValueError as error:
        raise SkippedError(f"its directory is not acceptable: {error}") from None
    preset = _known_id(_PRESET_ID, record.get("default_preset_id"))
    return project_id, ProjectSavedData(
        owner=owner, name=name, output_subdir=subdir, default_preset_id=preset, created_at=created
    )


def _named(key: str, record: Any, pattern: re.Pattern[str]) -> tuple[str, str, str, datetime]:
    if not isinstance(record, Mapping):
        raise SkippedError("it is not a record")
    own_id = _known_id(pattern, record.get("id") or key)
    if own_id is None:
        raise SkippedError("its id is not one of the predecessor's")
    try:
        name = clean_name(_text(record.get("name")))
    except ValueError as error:
        raise SkippedError(str(error)) from None
    created = _time(record.get("created_at")) or datetime.fromtimestamp(0, UTC)
    return own_id, name, _text(record.get("owner_id")) or LOCAL_OWNER, created


def _state(record: Mapping[Any, Any]) -> tuple[Ended, str | None]:
    state = _text(record.get("state")).rsplit(".", 1)[-1].upper()
    error = _text(record.get("error")) or None
    if state in get_args(Ended):
        return cast(Ended, state), None if state == "DONE" else error
    if state in UNFINISHED:
        return "CANCELED", LEFT_UNFINISHED
    raise SkippedError(f"its state is {state[:20]!r}")


def _project(runtime: Mapping[Any, Any], notes: list[str]) -> tuple[str | None, str]:
    project = runtime.get("project")
    record = _mapping(project)
    raw = _text(record.get("name")) or _text(runtime.get("project_name")) or _text(project)
    try:
        name = clean_name(raw) if raw else None
        return name, check_output_subdir(_text(record.get("output_subdir")).strip("/"))
    except ValueError as error:
        notes.append(f"its project was left out: {error}")
        return None, ""


def _tags(raw: Any, notes: list[str]) -> list[str]:
    kept: list[str] = []
    for tag in raw if isinstance(raw, list | tuple) else ():
        try:
            (clean,) = clean_tags([_text(tag)])
        except ValueError as error:
            notes.append(f"a tag was left out: {error}")
        else:
            kept.append(clean)
    return list(dict.fromkeys(kept))[:TAGS_MAX]


def _unknown_source(duration_s: float) -> SourceMedia:
    return SourceMedia(
        path="",
        sha256="",
        size=0,
        container="",
        duration_s=duration_s,
        video=VideoTrack(index=0, codec="", width=0, height=0, frame_rate="0/1"),
        audio=AudioTrack(index=0, codec="", channels=0, layout="", sample_rate=0),
    )


def _visibility(raw: Any) -> Visibility:
    return "shared" if _text(raw) in {"shared", "public"} else "private"


def _choice(raw: Any, choices: Any, default: Any) -> Any:
    return raw if raw in get_args(choices) else default


def _known_id(pattern: re.Pattern[str], raw: Any) -> str | None:
    text = _text(raw)
    return text if pattern.match(text) else None


def _mapping(raw: Any) -> Mapping[Any, Any]:
    return raw if isinstance(raw, Mapping) else {}


def _text(raw: Any) -> str:
    return raw.encode("utf-8", "replace").decode() if isinstance(raw, str) else ""


def _number(raw: Any) -> float:
    return float(raw) if isinstance(raw, int | float) and 0 <= raw < 1e9 else 0.0


def _time(raw: Any) -> datetime | None:
    if isinstance(raw, str):
        try:
            raw = datetime.fromisoformat(raw)
        except ValueError:
            return None
    if not isinstance(raw, datetime):
        return None
    return raw.astimezone(UTC) if raw.tzinfo else raw.replace(tzinfo=UTC)
