"""The files that a job made, found on disk: one answer for the API, the command line and the pages.

Lives here: which file is of which kind, and `discover_outputs`: what the log recorded, else what job.json names, else
where the predecessor put things. Only regular files below the output root count, reached without following a link.
Does not live here: sending them (`services.library.files`) and what job.json contains (`shared.manifests`).
"""

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.base_dirs import is_reserved
from shared.below import NOT_SUCH, NOT_THERE, directory_below, names_at, parts_of, read_at, stat_below
from shared.manifests import JobManifest
from shared.sealing.format import DamagedError, plain_size
from shared.sealing.reader import is_sealed

FILES_MAX = 2000
"""More files than this are not listed: no answer grows with what somebody put into a directory."""
FILES_URL = "/files/"

Kind = Literal[
    "mkv", "mp4", "mobile_mp4", "mobile_original_mp4", "hls_manifest", "mobile_hls_manifest", "lipsync_mp4", "subs",
    "audio_track", "qa_summary", "qa_top_issues", "retention_report",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

_JOB_MANIFEST = "manifests/job.json"
_JOB_MANIFEST_MAX_BYTES = 1 << 20
_STREAM_MANIFEST = "stream/manifest.json"
_PLAYLISTS = ("index.m3u8", "master.m3u8", "stream.m3u8")
_FIXED: dict[str, Kind] = {
    "final_lipsynced.mp4": "lipsync_mp4",
    "mobile/mobile.mp4": "mobile_mp4",
    "mobile/original.mp4": "mobile_original_mp4",
    "qa/summary.json": "qa_summary",
    "qa/top_issues.md": "qa_top_issues",
    "analysis/retention_report.json": "retention_report",
}
_BY_SUFFIX: dict[str, Kind] = {
    ".mkv": "mkv", ".mp4": "mp4", ".m3u8": "hls_manifest", ".srt": "subs", ".vtt": "subs",
}  # fmt: skip
_DIRECTORIES = ("subs", "mobile", "mobile/hls", "hls", "audio/tracks", "qa", "analysis")
"""Where else than at its top an old base directory has outputs."""
_DUBS = (".dub.mkv", ".dub.mp4")
_OLD_SUBTITLES = (".srt", ".translated.srt")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*\Z")


class OutputFile(BaseModel):
    """A file that is there: `path` is relative to the output root, `mtime` in seconds of Unix time.

    `size_bytes` is what is served: of a file that is encrypted at rest, its plain length.

    `lang` is the language that a subtitle's name tells; `sha256` the recorded one, unless the size differs from then.
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind
    name: str
    path: str
    url: str
    size_bytes: int
    mtime: float
    lang: str | None = None
    sha256: str | None = None


class Link(BaseModel):
    """Where one particular file is."""

    model_config = ConfigDict(frozen=True)

    url: str
    path: str


class Outputs(BaseModel):
    """All files of a job, by kind and path, and the first of each kind of which a player or a page wants one."""

    model_config = ConfigDict(frozen=True)

    files: list[OutputFile]
    hls_manifest: Link | None = None
    lipsync_mp4: Link | None = None
    mp4: Link | None = None
    mkv: Link | None = None
    mobile_mp4: Link | None = None
    mobile_original_mp4: Link | None = None
    mobile_hls_manifest: Link | None = None
    qa_summary: Link | None = None
    qa_top_issues: Link | None = None
    stream_manifest: Link | None = None
    """The chunks of a streamed dub: not an output by itself, so not among `files`."""


def kind_of(inside: str) -> Kind | None:
    """Return what a file is by its path relative to the base directory; None for what is no output."""
    if inside in _FIXED:
        return _FIXED[inside]
    directory, name = posixpath.split(inside)
    kind = _BY_SUFFIX.get(posixpath.splitext(name)[1].lower())
    match directory:
        case "":
            return kind
        case "subs":
            return kind if kind == "subs" else None
        case "hls":
            return "hls_manifest" if name in _PLAYLISTS else None
        case "mobile/hls":
            return "mobile_hls_manifest" if name in _PLAYLISTS else None
        case "audio/tracks":
            return "audio_track"
        case _:
            return None


def place(kind: Kind, inside: str) -> tuple[int, bool, str]:
    """Return what outputs are sorted by: the kind, the dub itself before other renders, the path."""
    return KINDS.index(kind), not inside.endswith(_DUBS), inside


def language_of(name: str) -> str | None:
    """Return the language in a subtitle's name, `<stem>.<language>.<srt or vtt>`."""
    parts = name.split(".")
    return parts[-2] if len(parts) > 2 and _LANGUAGE.match(parts[-2]) else None


def discover_outputs(output_root: Path, base_dir: str, recorded: Sequence[Mapping[str, Any]] = ()) -> Outputs:
    """Return the outputs of a job that are on disk now. Blocks: call it in a thread. Raises OSError for a failing disk.

    `recorded` are those that the log tells of, as `job_outputs` keeps them (`kind`, `path`, and perhaps `size_bytes`,
    `sha256` and `lang`); `base_dir` is relative to the output root, as all paths are. No directory is walked: at most
    a few fixed ones are listed, and only where neither the log nor job.json says what there is.
    """
    listed = _recorded(output_root, recorded)
    if not listed and not is_reserved(base_dir):
        manifest = _manifest(output_root, base_dir)
        inside = _by_manifest(manifest) if manifest else _by_name(output_root, base_dir)
        listed = list(_existing(output_root, base_dir, inside))
    listed.sort(key=lambda file: place(file.kind, file.path))
    first: dict[str, Link] = {}
    for file in listed:
        first.setdefault(file.kind, Link(url=file.url, path=file.path))
    stream = next(_existing(output_root, base_dir, [("qa_summary", _STREAM_MANIFEST)]), None)
    return Outputs(
        files=listed,
        stream_manifest=stream and Link(url=stream.url, path=stream.path),
        **{name: link for name, link in first.items() if name in Outputs.model_fields},
    )


def _recorded(output_root: Path, recorded: Sequence[Mapping[str, Any]]) -> list[OutputFile]:
    listed = []
    for output in recorded[:FILES_MAX]:
        file = _file(output_root, output["kind"], output["path"], output.get("lang"))
        if file is not None:
            same = output.get("size_bytes") == file.size_bytes
            listed.append(file.model_copy(update={"sha256": output.get("sha256") if same else None}))
    return listed


def _existing(output_root: Path, base_dir: str, inside: Sequence[tuple[Kind, str]]) -> Iterator[OutputFile]:
    for kind, path in inside[:FILES_MAX]:
        if base_dir and (file := _file(output_root, kind, f"{base_dir}/{path}")):
            yield file


def _file(output_root: Path, kind: Kind, path: str, lang: str | None = None) -> OutputFile | None:
    try:
        hidden = is_reserved(path) or any(part.startswith(".") for part in parts_of(path))
    except OSError:  # no path below the root
        return None
    found = None if hidden else stat_below(output_root, path)
    if found is None:
        return None
    name = posixpath.basename(path)
    return OutputFile(
        kind=kind,
        name=name,
        path=path,
        url=FILES_URL + quote(path),
        size_bytes=_plain_size(output_root, path, found.st_size),
        mtime=found.st_mtime,
        lang=lang or (language_of(name) if kind == "subs" else None),
    )


def _plain_size(output_root: Path, path: str, size: int) -> int:
    directory, name = posixpath.split(path)
    try:
        with directory_below(output_root, directory) as above:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=above)
    except OSError as error:
        if error.errno in NOT_THERE:  # gone since it was looked at
            return size
        raise
    try:
        return plain_size(size) if is_sealed(fd) else size
    except DamagedError:
        return size
    finally:
        os.close(fd)


