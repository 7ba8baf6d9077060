"""`/api/settings`: one's own defaults for submissions, and the limits of this installation; an admin's way to a user's.

Lives here: the routes and the rules for the members. Does not live here: the events (`services.ingest.user_settings`),
and `GET /api/settings/left` (`routes.estimate`).
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from services.ingest.accounts import users
from services.ingest.asker import Asker
from services.ingest.fields import AUTO, Language, Submission
from services.ingest.routes.context import FromApp, Service
from services.ingest.routes.users import UNKNOWN, UserId
from services.ingest.settings import IngestSettings
from services.ingest.user_settings import NOTHING, find_settings, save_settings
from shared.curation import NAME_MAX_CHARS, clean_text
from shared.events.access import UserSettingsSaved, UserSettingsSavedData
from shared.events.envelope import Timestamp
from shared.events.names import Device, Mode
from shared.openapi import problem

router = APIRouter(prefix="/api", tags=["settings"])

AWAY: dict[int | str, dict[str, Any]] = {503: problem("Try again", "log_unavailable")}
BUSY: dict[int | str, dict[str, Any]] = {409: problem("Others change them all the while; try again", "too_busy")}


class Defaults(BaseModel):
    """What submissions get where neither they nor their preset say it; null: nothing, so the system's holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode | None = Field(None, examples=["medium"])
    device: Device | None = Field(None, examples=["auto"])
    src_lang: Language | Literal["auto"] | None = Field(None, examples=[AUTO])
    tgt_lang: Language | None = Field(None, examples=["pt"])
    tts_lang: Language | Literal[""] | None = Field(None, examples=["pt"], description="Empty: the target language.")
    tts_speaker: Annotated[str, Field(max_length=NAME_MAX_CHARS), AfterValidator(clean_text)] | None = Field(
        None,
        examples=[""],
        description="Kept for voices to come; empty: the engine's own choice.",
    )

    @model_validator(mode="after")
    def _two_languages(self) -> "Defaults":
        if self.src_lang is not None and self.src_lang == self.tgt_lang:
            raise ValueError(f"a video is not dubbed from {self.tgt_lang} into itself")
        return self


class SettingsBody(BaseModel):
    """All of the defaults: what is not sent is nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    defaults: Defaults


class System(BaseModel):
    """The same for everybody. `limits` by their environment names, 0 is none.

    `defaults` hold where nobody says anything. `budgets` and `notifications` are the predecessor's, and empty: nothing
    of theirs can be set here.
    """

    defaults: Defaults
    limits: dict[str, int | float] = Field(examples=[{"MAX_UPLOAD_MB": 2048, "MAX_VIDEO_MIN": 120}])
    budgets: dict[str, float] = Field({}, examples=[{}])
    notifications: dict[str, str] = Field({}, examples=[{}])


class UserSettings(BaseModel):
    """`updated_at` is null where nothing was ever saved."""

    defaults: Defaults
    system: System
    updated_at: Timestamp | None

    @classmethod
    def of(cls, saved: UserSettingsSaved | None, service: Service) -> "UserSettings":
        data = saved.data if saved else NOTHING
        return cls(
            defaults=Defaults.model_construct(**dict(data)),  # as saved, also by an older release with other rules
            system=_system(service.settings),
            updated_at=saved.time if saved else None,
        )


@router.get("/settings", summary="My settings", responses=AWAY)
async def mine(by: Asker, service: FromApp) -> UserSettings:
    """One's own defaults, and the limits that hold for every video."""
    return UserSettings.of(await find_settings(service.bus.log, by.actor), service)


@router.put("/settings", summary="Replace my settings", responses=BUSY | AWAY)
async def change(body: SettingsBody, by: Asker, service: FromApp) -> UserSettings:
    """They hold for what is submitted from now on; jobs stay as they are."""
    return UserSettings.of(await save_settings(service.bus.log, by.actor, _data(body), by), service)


@router.get("/admin/users/{user_id}/settings", summary="A user's settings", responses=UNKNOWN | AWAY)
async def theirs(user_id: UserId, service: FromApp) -> UserSettings:
    """As the user sees them."""
    await _existing(user_id, service)
    return UserSettings.of(await find_settings(service.bus.log, user_id), service)


@router.put("/admin/users/{user_id}/settings", summary="Replace a user's settings", responses=UNKNOWN | BUSY | AWAY)
async def change_theirs(user_id: UserId, body: SettingsBody, by: Asker, service: FromApp) -> UserSettings:
    """The log keeps which admin did it."""
    await _existing(user_id, service)
    return UserSettings.of(await save_settings(service.bus.log, user_id, _data(body), by), service)


async def _existing(user_id: str, service: Service) -> None:
    await service.accounts.db.reading(lambda connection: users.existing(connection, user_id))


def _data(body: SettingsBody) -> UserSettingsSavedData:
    return UserSettingsSavedData(**body.defaults.model_dump())


def _system(settings: IngestSettings) -> System:
    plain = Submission()
    return System(
        defaults=Defaults(
            mode=plain.mode,
            device=plain.device,
            src_lang=plain.src_lang,
            tgt_lang=plain.tgt_lang,
            tts_lang="",
            tts_speaker="",
        ),
        limits={
            "MAX_UPLOAD_MB": settings.max_upload_mb,
            "MAX_VIDEO_MIN": settings.max_video_min,
            "MAX_VIDEO_WIDTH": settings.max_video_width,
            "MAX_VIDEO_HEIGHT": settings.max_video_height,
            "MAX_VIDEO_PIXELS": settings.max_video_pixels,
            "MAX_OPEN_UPLOADS": settings.max_open_uploads,
            "MAX_OPEN_UPLOAD_MB": settings.max_open_upload_mb,
            "UPLOAD_TTL_HOURS": settings.upload_ttl_h,
        },
    )
