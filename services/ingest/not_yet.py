"""Fields of the predecessor's submission whose feature does not exist yet.

Lives here: which values mean "off", which are accepted, and the refusal of every other: what is not done is never
accepted silently. Does not live here: the fields that are obeyed (`fields`). Pure.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

NOT_SUPPORTED = "not_supported_yet"
_NO = (False, "", "off", "0", "false", "no", None)
"""As a form, a JSON body or an old program may say that something is not wanted."""


def _only(*accepted: Any) -> AfterValidator:
    """Return the check of a field that has only these values; what it becomes is the first of them."""

    def check(value: Any) -> Any:
        said = value.strip().lower() if isinstance(value, str) else value
        if any(type(said) is type(choice) and said == choice for choice in accepted):
            return accepted[0]
        raise PydanticCustomError(NOT_SUPPORTED, "only {off} is supported yet", {"off": str(accepted[0]).lower()})

    return AfterValidator(check)


Off = Annotated[Any, _only(*_NO), WithJsonSchema({"enum": list(_NO)})]
Nothing = Annotated[Any, _only("", None), WithJsonSchema({"enum": ["", None]})]
FromAudio = Annotated[Any, _only("audio", "", None), WithJsonSchema({"enum": ["audio", "", None]})]


class NotYet(BaseModel):
    """Members that a submission may have, at their defaults only."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    pg: Off = False
    pg_policy_path: Nothing = ""
    qa: Off = False
    style_guide_path: Nothing = ""
    speaker_smoothing: Off = False
    scene_detect: FromAudio = "audio"
    director: Off = False
    director_strength: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Without `director`, it changes nothing."""


NOT_YET = frozenset(NotYet.model_fields)
