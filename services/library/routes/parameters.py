"""The parameters of the list of jobs: one model for the API's document, its check, and the page.

Lives here: names, limits, and how they become a filter of what the one who asks may read. Does not live here: the
filter (`jobstore.filters`).
"""

from datetime import datetime
from typing import Annotated, Literal, Self
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from services.library.jobstore.filters import JobFilter, PageQuery
from services.library.listing import CURSOR_PATTERN, LIMIT_DEFAULT, LIMIT_MAX, OFFSET_MAX, page_query
from services.library.past import SEQ_MAX, parse_moment
from services.library.readers import reader_of
from shared.access.principal import Principal
from shared.curation import NAME_MAX_CHARS, TAG_MAX_CHARS
from shared.events.names import Mode
from shared.job.model import JobState

TEXT_MAX_CHARS = 200
OWNER_PATTERN = "^[0-9A-Za-z_-]{0,64}$"
FIELDS_MAX = 64
"""Parameters of one request, unknown ones too, which are ignored."""

Blank = Literal[""]
"""What an empty field of a form sends; it asks nothing."""


class ListQuery(BaseModel):
    """Which jobs, and which page of them. Unknown parameters are ignored: clients of other servers send their own."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    state: JobState | Blank | None = Field(None, description="Jobs in this state.", examples=["DONE"])
    status: JobState | Blank | None = Field(None, description="Another name of `state`.", examples=["DONE"])
    q: str | None = Field(
        None,
        max_length=TEXT_MAX_CHARS,
        description="A part of the id, the title, the project's name or a tag, in any case.",
        examples=["film"],
    )
    project: str | None = Field(
        None, max_length=NAME_MAX_CHARS, description="A part of the project's name, in any case.", examples=["Season"]
    )
    mode: Mode | Blank | None = Field(None, description="Jobs that run in this mode.", examples=["high"])
    tag: str | None = Field(
        None, max_length=TAG_MAX_CHARS, description="One whole tag, in any case.", examples=["news"]
    )
    view: Literal["all", "mine", "shared"] | Blank = Field(
        "all", description="All that you may see, your own, or what is shared with everybody.", examples=["mine"]
    )
    owner: str | None = Field(
        None,
        pattern=OWNER_PATTERN,
        description="Jobs of one user, by id: all of them for an administrator, for anybody else what they share.",
        examples=["u_4f1c2b3a59687d0e"],
    )
    include_archived: Literal["0", "1", "false", "true"] = Field(
        "0", description="Whether archived jobs are in the list.", examples=["1"]
    )
    limit: int = Field(LIMIT_DEFAULT, ge=1, le=LIMIT_MAX, description="Jobs of one page.", examples=[50])
    offset: int = Field(
        0, ge=0, le=OFFSET_MAX, description="Jobs to skip: for jumping. Without meaning beside `cursor`.", examples=[0]
    )
    cursor: str | None = Field(
        None,
        pattern=CURSOR_PATTERN,
        description="`next_cursor` of the page before: goes on at the same cost however deep.",
        examples=["1069b7d8c1e300005"],
    )

    @model_validator(mode="after")
    def _one_state(self) -> Self:
        if self.state and self.status and self.state != self.status:
            raise ValueError("state and status are two names of one filter and must not differ")
        return self

    @model_validator(mode="after")
    def _one_owner(self) -> Self:
        if self.view == "mine" and self.owner:
            raise ValueError("view=mine names the owner already")
        return self

    def filter(self, who: Principal) -> JobFilter:
        """Return the filter: never more than `who` may read."""
        state = self.state or self.status
        return JobFilter(
            state=state.value if isinstance(state, JobState) else None,
            text=self.q or None,
            project=self.project or None,
            mode=self.mode or None,
            tag=self.tag.lower() if self.tag else None,
            include_archived=self.include_archived in {"1", "true"},
            reader=reader_of(who),
            owner=who.user if self.view == "mine" else self.owner or None,
            shared=self.view == "shared",
        )

    def page(self, who: Principal) -> PageQuery:
        """Return the page that is asked for, as `who` may read it."""
        return page_query(limit=self.limit, offset=self.offset, cursor=self.cursor, wanted=self.filter(who))


def parse_list_query(query_string: bytes) -> ListQuery:
    """Return the parameters in a query string; of a repeated one the last counts. Raises ValueError."""
    if not query_string:
        return _PLAIN
    return ListQuery.model_validate(
        dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=FIELDS_MAX))
    )


_PLAIN = ListQuery()


def _moment(given: object) -> object:
    return parse_moment(given) if isinstance(given, str) else given


Moment = Annotated[
    int | datetime,
    BeforeValidator(_moment),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": SEQ_MAX}, {"type": "string", "format": "date-time"}]}
    ),
]
"""A sequence of the log, or a time as RFC 3339 writes it."""
