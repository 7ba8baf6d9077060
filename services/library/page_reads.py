"""Reading pages of the list for many clients at once.

Lives here: one visit to a reader's thread for all requests that wait, because a visit costs a third of a page; and the
tags of pages that have not changed, because comparing two pages costs a tenth of a digest. Who reads is part of what is
asked (`JobFilter.reader`), so that nobody is given a page or a tag that was read for another. Does not live here: the
page (`services.library.listing`), HTTP.
"""

import asyncio
import sqlite3
from collections import OrderedDict, deque
from functools import partial

from services.library.answers import etag_of
from services.library.jobstore.filters import PageQuery
from services.library.jobstore.reader import Reader
from services.library.listing import read_listing
from services.library.live import LiveProgress

KEPT_PAGES = 16
"""Pages that are kept to compare with: the first ones of the windows that are open. The longest has about 1 MB."""

SLOW_OFFSET = 10_000
"""An offset from here on takes milliseconds, as searches may: those wait for no other and no other for them."""

Tagged = tuple[bytes, str]


class PageReads:
    """Pages as JSON with their tags. Lives on the event loop; `_kept` is the one visiting thread's."""

    def __init__(self, reader: Reader, live: LiveProgress) -> None:
        self._reader = reader
        self._live = live
        self._waiting: deque[tuple[PageQuery, asyncio.Future[Tagged]]] = deque()
        self._visit: asyncio.Task[None] | None = None
        self._kept: OrderedDict[PageQuery, Tagged] = OrderedDict()

    async def read(self, query: PageQuery) -> Tagged:
        """Return a page as JSON, and its tag. Raises sqlite3.Error."""
        if query.filter.text or query.offset >= SLOW_OFFSET:
            body = await self._reader.run(lambda connection: read_listing(connection, self._live, query).encode())
            return body, etag_of(body)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Tagged] = loop.create_future()
        self._waiting.append((query, answer))
        if self._visit is None:
            self._visit = loop.create_task(self._read_all(loop))
        return await answer

    async def _read_all(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while self._waiting:
                await self._reader.run(partial(self._serve, loop=loop))
        except BaseException as error:  # no connection could be opened, or the service ends: nobody may wait for ever
            while self._waiting:
                _fail(self._waiting.popleft()[1], error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._visit = None

    def _serve(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            query, answer = self._waiting.popleft()
            try:
                tagged = self._read(connection, query)
            except Exception as error:  # noqa: BLE001 -- it is raised again where the page was asked for
                loop.call_soon_threadsafe(_fail, answer, error)
            else:
                loop.call_soon_threadsafe(_succeed, answer, tagged)

    def _read(self, connection: sqlite3.Connection, query: PageQuery) -> Tagged:
        body = read_listing(connection, self._live, query).encode()
        kept = self._kept.get(query)
        if kept is not None and kept[0] == body:
            self._kept.move_to_end(query)
            return kept
        tagged = body, etag_of(body)
        self._kept[query] = tagged
        if len(self._kept) > KEPT_PAGES:
            self._kept.popitem(last=False)
        return tagged


def _succeed(answer: asyncio.Future[Tagged], tagged: Tagged) -> None:
    if not answer.done():  # the client may have gone
        answer.set_result(tagged)


def _fail(answer: asyncio.Future[Tagged], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
