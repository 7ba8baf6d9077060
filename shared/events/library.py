"""Event types of the library: what a person does to finished or unfinished jobs, and projects, presets and webhooks.

Lives here: everything that a person may change and no worker cares about. Does not live here: a job's life
(`types`), the rules for tags, names and directories (`shared.curation`).
"""

from typing import Literal

from pydantic import Field

from shared.events.envelope import Data, Envelope, Timestamp, Value
from shared.events.names import Device, Mode

Visibility = Literal["private", "shared"]


class JobTaggedData(Data):
    """All tags that the job has from here on (`shared.curation.clean_tags`)."""

    tags: list[str]


class JobTagged(Envelope):
    type: Literal["dubline.job.tagged.v1"] = "dubline.job.tagged.v1"
    data: JobTaggedData


class CurationData(Data):
    reason: str = ""


class JobArchived(Envelope):
    """Lists leave the job out unless asked for; nothing else changes."""

    type: Literal["dubline.job.archived.v1"] = "dubline.job.archived.v1"
    data: CurationData


class JobUnarchived(Envelope):
    type: Literal["dubline.job.unarchived.v1"] = "dubline.job.unarchived.v1"
    data: CurationData


class JobVisibilityChangedData(Data):
    visibility: Visibility


class JobVisibilityChanged(Envelope):
    """`shared`: every user of the installation may see the job; `private`: its owner and admins."""

    type: Literal["dubline.job.visibility_changed.v1"] = "dubline.job.visibility_changed.v1"
    data: JobVisibilityChangedData


class JobDeletedData(Data):
    """What has to go from the disk, as the job's own events named it."""

    owner: str
    base_dir: str
    source: str
    """Relative to the input root; empty for an imported job."""
    stored_bytes: int = 0
    """What its owner's use of space is less from now on."""
    reason: str = ""


class JobDeleted(Envelope):
    """The job's row and files go; that it existed stays in the log. Nothing happens to the job after this."""

    type: Literal["dubline.job.deleted.v1"] = "dubline.job.deleted.v1"
    data: JobDeletedData


class ProjectSavedData(Data):
    """A project as it is from here on; its first event makes it. Name and directory never change: jobs carry them."""

    owner: str
    name: str
    output_subdir: str = ""
    default_preset_id: str | None = None
    profile: dict[str, Value] = Field(default_factory=dict)
    """Settings that its jobs have where neither the submission nor its preset says otherwise; checked as overrides."""
    created_at: Timestamp


class ProjectSaved(Envelope):
    type: Literal["dubline.project.saved.v1"] = "dubline.project.saved.v1"
    data: ProjectSavedData


class ProjectDeleted(Envelope):
    """The project takes no more jobs; those that it has keep its name and directory."""

    type: Literal["dubline.project.deleted.v1"] = "dubline.project.deleted.v1"
    data: CurationData


class PresetSavedData(Data):
    """A preset as it is from here on: what a submission that names it need not say itself."""

    owner: str
    name: str
    mode: Mode = "medium"
    device: Device = "auto"
    src_lang: str = "auto"
    tgt_lang: str = "en"
    tts_lang: str = ""
    tts_speaker: str = ""
    profile: dict[str, Value] = Field(default_factory=dict)
    """Settings that differ from the mode's, as a submission's overrides, which win over these."""
    created_at: Timestamp


class PresetSaved(Envelope):
    type: Literal["dubline.preset.saved.v1"] = "dubline.preset.saved.v1"
    data: PresetSavedData


class PresetDeleted(Envelope):
    type: Literal["dubline.preset.deleted.v1"] = "dubline.preset.deleted.v1"
    data: CurationData


class WebhookSavedData(Data):
    """A webhook as it is from here on. Its secret is not here: it is derived from the id and `generation`."""

    owner: str
    url: str
    events: list[str] = Field(default_factory=list)
    """Event types that it wants; empty: `job.completed`, `job.failed` and `job.canceled` of its owner's jobs."""
    enabled: bool = True
    disabled_because: str = ""
    generation: int = 1
    rotated_at: Timestamp | None = None
    """When this generation took over; the one before signs beside it for a day."""
    description: str = ""
    created_at: Timestamp


class WebhookSaved(Envelope):
    type: Literal["dubline.webhook.saved.v1"] = "dubline.webhook.saved.v1"
    data: WebhookSavedData


class WebhookDeleted(Envelope):
    type: Literal["dubline.webhook.deleted.v1"] = "dubline.webhook.deleted.v1"
    data: CurationData


class WebhookSendRequestedData(Data):
    """`message` is the id of a delivery that shall be sent again; empty asks for a `webhook.test`."""

    message: str = ""


class WebhookSendRequested(Envelope):
    """Somebody wants to see the webhook at work; changes nothing about it."""

    type: Literal["dubline.webhook.send_requested.v1"] = "dubline.webhook.send_requested.v1"
    data: WebhookSendRequestedData


CurationEvent = JobTagged | JobArchived | JobUnarchived | JobVisibilityChanged | JobDeleted
"""Of one job, on its `.library` subject."""
ProjectEvent = ProjectSaved | ProjectDeleted
PresetEvent = PresetSaved | PresetDeleted
WebhookEvent = WebhookSaved | WebhookDeleted | WebhookSendRequested
SettingsEvent = ProjectEvent | PresetEvent | WebhookEvent
"""Of no job: aggregates of their own, one subject each."""
