"""GET /ui/jobs: the list, its filter, the form for a new dub.

Lives here: what the page is given. Its parameters are those of GET /api/jobs, read by the same model. Does not live
here: what is read (`reads`), which jobs a filter means (`services.library.jobstore.filters`).
"""

from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from services.library.pages import words
from services.library.pages.reads import read_jobs
from services.library.pages.rendering import page, refusal
from services.library.routes.jobs import NeedsLibrary
from services.library.routes.parameters import ListQuery, parse_list_query
from shared.access.current import Who
from shared.access.principal import Principal
from shared.problems import Problem

PATH = "/ui/jobs"
_BAD_ADDRESS = "This address asks for something that the list does not know. Start again from the whole list."

router = APIRouter()


class Address:
    """Addresses of the list that keep its filter; those of the first page, except `next`."""

    def __init__(self, query: ListQuery, who: Principal) -> None:
        wanted = query.filter(who)
        self.filter = {
            "q": query.q or "",
            "state": wanted.state or "",
            "project": query.project or "",
            "mode": query.mode or "",
            "tag": query.tag or "",
            "include_archived": "1" if wanted.include_archived else "",
            "view": query.view if query.view != "all" else "",
            "owner": query.owner or "",
        }

    def with_(self, **changes: str) -> str:
        """Return the address of the list with some members of the filter changed; an empty one asks nothing."""
        asked = {name: value for name, value in (self.filter | changes).items() if value}
        return f"{PATH}?{urlencode(asked)}" if asked else PATH

    @property
    def narrows(self) -> bool:
        """Whether it leaves out any job that the plain list has."""
        return any(value for name, value in self.filter.items() if name != "include_archived")


@router.get(PATH)
async def jobs_page(request: Request, library: NeedsLibrary, who: Who) -> Response:
    """The list, the upload form, and how many jobs are in which state."""
    try:
        query = parse_list_query(request.scope["query_string"])
        wanted = query.page(who)
    except (ValidationError, ValueError):
        return refusal(request.scope, Problem(422, "invalid_request", _BAD_ADDRESS))
    position = library.hub.position  # before the rows: what comes between is told again, never missed
    found = await library.reader.run(lambda connection: read_jobs(connection, library.live, wanted))
    return page(
        request.scope,
        "jobs.html",
        jobs=found.jobs,
        counts=found.counts,
        states=list(words.STATE_NAMES) if found.counts is None else list(found.counts),
        every=None if found.counts is None else sum(found.counts.values()),
        total=found.total,
        choices=found.choices,
        address=Address(query, who),
        first_page=query.cursor is None and query.offset == 0,
        next_cursor=found.next_cursor,
        position=position,
    )