def _manifest(output_root: Path, base_dir: str) -> JobManifest | None:
    directory, name = posixpath.split(f"{base_dir}/{_JOB_MANIFEST}")
    try:
        with directory_below(output_root, directory) as manifests:
            return JobManifest.model_validate_json(read_at(manifests, name, _JOB_MANIFEST_MAX_BYTES))
    except ValidationError:  # of a later version, or damaged
        return None
    except OSError as error:
        if error.errno in NOT_SUCH:
            return None
        raise


def _by_manifest(manifest: JobManifest) -> list[tuple[Kind, str]]:
    """Return what job.json names, and what it has no member for but a fixed place in the directory."""
    outputs, summary = manifest.outputs, manifest.special.qa_summary
    named = [*outputs.primary.items(), *outputs.mobile.items()]
    found: list[tuple[Kind, str]] = [(kind, path) for name, path in named for kind in KINDS if kind == name]
    found += [("audio_track", path) for path in outputs.tracks]
    found += [("subs", path) for path in outputs.subs]
    found += [("qa_summary", summary)] if summary else []
    return found + [(kind, path) for path, kind in _FIXED.items() if kind in ("qa_top_issues", "retention_report")]


def _by_name(output_root: Path, base_dir: str) -> list[tuple[Kind, str]]:
    """Return what has the name and the place of an output of the predecessor."""
    top = _names(output_root, base_dir)
    stems = {name.removesuffix(dub) for name in top for dub in _DUBS if name.endswith(dub)} | {
        posixpath.basename(base_dir)
    }
    ours = {f"{stem}{end}" for stem in stems for end in (*_DUBS, *_OLD_SUBTITLES, ".m3u8")}
    ours |= {"dub.review.mkv", *_PLAYLISTS}
    inside = [name for name in top if name in ours or name in _FIXED]
    for directory in _DIRECTORIES:
        inside += [f"{directory}/{name}" for name in _names(output_root, f"{base_dir}/{directory}")]
    return [(kind, path) for path in inside if (kind := kind_of(path)) is not None]


def _names(output_root: Path, directory: str) -> list[str]:
    try:
        with directory_below(output_root, directory) as opened:
            return names_at(opened)[:FILES_MAX]
    except OSError as error:
        if error.errno in NOT_THERE:
            return []
        raise
