"""Every stream, subject and consumer name. Nobody else joins these strings.

Lives here: names. Does not live here: stream configuration (`shared.eventlog.streams`).
"""

from collections.abc import Callable

from shared.events.access import AuditRecorded, UploadCompleted, UploadCreated, UploadRemoved, UserSettingsSaved
from shared.events.library import (
    JobArchived,
    JobDeleted,
    JobTagged,
    JobUnarchived,
    JobVisibilityChanged,
    PresetDeleted,
    PresetSaved,
    ProjectDeleted,
    ProjectSaved,
    WebhookDeleted,
    WebhookSaved,
    WebhookSendRequested,
)
from shared.events.names import Pool, Stage
from shared.events.policy import JobDegraded, JobDelayed, JobReprioritized, JobRestored
from shared.events.runtime import LimitsChanged, PrewarmProgressed, PrewarmRequested, SchedulerTookOver, SlotGranted
from shared.events.types import (
    Event,
    StageClaimed,
    StageCompleted,
    StageFailed,
    StageReleased,
)

EVENT_STREAM = "DUB_EVT"
COMMAND_STREAM = "DUB_CMD"

ALL_EVENTS = "dub.evt.>"
ALL_COMMANDS = "dub.cmd.>"

WORKERS_DESCRIBE = "dub.ctl.workers.describe"
"""Request/reply: any worker answers with its `shared.capabilities.Capabilities`."""


SCHEDULER_GRANTS = "dub.evt.scheduler.grants"
"""Who schedules, and every slot that was granted: the scope of the scheduler's fence."""
RUNTIME_LIMITS = "dub.evt.runtime.limits"
RUNTIME_MODELS = "dub.evt.runtime.models"

PREWARM_WORKERS = "dub.ctl.workers.prewarm"
"""Wakes the workers after a `PrewarmRequested`: its `data` as JSON."""

SCHEDULER_ADMIT = "dub.ctl.scheduler.admit"
"""Request/reply: the active scheduler answers `runtime_state.AdmitRequest` with `AdmitAnswer`."""
SCHEDULER_ESTIMATE = "dub.ctl.scheduler.estimate"
"""Request/reply: the active scheduler answers `runtime_state.EstimateRequest` with `EstimateAnswer`."""


AUTH_RESOLVE = "dub.ctl.auth.resolve"
"""Request/reply: ingest answers `shared.access.resolution.ResolveRequest` with `ResolveAnswer`."""
AUTH_REVOKED = "dub.ctl.auth.revoked"
"""Core NATS, not stored: `shared.access.resolution.Revoked`, told by ingest to whoever resolves credentials."""


def scheduler_ping(holder: str) -> str:
    """Request/reply: the scheduler with this id answers while it lives."""
    return f"dub.ctl.scheduler.{holder}"


def pool_consumer(pool: Pool) -> str:
    """Durable consumer of one worker pool's commands."""
    return f"cmd_{pool}"


def job_filter(job_id: str) -> str:
    """Every event of one job: the scope of a job transition (E2)."""
    return f"dub.evt.job.{job_id}.>"


def job_of(subject: str) -> str:
    """The job that an event subject belongs to; empty for another kind of aggregate."""
    tokens = subject.split(".")
    return tokens[3] if tokens[:3] == ["dub", "evt", "job"] and len(tokens) > 3 else ""


def lifecycle_subject(job_id: str) -> str:
    """Submission, start, control and end of one job."""
    return f"dub.evt.job.{job_id}.lifecycle"


def stage_subject(job_id: str, stage: Stage, part: int = 0) -> str:
    """Events of one stage: the scope of its fence (E4)."""
    return f"dub.evt.job.{job_id}.stage.{stage}.{part}"


def policy_subject(job_id: str) -> str:
    """What the scheduler's policy did to one job while it waited: degraded, restored, delayed, priority."""
    return f"dub.evt.job.{job_id}.policy"


def library_subject(job_id: str) -> str:
    """What people did to one job: tags, archive, visibility, deletion."""
    return f"dub.evt.job.{job_id}.library"


ALL_PROJECTS = "dub.evt.project.*"
"""Every project's events: the scope in which a project's name and directory are unique."""
ALL_PRESETS = "dub.evt.preset.*"
ALL_WEBHOOKS = "dub.evt.webhook.*"


def project_subject(project_id: str) -> str:
    return f"dub.evt.project.{project_id}"


def preset_subject(preset_id: str) -> str:
    return f"dub.evt.preset.{preset_id}"


def webhook_subject(webhook_id: str) -> str:
    return f"dub.evt.webhook.{webhook_id}"


ALL_AUDIT = "dub.evt.audit.*"
ALL_UPLOADS = "dub.evt.upload.*"


def audit_subject(actor: str) -> str:
    """What one user, `local` or `anonymous` did."""
    return f"dub.evt.audit.{actor}"


def upload_subject(upload_id: str) -> str:
    return f"dub.evt.upload.{upload_id}"


def user_settings_subject(user: str) -> str:
    return f"dub.evt.settings.{user}"


def event_subject(event: Event) -> str:
    """The subject that this event is stored under."""
    match event:
        case StageClaimed() | StageCompleted() | StageFailed() | StageReleased():
            return stage_subject(event.subject, event.data.stage, event.data.part)
        case JobDegraded() | JobRestored() | JobDelayed() | JobReprioritized():
            return policy_subject(event.subject)
        case JobTagged() | JobArchived() | JobUnarchived() | JobVisibilityChanged() | JobDeleted():
            return library_subject(event.subject)
    own = _OF_NO_JOB.get(type(event))
    return own(event.subject) if own else lifecycle_subject(event.subject)


_OF_NO_JOB: dict[type[Event], Callable[[str], str]] = {
    ProjectSaved: project_subject,
    ProjectDeleted: project_subject,
    PresetSaved: preset_subject,
    PresetDeleted: preset_subject,
    WebhookSaved: webhook_subject,
    WebhookDeleted: webhook_subject,
    WebhookSendRequested: webhook_subject,
    AuditRecorded: audit_subject,
    UploadCreated: upload_subject,
    UploadCompleted: upload_subject,
    UploadRemoved: upload_subject,
    UserSettingsSaved: user_settings_subject,
    SchedulerTookOver: lambda _subject: SCHEDULER_GRANTS,
    SlotGranted: lambda _subject: SCHEDULER_GRANTS,
    LimitsChanged: lambda _subject: RUNTIME_LIMITS,
    PrewarmRequested: lambda _subject: RUNTIME_MODELS,
    PrewarmProgressed: lambda _subject: RUNTIME_MODELS,
}


def command_subject(pool: Pool, job_id: str, stage: Stage, part: int = 0) -> str:
    """One outstanding command per stage: the subject is its own deduplication."""
    return f"dub.cmd.{pool}.{job_id}.{stage}.{part}"


def pool_filter(pool: Pool) -> str:
    """Every command of one pool."""
    return f"dub.cmd.{pool}.>"


def progress_subject(job_id: str) -> str:
    """Core NATS, not stored: `shared.telemetry.Progress` of a running stage."""
    return f"dub.tel.job.{job_id}"


def heartbeat_subject(worker: str) -> str:
    """Core NATS, not stored: `shared.telemetry.Heartbeat` of a worker."""
    return f"dub.tel.worker.{worker}"
