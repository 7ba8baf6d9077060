"""Several people who ask one library over real sockets, each with a token of their own.

Lives here: accounts made by hand in the place of ingest's, and one client for each person. Does not live here: the
library (`serving`).
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from shared.access.credentials import digest, new_token
from shared.access.principal import Principal, Role, Scope, scopes_of
from shared.events.library import JobVisibilityChanged, Visibility
from tests.factories import event
from tests.integration.library.serving import Served, serving, until


class Accounts:
    """A resolver that knows hand-made principals by the digest of what they show."""

    def __init__(self) -> None:
        self.known: dict[str, Principal] = {}

    async def resolve(self, shown: str) -> Principal | None:
        return self.known.get(shown)


@dataclass(frozen=True)
class Person:
    """One who asks; `user` is the owner of what they make."""

    user: str
    client: httpx.Client

    def get(self, path: str, headers: dict[str, str] | None = None, **parameters: Any) -> httpx.Response:
        return self.client.get(path, params=parameters or None, headers=headers)

    def jobs(self, **parameters: Any) -> tuple[list[str], int]:
        """Return the ids of one page of their list, and its total."""
        page = self.get("/api/jobs", **parameters).json()
        return [job["id"] for job in page["items"]], page["total"]


@dataclass(frozen=True)
class Readers:
    """Ann owns what a test is about, Bob is another user, Eve administers, and her narrow key may only read."""

    served: Served
    ann: Person
    bob: Person
    eve: Person
    narrow_key: Person

    def show(self, job_id: str, visibility: Visibility) -> None:
        """Share a job or take that back, and wait until jobs.db and the streams have it."""
        (seq,) = self.served.append(event(JobVisibilityChanged, job_id, visibility=visibility))
        until(lambda: self.served.library.hub.position >= seq)


@contextlib.contextmanager
def reading(directory: Path) -> Iterator[Readers]:
    """Serve `directory` to these four."""
    accounts = Accounts()
    with serving(directory, resolver=accounts) as served, contextlib.ExitStack() as clients:

        def person(user: str, role: Role, scopes: frozenset[Scope] | None = None) -> Person:
            token = new_token("access")
            accounts.known[digest(token)] = Principal(
                user=user, name=user, role=role, scopes=scopes or scopes_of(role), kind="token", credential=token[-6:]
            )
            headers = {"Authorization": f"Bearer {token}"}
            client = httpx.Client(base_url=served.client.base_url, headers=headers, timeout=10)
            return Person(user, clients.enter_context(client))

        yield Readers(
            served,
            ann=person("u_ann", "editor"),
            bob=person("u_bob", "editor"),
            eve=person("u_eve", "admin"),
            narrow_key=person("u_eve", "admin", frozenset({"read:job"})),
        )
