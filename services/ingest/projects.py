"""Projects: a name that jobs are found by, a directory that their outputs lie in, a preset and a profile for new ones.

Lives here: making, changing and deleting them, and what no two of them may share. Does not live here: HTTP
(`routes.projects`), the rules for names and directories (`shared.curation`), the files of a project's jobs.
"""

import asyncio
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from services.ingest.asker import By
from services.ingest.history import TRIES
from services.ingest.presets import find_preset, unknown_preset
from services.ingest.saved import REMOVED, envelope, read_saved
from services.ingest.storage import disk_errors, make_project_directory
from shared.curation import SUBDIR_PART_MAX_BYTES, check_output_subdir, clean_name, clean_text
from shared.eventlog.port import ConflictError, EventLog, Expect
from shared.events.envelope import Value
from shared.events.library import ProjectDeleted, ProjectSaved, ProjectSavedData
from shared.events.subjects import ALL_PROJECTS, project_subject
from shared.identity import new_id
from shared.layout import Layout
from shared.problems import Problem

CONFLICT = 409
PREFIX = "proj"
ID_PATTERN = rf"^{PREFIX}_[0-9a-f]{{16}}$"

_ID = re.compile(rf"{PREFIX}_[0-9a-f]{{16}}")
_UNSAFE = re.compile(r"[^\w\-. ]+", re.UNICODE)
_ID_END = 9
"""So many characters of an id tell two directories apart: `-` and eight digits."""

log = structlog.get_logger()


@dataclass(frozen=True)
class NewProject:
    """What a person asked for; `output_subdir` None: a directory named after the project, `""`: none of its own."""

    name: str
    output_subdir: str | None
    default_preset_id: str | None
    profile: dict[str, Value]


@dataclass(frozen=True)
class Change:
    """What of a project shall be otherwise; `profile` None: it stays.

    `fixed` are the members that a request repeats and may not change.
    """

    default_preset_id: str | None
    profile: dict[str, Value] | None
    fixed: dict[str, str]


class Projects:
    """The writing side of one ingest process; `lock` keeps its own requests from losing to each other."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = asyncio.Lock()

    async def create(self, events: EventLog, wanted: NewProject, by: By) -> ProjectSaved:
        """Append a new project and return its event.

        Raises Problem 409 where its name or its directory is taken, 422, 507, LogUnavailableError.
        """
        name = _checked_name(wanted.name)
        asked = None if wanted.output_subdir is None else _checked_subdir(wanted.output_subdir)
        await _check_preset(events, wanted.default_preset_id, by.actor)
        project_id = new_id(PREFIX)
        attributes = envelope(project_id, by)  # one id for all tries (E3)
        async with self._lock:
            for _ in range(TRIES):
                known, head = await read_saved(events, ALL_PROJECTS, ProjectSaved)
                _check_name_free(known.values(), name, by.actor)
                candidates = default_subdirs(name, project_id) if asked is None else (asked,)
                subdir = await asyncio.to_thread(self._claim, list(known.values()), candidates)
                data = ProjectSavedData(
                    owner=by.actor,
                    name=name,
                    output_subdir=subdir,
                    default_preset_id=wanted.default_preset_id,
                    profile=wanted.profile,
                    created_at=attributes["time"],
                )
                event = ProjectSaved(**attributes, data=data)
                try:
                    await events.append(event, Expect(ALL_PROJECTS, head))
                except ConflictError:
                    continue
                log.info("project_created", project=project_id)
                return event
        raise _too_busy()

    def _claim(self, known: Iterable[ProjectSaved], candidates: Sequence[str]) -> str:
        """Make the first directory that nobody else has, and return it."""
        for candidate in candidates:
            try:
                _check_subdir_free(known, candidate)
                with disk_errors():
                    make_project_directory(self._layout, candidate)
            except Problem as taken:
                if taken.status != CONFLICT or candidate == candidates[-1]:
                    raise
            else:
                return candidate
        raise AssertionError("the last candidate is returned or raises")


async def find_project(events: EventLog, project_id: str) -> ProjectSaved | None:
    """Return the project as it is; None for what is none, or no more. Raises LogUnavailableError."""
    found, _ = await _read(events, project_id)
    return found


async def project_named(events: EventLog, name: str, owner: str) -> ProjectSaved | None:
    """Return the owner's project of this name, in any case. Raises LogUnavailableError."""
    known, _ = await read_saved(events, ALL_PROJECTS, ProjectSaved)
    return next((one for one in known.values() if _is(one, name, owner)), None)


async def projects_of(events: EventLog, owner: str) -> list[ProjectSaved]:
    """Return the owner's projects, by name. Raises LogUnavailableError."""
    known, _ = await read_saved(events, ALL_PROJECTS, ProjectSaved)
    return sorted((one for one in known.values() if one.data.owner == owner), key=lambda one: name_key(one.data.name))


