"""GET /ui/webhooks and /ui/webhooks/{id}: where messages go, and how they went.

Lives here: what the pages are given, from the same reads as the API's answers: one's own webhooks; a single
one of anybody's for an administrator. Does not live here: those reads (`services.library.webhooks`), and making,
testing or sending again, which is ingest's.
"""

from typing import cast

from fastapi import APIRouter, Request, Response

from services.library.pages.rendering import page, refusal
from services.library.routes.webhooks import DeliveryView, WebhookView, found_webhook
from services.library.webhooks.deliveries import Health
from services.library.webhooks.dispatcher import Dispatcher
from shared.access.current import Who
from shared.problems import Problem
from shared.webhooks import DEFAULT_EVENTS, OFFERED

DELIVERIES_PER_PAGE = 25
_NOT_YET = Problem(503, "log_unavailable", "The webhooks are not known yet: the event log has not answered.")

router = APIRouter()


@router.get("/ui/webhooks")
async def webhooks_page(request: Request, who: Who) -> Response:
    """Their webhooks, each with its last delivery, and the form for a new one."""
    dispatcher = _dispatcher(request)
    if dispatcher is None:
        return refusal(request.scope, _NOT_YET)
    health = await dispatcher.health()
    hooks = []
    for webhook in dispatcher.subscriptions.owned_by(who.user):  # at most 20
        newest, _ = await dispatcher.page(webhook.id, 1, None)
        last = DeliveryView.model_validate(newest[0]) if newest else None
        hooks.append((WebhookView.of(webhook, health.get(webhook.id, Health())), last))
    return page(request.scope, "webhooks.html", hooks=hooks, offered=OFFERED, by_default=DEFAULT_EVENTS)


@router.get("/ui/webhooks/{webhook_id}")
async def webhook_page(request: Request, who: Who, webhook_id: str, cursor: int | None = None) -> Response:
    """One webhook: its deliveries, each with its attempts, the newest first."""
    dispatcher = _dispatcher(request)
    if dispatcher is None:
        return refusal(request.scope, _NOT_YET)
    try:
        webhook = found_webhook(dispatcher, who, webhook_id)
    except Problem as problem:
        return refusal(request.scope, problem)
    health = await dispatcher.health()
    items, more = await dispatcher.page(webhook.id, DELIVERIES_PER_PAGE, cursor)
    return page(
        request.scope,
        "webhook.html",
        hook=WebhookView.of(webhook, health.get(webhook.id, Health())),
        deliveries=[DeliveryView.model_validate(item) for item in items],
        first_page=cursor is None,
        next_cursor=more,
    )


def _dispatcher(request: Request) -> Dispatcher | None:
    """Return the dispatcher once it knows the webhooks."""
    dispatcher = cast("Dispatcher", request.app.state.webhooks)
    return dispatcher if dispatcher.opened else None
