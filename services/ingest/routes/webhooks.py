"""`POST /api/webhooks`, `PUT` and `DELETE /api/webhooks/{id}`, and asking for a new secret, a test or a message again.

Lives here: the routes. Does not live here: the events (`services.ingest.webhooks`); the library reads and sends.
"""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from services.ingest import webhooks
from services.ingest.asker import Asker
from services.ingest.routes import patterns
from services.ingest.routes.context import FromApp, Service
from shared.curation import clean_text
from shared.events.envelope import Timestamp
from shared.openapi import problem
from shared.problems import Problem
from shared.webhook_targets import Rules, TargetRefusedError, UnresolvedError, checked_target
from shared.webhooks import (
    DEFAULT_EVENTS,
    DESCRIPTION_MAX_CHARS,
    OFFERED,
    URL_MAX_CHARS,
    EventName,
    KeyUnusableError,
    derive_secret,
    ensure_key,
    is_message_id,
    message_id,
    print_secret,
)

WEBHOOK_ID = "hook_0123456789abcdef"
MESSAGE_ID = "msg_00112233445566778899aabbccddeeff"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="  # noqa: S105 -- an example
URL_PATTERN = "^https?://"
"""Told, not enforced: the target's own check says in words what is wrong."""
RESOLVE_S = 5.0
UNRESOLVED = "The host's name does not resolve here now. It is looked up again for every delivery."

router = APIRouter(prefix="/api/webhooks", tags=["webhooks"])


def _each_once(events: list[EventName]) -> list[EventName]:
    return list(dict.fromkeys(events))


