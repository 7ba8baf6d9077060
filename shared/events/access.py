"""Event types of the front door: what happened to accounts, uploads and a user's own settings.

Lives here: what came in, and who did what to whom. Does not live here: any credential, password or factor (those are
rows of auth.db, which is no projection), and what becomes of an upload's job (`types`).
"""

from typing import Literal

from pydantic import Field

from shared.events.envelope import Data, Envelope, Timestamp
from shared.events.names import Device, Mode

Outcome = Literal["succeeded", "failed", "refused"]


class AuditRecordedData(Data):
    """One security event. `about` is the user or object that it happened to, by id; nothing here is a secret."""

    action: str
    """For instance `login`, `key.created`, `user.disabled` (docs/security.md lists them)."""
    outcome: Outcome = "succeeded"
    about: str = ""
    address: str = ""
    agent: str = ""
    """The beginning of the client's User-Agent."""
    detail: dict[str, str | int | bool] = Field(default_factory=dict)


class AuditRecorded(Envelope):
    """`subject` is who did it: a user's id, `local`, or `anonymous`."""

    type: Literal["dubline.audit.recorded.v1"] = "dubline.audit.recorded.v1"
    data: AuditRecordedData


class UploadCreatedData(Data):
    """Room is reserved for `total_bytes`; `sealed`: it is encrypted at rest. `title` is empty but in older logs."""

    owner: str
    title: str
    total_bytes: int
    sealed: bool = False
    expires_at: Timestamp


class UploadCreated(Envelope):
    type: Literal["dubline.upload.created.v1"] = "dubline.upload.created.v1"
    data: UploadCreatedData


class UploadCompletedData(Data):
    """All bytes are on the disk; `sha256` is of the plain bytes, counted on the way; `title` as in `UploadCreated`."""

    owner: str
    title: str
    total_bytes: int
    sha256: str
    sealed: bool = False


class UploadCompleted(Envelope):
    type: Literal["dubline.upload.completed.v1"] = "dubline.upload.completed.v1"
    data: UploadCompletedData


class UploadRemovedData(Data):
    """Its bytes are gone without having become a job's source."""

    owner: str
    reason: Literal["terminated", "expired", "refused"]


class UploadRemoved(Envelope):
    type: Literal["dubline.upload.removed.v1"] = "dubline.upload.removed.v1"
    data: UploadRemovedData


class UserSettingsSavedData(Data):
    """What a user's submissions say where the request does not; None: nothing, so the system's default holds."""

    mode: Mode | None = None
    device: Device | None = None
    src_lang: str | None = None
    tgt_lang: str | None = None
    tts_lang: str | None = None
    tts_speaker: str | None = None


class UserSettingsSaved(Envelope):
    """`subject` is the user whose settings these are; `actor` may be an admin."""

    type: Literal["dubline.settings.saved.v1"] = "dubline.settings.saved.v1"
    data: UserSettingsSavedData


UploadEvent = UploadCreated | UploadCompleted | UploadRemoved
AccessEvent = AuditRecorded | UploadEvent | UserSettingsSaved
"""Of no job."""
