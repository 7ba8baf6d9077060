"""GET /api/webhooks, /api/webhooks/{id}, /api/webhooks/{id}/deliveries.

Lives here: parameters and shapes of the reads. Making, changing, testing and sending again are writes, and ingest's.
"""

from typing import Annotated, Literal, cast

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field

from services.library.routes import documents
from services.library.webhooks.deliveries import Health, printed_time
from services.library.webhooks.dispatcher import Dispatcher
from services.library.webhooks.subscriptions import Subscription
from shared.access.current import Who
from shared.access.principal import Principal
from shared.events.envelope import Timestamp
from shared.problems import Problem

LIMIT_DEFAULT = 25
LIMIT_MAX = 200
RETRY_AFTER_S = 5
WEBHOOK_ID = "hook_0123456789abcdef"
MESSAGE_ID = "msg_00112233445566778899aabbccddeeff"

router = APIRouter(prefix="/api/webhooks", tags=["webhooks"])


class WebhookView(BaseModel):
    """A webhook, without its secret, and how it does."""

    id: str = Field(examples=[WEBHOOK_ID])
    url: str = Field(examples=["https://example.org/dubline"])
    events: list[str] = Field(examples=[["job.completed", "job.failed", "job.canceled"]])
    description: str = Field(examples=["tells the editors"])
    enabled: bool = Field(examples=[True])
    disabled_because: str = Field(examples=[""])
    created_at: Timestamp
    updated_at: Timestamp
    rotated_at: Timestamp | None = Field(
        description="When its secret was changed last; the one before signs too for a day."
    )
    pending: int = Field(examples=[0], description="Messages that are still to be delivered.")
    failing_since: str | None = Field(examples=[None], description="Since when every attempt has failed.")

    @classmethod
    def of(cls, webhook: Subscription, health: Health) -> "WebhookView":
        data = webhook.data
        return cls(
            id=webhook.id,
            url=data.url,
            events=list(webhook.events),
            description=data.description,
            enabled=data.enabled,
            disabled_because=data.disabled_because,
            created_at=data.created_at,
            updated_at=webhook.updated_at,
            rotated_at=data.rotated_at,
            pending=health.pending,
            failing_since=None if health.failing_since is None else printed_time(health.failing_since),
        )


class WebhookList(BaseModel):
    items: list[WebhookView]


class AttemptView(BaseModel):
    """One attempt: the answer's status, or the error if there was none."""

    at: str = Field(examples=["2026-01-02T03:04:05.000Z"])
    status: int | None = Field(examples=[204])
    error: str | None = Field(examples=[None])
    duration_ms: int = Field(examples=[87])


class DeliveryView(BaseModel):
    """A message for a webhook; its id is the header `webhook-id` of every attempt."""

    id: str = Field(examples=[MESSAGE_ID])
    type: str = Field(examples=["job.completed"])
    job_id: str | None = Field(examples=["0192f0c1-2b3c-7d4e-8f50-61728394a5b6"])
    seq: int = Field(examples=[4711])
    created_at: str = Field(examples=["2026-01-02T03:04:05.000Z"])
    state: Literal["pending", "delivered", "failed"]
    attempts: list[AttemptView]
    next_attempt_at: str | None = Field(examples=[None])


class DeliveryPage(BaseModel):
    items: list[DeliveryView]
    next_cursor: str | None = Field(examples=[None], description="Send it as `cursor` to go on; null at the end.")


def _dispatcher(request: Request) -> Dispatcher:
    dispatcher = cast(Dispatcher, request.app.state.webhooks)
    if not dispatcher.opened:
        detail = "The library does not know the webhooks yet: the event log has not answered since it started."
        raise Problem(503, "log_unavailable", detail, headers={"Retry-After": str(RETRY_AFTER_S)})
    return dispatcher


NeedsWebhooks = Annotated[Dispatcher, Depends(_dispatcher)]
WebhookId = Annotated[str, Path(examples=[WEBHOOK_ID])]
UNKNOWN_YET = documents.problem(503, "The library does not know the webhooks yet; try again.", "log_unavailable")
NOT_FOUND = {**documents.problem(404, "There is no webhook with this id.", "webhook_not_found"), **UNKNOWN_YET}


@router.get("", summary="Webhooks", responses=UNKNOWN_YET)
async def webhooks(dispatcher: NeedsWebhooks, who: Who) -> WebhookList:
    """All of your own, in the order in which they were made. There are at most 20."""
    health = await dispatcher.health()
    owned = dispatcher.subscriptions.owned_by(who.user)
    return WebhookList(items=[WebhookView.of(each, health.get(each.id, Health())) for each in owned])


@router.get("/{webhook_id}", summary="One webhook", responses=NOT_FOUND)
async def webhook(dispatcher: NeedsWebhooks, who: Who, webhook_id: WebhookId) -> WebhookView:
    """One of your own; an administrator may read anybody's. Its secret is shown only by the answers that made it."""
    found = found_webhook(dispatcher, who, webhook_id)
    return WebhookView.of(found, (await dispatcher.health()).get(found.id, Health()))


@router.get("/{webhook_id}/deliveries", summary="What was sent to a webhook", responses=NOT_FOUND)
async def deliveries(
    dispatcher: NeedsWebhooks,
    who: Who,
    webhook_id: WebhookId,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,18}$")] = None,
) -> DeliveryPage:
    """Its deliveries, the newest first, of the last 30 days; of finished ones the newest 10,000 of all webhooks."""
    found = found_webhook(dispatcher, who, webhook_id)
    items, more = await dispatcher.page(found.id, limit, None if cursor is None else int(cursor))
    return DeliveryPage(
        items=[DeliveryView.model_validate(item) for item in items], next_cursor=None if more is None else str(more)
    )


def found_webhook(dispatcher: Dispatcher, who: Principal, webhook_id: str) -> Subscription:
    """Return a webhook of theirs, for an administrator anybody's. Raises Problem 404."""
    webhook = dispatcher.subscriptions.get(webhook_id)
    if webhook is None or not who.changes(webhook.data.owner):
        raise Problem(404, "webhook_not_found", "There is no webhook with this id.")
    return webhook