class WebhookFields(BaseModel):
    """What its owner chooses of a webhook. No `events` means: a job completed, failed or was cancelled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=URL_MAX_CHARS,
            examples=["https://example.org/dubline"],
            json_schema_extra={"pattern": URL_PATTERN},
        ),
    ]
    events: Annotated[list[EventName], Field(max_length=len(OFFERED)), AfterValidator(_each_once)] = Field(
        [], examples=[["job.completed", "stage.failed"]]
    )
    description: Annotated[str, Field(max_length=DESCRIPTION_MAX_CHARS), AfterValidator(clean_text)] = Field(
        "", examples=["tells the editors"]
    )
    enabled: StrictBool = True


class WebhookAnswer(BaseModel):
    """A webhook after what was done to it. `warnings` are for a person."""

    id: str = Field(examples=[WEBHOOK_ID])
    url: str = Field(examples=["https://example.org/dubline"])
    events: list[str] = Field(examples=[list(DEFAULT_EVENTS)])
    description: str = Field(examples=["tells the editors"])
    enabled: bool
    disabled_because: str = Field(examples=[""])
    created_at: Timestamp
    warnings: list[str] = Field(examples=[[]])


class WebhookWithSecret(WebhookAnswer):
    """The only kind of answer that shows the secret: keep it."""

    secret: str = Field(examples=[SECRET])


class MessageAnswer(BaseModel):
    """The message that will be sent: see its deliveries."""

    id: str = Field(examples=[MESSAGE_ID])
    url: str = Field(examples=[f"/api/webhooks/{WEBHOOK_ID}/deliveries"])


WebhookId = Annotated[str, Path(json_schema_extra={"pattern": patterns.WEBHOOK_ID}, examples=[WEBHOOK_ID])]
MessageId = Annotated[str, Path(json_schema_extra={"pattern": patterns.MESSAGE_ID}, examples=[MESSAGE_ID])]
AnswersOf = dict[int | str, dict[str, Any]]
REFUSALS: AnswersOf = {
    404: problem("Unknown webhook", "webhook_not_found"),
    409: problem("Others change it all the while; try again", "too_busy"),
    503: problem("Try again", "log_unavailable", "webhook_key_unusable"),
}
BAD_TARGET: AnswersOf = {
    422: problem("Not a place that webhooks may go to", "webhook_target_refused", "invalid_request")
}


@router.post(
    "",
    status_code=201,
    summary="Make a webhook",
    responses=BAD_TARGET | {409: problem("No more fit", "too_many_webhooks", "too_busy"), 503: REFUSALS[503]},
)
async def create(wanted: WebhookFields, by: Asker, service: FromApp, response: Response) -> WebhookWithSecret:
    """The answer has the secret that its messages are signed with (Standard Webhooks); it is not shown again."""
    key = await _key(service)
    warnings = await _check_target(service, wanted.url)
    made = await webhooks.create(service.bus.log, by, **wanted.model_dump())
    response.headers["Location"] = f"/api/webhooks/{made.id}"
    return _with_secret(made, key, warnings)


@router.put("/{webhook_id}", summary="Change a webhook", responses=REFUSALS | BAD_TARGET)
async def update(webhook_id: WebhookId, wanted: WebhookFields, by: Asker, service: FromApp) -> WebhookAnswer:
    """Replaces all that its owner chooses; its secret stays. What waits for it goes to the new URL, at once."""
    before, _ = await webhooks.load(service.bus.log, webhook_id, by)
    warnings = await _check_target(service, wanted.url) if wanted.url != before.data.url else []
    after = await webhooks.update(service.bus.log, webhook_id, by, **wanted.model_dump())
    return WebhookAnswer(**_shown(after), warnings=warnings)


@router.delete("/{webhook_id}", status_code=204, summary="Delete a webhook", responses=REFUSALS)
async def delete(webhook_id: WebhookId, by: Asker, service: FromApp) -> None:
    """Nothing more is sent to it, and its delivery log goes."""
    await webhooks.delete(service.bus.log, webhook_id, by)


@router.post("/{webhook_id}/rotate", summary="Give a webhook a new secret", responses=REFUSALS)
async def rotate(webhook_id: WebhookId, by: Asker, service: FromApp) -> WebhookWithSecret:
    """For 24 hours messages are signed with the secret before, too. A second rotation ends that one at once."""
    key = await _key(service)
    return _with_secret(await webhooks.rotate(service.bus.log, webhook_id, by), key, [])


@router.post("/{webhook_id}/test", status_code=202, summary="Send a test message", responses=REFUSALS)
async def test(webhook_id: WebhookId, by: Asker, service: FromApp) -> MessageAnswer:
    """A `webhook.test` is sent once, also if the webhook is disabled; its deliveries tell how it went."""
    event_id = await webhooks.ask_to_send(service.bus.log, webhook_id, by)
    return _message(webhook_id, message_id(webhook_id, event_id))


@router.post(
    "/{webhook_id}/deliveries/{message}/resend",
    status_code=202,
    summary="Send a message again",
    responses=REFUSALS
    | {
        404: problem("Unknown webhook, or no message's id", "webhook_not_found", "delivery_not_found"),
        409: problem("It is disabled", "webhook_disabled"),
    },
)
async def resend(webhook_id: WebhookId, message: MessageId, by: Asker, service: FromApp) -> MessageAnswer:
    """The same message under the same id, with all its retries. One that the delivery log has forgotten is not sent."""
    if not is_message_id(message):
        raise Problem(404, "delivery_not_found", "There is no delivery with this id.")
    await webhooks.ask_to_send(service.bus.log, webhook_id, by, message)
    return _message(webhook_id, message)


async def _key(service: Service) -> bytes:
    try:
        return await asyncio.to_thread(ensure_key, service.settings.layout)
    except KeyUnusableError as error:
        raise Problem(503, "webhook_key_unusable", str(error)) from error


async def _check_target(service: Service, url: str) -> list[str]:
    """Return what is worth a warning. Raises Problem 422."""
    settings = service.settings
    rules = Rules.parse(settings.webhook_allow_cidrs, allow_http=settings.webhook_allow_http)
    try:
        async with asyncio.timeout(RESOLVE_S):
            await checked_target(url, rules)
    except (UnresolvedError, TimeoutError):
        return [UNRESOLVED]  # what it resolves to is checked at every attempt
    except TargetRefusedError as error:
        raise Problem(422, "webhook_target_refused", str(error)) from error
    return []


def _shown(webhook: webhooks.Webhook) -> dict[str, Any]:
    data = webhook.data
    shown = data.model_dump(include={"url", "description", "enabled", "disabled_because", "created_at"})
    return {"id": webhook.id, "events": data.events or list(DEFAULT_EVENTS), **shown}


def _with_secret(webhook: webhooks.Webhook, key: bytes, warnings: list[str]) -> WebhookWithSecret:
    secret = print_secret(derive_secret(key, webhook.id, webhook.data.generation))
    return WebhookWithSecret(**_shown(webhook), warnings=warnings, secret=secret)


def _message(webhook_id: str, message: str) -> MessageAnswer:
    return MessageAnswer(id=message, url=f"/api/webhooks/{webhook_id}/deliveries")
