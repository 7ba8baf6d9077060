"""Where a submission belongs: its project, its preset, and what both, and its user's own settings, say for it.

Lives here: looking them up in the log. Does not live here: what they are (`projects`, `presets`, `user_settings`)
and which of them wins (`defaults`). A project or a preset that is deleted after it was looked up still serves this one
submission.
"""

from dataclasses import dataclass

from services.ingest.defaults import with_defaults
from services.ingest.fields import Submission
from services.ingest.presets import find_preset, unknown_preset
from services.ingest.projects import find_project, name_key, project_named
from services.ingest.user_settings import find_settings
from shared.eventlog.port import EventLog
from shared.events.library import PresetSaved, ProjectSaved
from shared.problems import Problem


@dataclass(frozen=True)
class Place:
    """`fields` are those of the request with what these add; `subdir` is the project's directory or empty."""

    fields: Submission
    subdir: str = ""
    project_id: str | None = None
    project_name: str | None = None
    preset_id: str | None = None


async def placed(events: EventLog, fields: Submission, owner: str) -> Place:
    """Return where the submission belongs.

    Raises Problem 422 for a project or a preset that is not there, or where the job would be dubbed into its own
    language, LogUnavailableError.
    """
    project = await _project(events, fields, owner)
    preset = await _preset(events, fields, project, owner)
    own = await find_settings(events, owner)
    whole = with_defaults(
        fields, preset.data if preset else None, project.data if project else None, own.data if own else None
    )
    preset_id = preset.subject if preset else None
    if project is None:
        return Place(whole, preset_id=preset_id)
    return Place(whole, project.data.output_subdir, project.subject, project.data.name, preset_id)


async def _project(events: EventLog, fields: Submission, owner: str) -> ProjectSaved | None:
    name = fields.named_project
    if fields.project_id is not None:
        found = await find_project(events, fields.project_id)
    elif name is not None:
        found = await project_named(events, name, owner)
    else:
        return None
    if found is None or found.data.owner != owner:
        raise Problem(422, "unknown_project", "There is no project of this name or id. Choose another one, or none.")
    if name is not None and name_key(name) != name_key(found.data.name):
        raise Problem(422, "invalid_request", "The project's id and its name are of two projects. Send one of them.")
    return found


async def _preset(events: EventLog, fields: Submission, project: ProjectSaved | None, owner: str) -> PresetSaved | None:
    """A deleted preset is an error where the request names it, and none at all where only its project does."""
    if fields.preset_id is not None:
        found = await find_preset(events, fields.preset_id, owner)
        if found is None:
            raise unknown_preset()
        return found
    default = project.data.default_preset_id if project else None
    return await find_preset(events, default, owner) if default else None
