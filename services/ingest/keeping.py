"""What a submission says about what is kept of its job, and what the installation says where it does not.

Lives here: the predecessor's five fields with their spellings, and the one value that they amount to. Pure. Does not
live here: the value (`shared.keeping`), what goes when (`shared.job.kept`), the environment (`settings`).
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from shared.keeping import KEEP_ALL, PRIVATE, CachePolicy, Keeping
from shared.problems import Problem

_SAID: dict[str, bool | None] = {
    "on": True, "true": True, "1": True, "yes": True,
    "off": False, "false": False, "0": False, "no": False,
    "": None, "null": None,
}  # fmt: skip
"""What a form says for null is its text."""


def _switch(value: Any) -> Any:
    """Return what a form, a JSON body or an old program says; what is no switch is left to be refused."""
    return _SAID.get(value.strip().lower(), value) if isinstance(value, str) else value


def _chosen(value: Any) -> Any:
    said = value.strip().lower() if isinstance(value, str) else value
    return None if said in ("", "null") else said


Switch = Annotated[
    bool | None, BeforeValidator(_switch), WithJsonSchema({"enum": [True, False, *_SAID, None], "default": None})
]
Policy = Annotated[
    CachePolicy | None,
    BeforeValidator(_chosen),
    WithJsonSchema({"enum": ["full", "balanced", "minimal", "", None], "default": None}),
]


class KeepingFields(BaseModel):
    """Members of a submission about what outlives its job; null or empty: as the installation has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    cache_policy: Policy = None
    """What stages handed to each other: `full`, `balanced` (all but the sound), or `minimal` (nothing)."""
    privacy: Switch = None
    """On: the video's name is written nowhere, and all of the following are on."""
    privacy_mode: Switch = None
    """The same as `privacy`."""
    no_store_transcript: Switch = None
    """No text of what was said, and so no subtitles."""
    no_store_source_audio: Switch = None
    """No sound that was taken out of the video."""
    minimal_artifacts: Switch = None
    """As the cache policy `minimal`, and no logs of the job."""


NOTHING_SAID = KeepingFields()


def check_one_word(fields: KeepingFields) -> None:
    """Refuse two names of one field that differ. Raises Problem 422."""
    if None not in (fields.privacy, fields.privacy_mode) and fields.privacy != fields.privacy_mode:
        raise Problem(422, "invalid_request", "The fields privacy and privacy_mode differ. Send one.")


def keeping_of(asked: KeepingFields, installation: KeepingFields = NOTHING_SAID) -> Keeping:
    """Return what is kept. Each field that a request does not have is the installation's; `privacy` is above them."""

    def said(name: str) -> Any:
        value = getattr(asked, name)
        return getattr(installation, name) if value is None else value

    private = asked.privacy if asked.privacy is not None else said("privacy_mode")
    if private:
        return PRIVATE
    few = bool(said("minimal_artifacts"))
    return Keeping(
        cache="minimal" if few else said("cache_policy") or KEEP_ALL.cache,
        transcript=not said("no_store_transcript"),
        source_audio=not said("no_store_source_audio"),
        logs=not few,
    )
