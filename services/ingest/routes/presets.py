"""`POST /api/presets`, `PUT` and `DELETE /api/presets/{id}`: what submissions need not repeat.

Lives here: the routes and the rules for the members. Does not live here: the events (`services.ingest.presets`), and
reading (`services.library`).
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from services.ingest.asker import Asker
from services.ingest.fields import AUTO, Language, Overrides
from services.ingest.presets import ID_PATTERN, change_preset, create_preset, delete_preset
from services.ingest.routes.context import FromApp
from services.ingest.routes.curation import Deleted
from services.ingest.routes.patterns import words
from services.ingest.routes.projects import BUSY, PRESET_EXAMPLE, PROFILE_EXAMPLE
from shared.curation import NAME_MAX_CHARS, clean_name, clean_text
from shared.events.envelope import Timestamp, Value
from shared.events.library import PresetSaved
from shared.events.names import Device, Mode
from shared.identity import LOCAL_OWNER
from shared.openapi import problem

router = APIRouter(prefix="/api/presets", tags=["presets"])

PresetId = Annotated[str, Path(json_schema_extra={"pattern": ID_PATTERN}, examples=[PRESET_EXAMPLE])]
REFUSALS: dict[int | str, dict[str, Any]] = {
    404: problem("Unknown preset", "preset_not_found"),
    409: BUSY,
    503: problem("Try again", "log_unavailable"),
}
NOT_USABLE: dict[int | str, dict[str, Any]] = {422: problem("Not usable", "invalid_request")}

SPEAKER_FILE = "tts_speaker_wav"


class PresetBody(BaseModel):
    """All of a preset: what is not sent has its default, also in a change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(clean_name)] = Field(
        examples=["Portuguese, quick"], json_schema_extra=words(NAME_MAX_CHARS)
    )
    mode: Mode = "medium"
    device: Device = "auto"
    src_lang: Language | Literal["auto"] = Field(AUTO, examples=[AUTO])
    tgt_lang: Language = Field("en", examples=["pt"])
    tts_lang: Language | Literal[""] = Field("", examples=["pt"], description="Empty: the target language.")
    tts_speaker: Annotated[str, Field(max_length=NAME_MAX_CHARS), AfterValidator(clean_text)] = Field(
        "",
        description="Kept for voices to come; empty: the engine's own choice.",
    )
    profile: Overrides = Field(
        {},
        examples=[PROFILE_EXAMPLE],
        description="Settings that differ from the mode's; a submission's overrides win.",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_server_paths(cls, values: Any) -> Any:
        if isinstance(values, dict) and SPEAKER_FILE in values:
            raise ValueError(f"{SPEAKER_FILE} was a path on the server, which no request may choose: leave it out")
        return values

    @model_validator(mode="after")
    def _two_languages(self) -> "PresetBody":
        if self.src_lang == self.tgt_lang:
            raise ValueError(f"a video is not dubbed from {self.tgt_lang} into itself")
        return self


class Preset(BaseModel):
    """A preset as it is."""

    id: str = Field(examples=[PRESET_EXAMPLE])
    owner_id: str = Field(examples=[LOCAL_OWNER])
    name: str = Field(examples=["Portuguese, quick"])
    created_at: Timestamp
    updated_at: Timestamp
    mode: Mode
    device: Device
    src_lang: str = Field(examples=["en"])
    tgt_lang: str = Field(examples=["pt"])
    tts_lang: str = Field(examples=["pt"])
    tts_speaker: str = Field(examples=[""])
    profile: dict[str, Value] = Field(examples=[PROFILE_EXAMPLE])

    @classmethod
    def of(cls, event: PresetSaved) -> "Preset":
        settings = event.data.model_dump(exclude={"owner"})
        return cls(id=event.subject, owner_id=event.data.owner, updated_at=event.time, **settings)


@router.post(
    "",
    status_code=201,
    summary="Make a preset",
    responses=NOT_USABLE | {503: problem("Try again", "log_unavailable")},
)
async def create(body: PresetBody, by: Asker, response: Response, service: FromApp) -> Preset:
    """Submit with `preset_id` to use it, or make it a project's default."""
    preset = Preset.of(await create_preset(service.bus.log, body.model_dump(), by))
    response.headers["Location"] = f"/api/presets/{preset.id}"
    return preset


@router.put("/{preset_id}", summary="Replace a preset", responses=REFUSALS | NOT_USABLE)
async def change(preset_id: PresetId, body: PresetBody, by: Asker, service: FromApp) -> Preset:
    """Jobs that were submitted with it stay as they are."""
    return Preset.of(await change_preset(service.bus.log, preset_id, body.model_dump(), by))


@router.delete("/{preset_id}", summary="Delete a preset", responses=REFUSALS)
async def remove(preset_id: PresetId, by: Asker, service: FromApp) -> Deleted:
    """A project that has it as its default has none from here on; jobs stay as they are."""
    await delete_preset(service.bus.log, preset_id, by)
    return Deleted(id=preset_id)
