"""What a submission gets where it says nothing itself: from its preset, its project, or its user's own settings.

Lives here: the order of these, and how a profile is told from another one. Pure. Does not live here: looking them up
(`placing`), and what the system says where none of them does (`fields.Submission`).
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from services.ingest.fields import Submission
from shared.events.access import UserSettingsSavedData
from shared.events.envelope import Value
from shared.events.library import PresetSavedData, ProjectSavedData
from shared.problems import Problem

GIVEN = ("mode", "device", "src_lang", "tgt_lang")
"""What a preset, or else the user's settings, give to a job so far."""
HASH_DIGITS = 16


def with_defaults(
    fields: Submission,
    preset: PresetSavedData | None,
    project: ProjectSavedData | None = None,
    own: UserSettingsSavedData | None = None,
) -> Submission:
    """Return the fields with what the preset says where the request says nothing, and after it the user's settings.

    Of the overrides, the request's win over the preset's profile, and that one's over the project's. Raises Problem 422
    where the job would then be dubbed into its own language.
    """
    said: dict[str, Any] = {}
    for source in (own, preset):  # what is nearer to the request last
        if source is not None:
            said |= {name: value for name in GIVEN if (value := getattr(source, name)) is not None}
    said = {name: value for name, value in said.items() if name not in fields.model_fields_set}
    if profile := _profile(fields, preset, project):
        said["overrides"] = profile | fields.overrides
    fields = fields.model_copy(update=said)
    if fields.src_lang == fields.tgt_lang:
        detail = f"The video would be dubbed from {fields.tgt_lang} into itself. Choose another target language."
        raise Problem(422, "same_language", detail)
    return fields


def _profile(fields: Submission, preset: PresetSavedData | None, project: ProjectSavedData | None) -> dict[str, Value]:
    """Of a job, the override `device` beats the field `device`; so none may stay below a field that is nearer."""
    found = dict(project.profile) if project else {}
    if preset is not None:
        if preset.device != "auto":
            found.pop("device", None)
        found |= preset.profile
    if "device" in fields.model_fields_set:
        found.pop("device", None)
    return found


def profile_hash(profile: Mapping[str, Value]) -> str:
    """Return the beginning of the SHA-256 of the profile's canonical JSON: equal for equal profiles, in any order."""
    canonical = json.dumps(dict(profile), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:HASH_DIGITS]
