"""Disabling a webhook whose receiver is gone: the one event that the library appends.

Lives here: that append. Does not live here: when (`dispatcher`), and what people change (`services.ingest`).
"""

from datetime import UTC, datetime

import structlog

from services.library.webhooks.subscriptions import Subscription
from shared.eventlog.port import ConflictError, EventLog, Expect, LogUnavailableError
from shared.events.library import WebhookDeleted, WebhookSaved
from shared.events.subjects import webhook_subject

SOURCE = "urn:dubline:library"
ACTOR = "library"

log = structlog.get_logger()


async def disable(events: EventLog, webhook: Subscription, why: str) -> None:
    """Append that the webhook is disabled, unless somebody changed it meanwhile or it is disabled already.

    If the log is away nothing happens: the next attempt that fails in the same way asks again.
    """
    if not webhook.data.enabled:
        return
    event = WebhookSaved(
        source=SOURCE,
        subject=webhook.id,
        time=datetime.now(UTC),
        actor=ACTOR,
        correlationid=webhook.id,
        data=webhook.data.model_copy(update={"enabled": False, "disabled_because": why}),
    )
    subject = webhook_subject(webhook.id)
    try:
        newer = await events.read(subject, after=webhook.seq)
        if any(isinstance(recorded.event, WebhookSaved | WebhookDeleted) for recorded in newer):
            return  # its owner changed it, and knows better
        await events.append(event, Expect(subject, newer[-1].seq if newer else webhook.seq))
    except ConflictError:
        return
    except LogUnavailableError as error:
        log.warning("webhook_not_disabled", webhook=webhook.id, error=str(error))
        return
    log.warning("webhook_disabled", webhook=webhook.id, why=why)