async def change_project(events: EventLog, project_id: str, wanted: Change, by: By) -> ProjectSaved:
    """Give the project another default preset, and another profile.

    Raises Problem 404, 409, 422, LogUnavailableError.
    """
    for _ in range(TRIES):
        now, head = await _existing(events, project_id, by)
        await _check_preset(events, wanted.default_preset_id, now.data.owner)
        _check_fixed(now.data, wanted.fixed)
        profile = now.data.profile if wanted.profile is None else wanted.profile
        data = now.data.model_copy(update={"default_preset_id": wanted.default_preset_id, "profile": profile})
        if data == now.data:
            return now
        event = ProjectSaved(**envelope(project_id, by, now), data=data)
        try:
            await events.append(event, Expect(project_subject(project_id), head))
        except ConflictError:
            continue
        return event
    raise _too_busy()


async def delete_project(events: EventLog, project_id: str, by: By) -> None:
    """Let the project take no more jobs; those that it has keep its name and stay where they are.

    Raises Problem 404, also where it is deleted already, 409, LogUnavailableError.
    """
    for _ in range(TRIES):
        now, head = await _existing(events, project_id, by)
        event = ProjectDeleted(**envelope(project_id, by, now), data=REMOVED)
        try:
            await events.append(event, Expect(project_subject(project_id), head))
        except ConflictError:
            continue
        log.info("project_deleted", project=project_id)
        return
    raise _too_busy()


def default_subdirs(name: str, project_id: str) -> tuple[str, ...]:
    """Return directories for a project of this name: named after it, and with the end of its id if that one is taken.

    A name without a letter or a digit, or of a directory that is the installation's own, gives the id alone.
    """
    text = _UNSAFE.sub("_", clean_text(name)).strip(" ._-")
    text = text.encode()[: SUBDIR_PART_MAX_BYTES - _ID_END].decode(errors="ignore").strip(" ._-")
    try:
        wanted = check_output_subdir(text)
    except ValueError:
        wanted = ""
    return (wanted, f"{wanted}-{project_id[1 - _ID_END :]}") if wanted else (project_id,)


async def _read(events: EventLog, project_id: str) -> tuple[ProjectSaved | None, int]:
    if not _ID.fullmatch(project_id):  # it must not become a subject
        return None, 0
    known, head = await read_saved(events, project_subject(project_id), ProjectSaved)
    return known.get(project_id), head


async def _existing(events: EventLog, project_id: str, by: By) -> tuple[ProjectSaved, int]:
    found, head = await _read(events, project_id)
    if found is None or not by.principal.changes(found.data.owner):
        raise Problem(404, "project_not_found", "There is no project with this id.")
    return found, head


def _checked_name(raw: str) -> str:
    try:
        return clean_name(raw)
    except ValueError as error:
        raise Problem(422, "invalid_name", f"The project's name cannot be used: {error}.") from error


def _checked_subdir(raw: str) -> str:
    begins_or_ends_blank = raw != raw.strip()
    try:
        return check_output_subdir("/" if begins_or_ends_blank else raw)
    except ValueError as error:
        raise Problem(422, "invalid_output_subdir", f"The project's directory cannot be used: {error}.") from error


async def _check_preset(events: EventLog, preset_id: str | None, owner: str) -> None:
    if preset_id is not None and await find_preset(events, preset_id, owner) is None:
        raise unknown_preset()


def name_key(name: str) -> str:
    """Return what is equal for two writings of one project's name."""
    return " ".join(unicodedata.normalize("NFC", name).split()).casefold()


def _is(project: ProjectSaved, name: str, owner: str) -> bool:
    return project.data.owner == owner and name_key(project.data.name) == name_key(name)


def _check_name_free(known: Iterable[ProjectSaved], name: str, owner: str) -> None:
    for one in known:
        if _is(one, name, owner):
            raise Problem(
                409,
                "project_exists",
                "You have a project of this name. Use it, or choose another name.",
                id=one.subject,
            )


def _check_subdir_free(known: Iterable[ProjectSaved], subdir: str) -> None:
    """One directory inside another's is refused too: a job's own directory there could hold the other project."""
    for one in known:
        if _overlap(one.data.output_subdir, subdir):
            detail = "Another project has this directory, or one around or inside it. Choose another one."
            raise Problem(409, "output_subdir_taken", detail)  # whose it is, and how it is called, is not told


def _overlap(one: str, other: str) -> bool:
    """Whether two directories are the same or one contains the other, also on a disk that ignores case."""
    if not one or not other:
        return False  # the output root is everybody's
    a, b = f"{one.casefold()}/", f"{other.casefold()}/"
    return a.startswith(b) or b.startswith(a)


def _check_fixed(data: ProjectSavedData, fixed: dict[str, str]) -> None:
    for member, value in fixed.items():
        if getattr(data, member) != value:
            detail = "A project's name and directory never change: its jobs carry them. Make another project."
            raise Problem(422, "project_fixed", detail, member=member)


def _too_busy() -> Problem:
    return Problem(409, "too_busy", "The projects change too fast. Try again.")
