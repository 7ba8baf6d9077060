"""Webhooks as people make and change them: events, appended only if nobody else changed them meanwhile.

Lives here: the fold of one webhook, its limits, and each write. Does not live here: HTTP (`routes.webhooks`), where a
webhook may go (`shared.webhook_targets`), and sending (the library).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.ingest.asker import By
from services.ingest.history import SOURCE, TRIES
from shared.eventlog.port import ConflictError, EventLog, Expect, Recorded
from shared.events.library import (
    CurationData,
    WebhookDeleted,
    WebhookSaved,
    WebhookSavedData,
    WebhookSendRequested,
    WebhookSendRequestedData,
)
from shared.events.subjects import ALL_WEBHOOKS, webhook_subject
from shared.identity import new_id, uuid7
from shared.problems import Problem
from shared.webhooks import PER_OWNER_MAX, is_webhook_id

READ_AT_ONCE = 256


@dataclass(frozen=True)
class Webhook:
    """One webhook as the log tells it."""

    id: str
    data: WebhookSavedData


async def create(log: EventLog, by: By, *, url: str, events: list[str], description: str, enabled: bool) -> Webhook:
    """Append a new webhook. Raises Problem 409 beyond the owner's limit, LogUnavailableError."""
    webhook_id, event_id, now = new_id("hook"), uuid7(), datetime.now(UTC)
    data = WebhookSavedData(
        owner=by.actor, url=url, events=events, enabled=enabled, description=description, created_at=now
    )
    event = WebhookSaved(**_attributes(webhook_id, by, event_id), data=data)
    for _ in range(TRIES):
        # The expectation covers every webhook, so that two requests at once cannot both be the last that fits.
        records = await _read_all(log, ALL_WEBHOOKS)
        if len(_owned_by(by.actor, records)) >= PER_OWNER_MAX:
            detail = f"There are {PER_OWNER_MAX} webhooks, which is the limit. Delete one first."
            raise Problem(409, "too_many_webhooks", detail, limit=PER_OWNER_MAX)
        try:
            await log.append(event, Expect(ALL_WEBHOOKS, records[-1].seq if records else 0))
        except ConflictError:
            continue
        return Webhook(webhook_id, data)
    raise _too_busy()


async def load(log: EventLog, webhook_id: str, by: By) -> tuple[Webhook, int]:
    """Return the webhook and the last sequence of its subject. Raises Problem 404, LogUnavailableError."""
    records = await _read_all(log, webhook_subject(webhook_id)) if is_webhook_id(webhook_id) else []
    data = _fold(records).get(webhook_id)
    if data is None or not by.principal.changes(data.owner):
        raise Problem(404, "webhook_not_found", "There is no webhook with this id.")
    return Webhook(webhook_id, data), records[-1].seq


async def update(
    log: EventLog, webhook_id: str, by: By, *, url: str, events: list[str], description: str, enabled: bool
) -> Webhook:
    """Replace what its owner may choose; as it is already: no event. Raises Problem 404, 409, LogUnavailableError."""
    chosen = {"url": url, "events": events, "description": description, "enabled": enabled}

    def changed(data: WebhookSavedData) -> WebhookSavedData:
        # Why the library disabled it is of interest until it is enabled again.
        return data.model_copy(update=chosen | {"disabled_because": "" if enabled else data.disabled_because})

    return await _save(log, webhook_id, by, changed)


async def rotate(log: EventLog, webhook_id: str, by: By) -> Webhook:
    """Give the webhook a new secret. Raises Problem 404, 409, LogUnavailableError."""
    now = datetime.now(UTC)

    def changed(data: WebhookSavedData) -> WebhookSavedData:
        return data.model_copy(update={"generation": data.generation + 1, "rotated_at": now})

    return await _save(log, webhook_id, by, changed)


async def delete(log: EventLog, webhook_id: str, by: By) -> None:
    """Delete the webhook. Raises Problem 404, 409, LogUnavailableError."""
    event = WebhookDeleted(**_attributes(webhook_id, by, uuid7()), data=CurationData())
    for _ in range(TRIES):
        _, head = await load(log, webhook_id, by)
        try:
            await log.append(event, Expect(webhook_subject(webhook_id), head))
        except ConflictError:
            continue
        return
    raise _too_busy()


async def ask_to_send(log: EventLog, webhook_id: str, by: By, message: str = "") -> str:
    """Ask the library for a test message, or to send an old one again, and return the id of the event that asks.

    Raises Problem 404, 409 for an old message of a disabled webhook, LogUnavailableError.
    """
    webhook, _ = await load(log, webhook_id, by)
    if message and not webhook.data.enabled:
        raise Problem(409, "webhook_disabled", "The webhook is disabled. Enable it first.")
    event_id = uuid7()
    data = WebhookSendRequestedData(message=message)
    # It changes nothing, so it need not be the next event: no expectation.
    await log.append(WebhookSendRequested(**_attributes(webhook_id, by, event_id), data=data))
    return event_id


async def _save(
    log: EventLog, webhook_id: str, by: By, changed: Callable[[WebhookSavedData], WebhookSavedData]
) -> Webhook:
    event_id = uuid7()  # one for all tries, so that a lost answer is recognised (E3)
    for _ in range(TRIES):
        webhook, head = await load(log, webhook_id, by)
        data = WebhookSavedData.model_validate(changed(webhook.data).model_dump())
        if data == webhook.data:
            return webhook
        event = WebhookSaved(**_attributes(webhook_id, by, event_id), data=data)
        try:
            await log.append(event, Expect(webhook_subject(webhook_id), head))
        except ConflictError:
            continue
        return Webhook(webhook_id, data)
    raise _too_busy()


async def _read_all(log: EventLog, subject: str) -> list[Recorded]:
    records: list[Recorded] = []
    while batch := await log.read(subject, after=records[-1].seq if records else 0, limit=READ_AT_ONCE):
        records += batch
    return records


def _fold(records: list[Recorded]) -> dict[str, WebhookSavedData]:
    found: dict[str, WebhookSavedData] = {}
    for recorded in records:
        match recorded.event:
            case WebhookSaved() as saved:
                found[saved.subject] = saved.data
            case WebhookDeleted() as deleted:
                found.pop(deleted.subject, None)
            case _:
                pass
    return found


def _owned_by(owner: str, records: list[Recorded]) -> list[str]:
    return [webhook_id for webhook_id, data in _fold(records).items() if data.owner == owner]


def _attributes(webhook_id: str, by: By, event_id: str) -> dict[str, Any]:
    return {
        "id": event_id,
        "source": SOURCE,
        "subject": webhook_id,
        "time": datetime.now(UTC),
        "actor": by.actor,
        "correlationid": webhook_id,
        "traceparent": by.traceparent,
    }


def _too_busy() -> Problem:
    return Problem(409, "too_busy", "Webhooks change too fast. Try again.")
