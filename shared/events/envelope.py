"""The CloudEvents 1.0 structured JSON envelope that every event type extends.

Lives here: the context attributes, and what payloads are made of. Does not live here: the event types
(`shared.events.types`).
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

from shared.identity import uuid7

SCHEMA_BASE = "urn:dubline:schema:"
CONTENT_TYPE = "application/cloudevents+json"


def _to_milliseconds(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


Timestamp = Annotated[
    datetime,
    AfterValidator(_to_milliseconds),
    PlainSerializer(lambda t: t.isoformat(timespec="milliseconds").replace("+00:00", "Z"), return_type=str),
]
"""UTC in milliseconds, kept as they are printed: an event and what is decoded from its bytes are equal."""

Value = str | int | float | bool
"""What a setting, a fact or a parameter may be."""


class Data(BaseModel):
    """Base of every event payload. Readers ignore unknown members: additive changes are compatible."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Envelope(BaseModel):
    """CloudEvents context attributes; `Nats-Msg-Id` is `id`, and `subject` is the aggregate's id."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(default_factory=uuid7)
    type: str
    source: str
    subject: str
    time: Timestamp
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str = ""
    actor: str
    correlationid: str
    causationid: str | None = None
    traceparent: str | None = None

    def model_post_init(self, _context: object) -> None:
        if not self.dataschema:
            object.__setattr__(self, "dataschema", SCHEMA_BASE + self.type)

    def encode(self) -> bytes:
        """Return the canonical bytes of this event."""
        return self.model_dump_json(exclude_none=True).encode()
