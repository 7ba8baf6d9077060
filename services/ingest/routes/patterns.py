"""What the OpenAPI document says about ids, directories and words.

Lives here: the patterns. They tell and do not check: the rules themselves are `shared.curation`'s, whose refusals say
in words what is wrong. That a name or a tag has no invisible characters is told in words alone: as a pattern it would
list ranges of all of Unicode.
"""

from typing import Any

from shared.curation import SUBDIR_MAX_DEPTH

JOB_ID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
WEBHOOK_ID = r"^hook_[0-9a-f]{16}$"
MESSAGE_ID = r"^msg_[0-9a-f]{32}$"

_PART = r"[^\W_]([\w\-. ]*[\w\-])?"
SUBDIR = rf"^((?![Jj][Oo][Bb][Ss](/|$)){_PART}(/{_PART}){{0,{SUBDIR_MAX_DEPTH - 1}}})?$"


def words(longest: int) -> dict[str, Any]:
    """Return the schema's members for a name or a tag of up to `longest` characters."""
    return {"minLength": 1, "maxLength": longest}
