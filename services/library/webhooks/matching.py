"""What one event of the log means for the webhooks: who gets a message about it, and what a person asked for.

Lives here: that decision; a pure function but for folding a job from the log. Does not live here: when it is asked
(`dispatcher`), and what a message says (`payload`).
"""

from collections.abc import Mapping

from services.library.webhooks import payload
from services.library.webhooks.changes import Add, Change, SendAgain
from services.library.webhooks.subscriptions import Subscriptions
from shared.eventlog.job_history import load_job
from shared.eventlog.port import EventLog, Recorded
from shared.events.library import WebhookDeleted, WebhookSaved, WebhookSendRequested
from shared.events.subjects import job_of
from shared.events.types import JobEvent, StageEvent
from shared.job.model import Job
from shared.webhooks import OFFERED, TEST_EVENT, event_name, message_id


async def changes_of(
    recorded: Recorded, subscriptions: Subscriptions, jobs: Mapping[str, Job], log: EventLog
) -> list[Change]:
    """Return what this event does to the queue; takes a webhook's own events into `subscriptions`.

    `jobs` are as they were committed, maybe after later events. Raises LogUnavailableError, and may be called again.
    """
    event, seq = recorded.event, recorded.seq
    if isinstance(event, WebhookSaved | WebhookDeleted):
        return subscriptions.apply(seq, event)
    if isinstance(event, WebhookSendRequested):
        return _asked_for(event, seq, subscriptions)
    if not isinstance(event, JobEvent | StageEvent) or (name := event_name(event.type)) not in OFFERED:
        return []
    wanting = subscriptions.wanting(name)
    if not wanting:
        return []
    job = await _job_after(recorded, jobs, log)
    if job is None or not payload.happened(name, job):
        return []
    body = payload.job_body(event, seq, job)
    owner = job.submitted.owner
    return [
        Add(message_id(each.id, event.id), each.id, seq, name, job.id, body)
        for each in wanting
        if each.data.owner == owner
    ]


def _asked_for(event: WebhookSendRequested, seq: int, subscriptions: Subscriptions) -> list[Change]:
    webhook = subscriptions.get(event.subject)
    if webhook is None:
        return []
    if event.data.message:
        return [SendAgain(event.data.message, webhook.id)] if webhook.data.enabled else []
    body = payload.trial_body(webhook.id, seq, event.time)
    return [Add(message_id(webhook.id, event.id), webhook.id, seq, TEST_EVENT, None, body)]


async def _job_after(recorded: Recorded, jobs: Mapping[str, Job], log: EventLog) -> Job | None:
    """Return the job right after this event: the committed one, or, where that is newer, one folded from the log."""
    job_id = job_of(recorded.subject)
    job = jobs.get(job_id)
    if job is not None and job.version == recorded.seq:
        return job
    return (await load_job(log, job_id, up_to=recorded.seq))[0]
