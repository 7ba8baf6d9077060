"""The webhooks that there are, as the log's `dub.evt.webhook.*` tells them. Pure.

Lives here: their fold, and what a change means for deliveries that wait. Does not live here: the deliveries.
"""

from dataclasses import dataclass
from datetime import datetime

from services.library.webhooks.changes import Change, DropAll, FailWaiting, SendWaitingNow
from shared.events.library import WebhookDeleted, WebhookSaved, WebhookSavedData
from shared.webhooks import DEFAULT_EVENTS, OLD_SECRET_TIME

DISABLED = "the webhook was disabled"


@dataclass(frozen=True)
class Subscription:
    """One webhook; `seq` is the sequence of the event that made it what it is."""

    id: str
    seq: int
    updated_at: datetime
    data: WebhookSavedData

    @property
    def events(self) -> tuple[str, ...]:
        """The names of the events that it gets."""
        return tuple(self.data.events) or DEFAULT_EVENTS

    def generations(self, now: datetime) -> list[int]:
        """Return which generations of its secret sign now, the newest first."""
        newest, rotated_at = self.data.generation, self.data.rotated_at
        both = rotated_at is not None and newest > 1 and now < rotated_at + OLD_SECRET_TIME
        return [newest, newest - 1] if both else [newest]


class Subscriptions:
    """All webhooks, by id, in the order in which they were made."""

    def __init__(self) -> None:
        self._all: dict[str, Subscription] = {}

    def get(self, webhook_id: str) -> Subscription | None:
        return self._all.get(webhook_id)

    def owned_by(self, owner: str) -> list[Subscription]:
        return [each for each in self._all.values() if each.data.owner == owner]

    def ids(self) -> list[str]:
        return list(self._all)

    def wanting(self, name: str) -> list[Subscription]:
        """Return the enabled webhooks that get events of this name, whoever owns them."""
        return [each for each in self._all.values() if each.data.enabled and name in each.events]

    def apply(self, seq: int, event: WebhookSaved | WebhookDeleted) -> list[Change]:
        """Take one event and return what it does to deliveries; nothing if it was taken before."""
        before = self._all.get(event.subject)
        if before is not None and seq <= before.seq:
            return []
        if isinstance(event, WebhookDeleted):
            self._all.pop(event.subject, None)
            return [DropAll(event.subject)]
        after = self._all[event.subject] = Subscription(event.subject, seq, event.time, event.data)
        if not after.data.enabled:
            return [FailWaiting(after.id, after.data.disabled_because or DISABLED)]
        if before is None or (before.data.url == after.data.url and before.data.enabled):
            return []
        return [SendWaitingNow(after.id)]
