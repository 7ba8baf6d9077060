"""Who asks, for a route: what the guard found.

Lives here: the FastAPI dependencies. Does not live here: finding out (`guard`).
"""

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from shared.access.principal import Principal

PRINCIPAL = "dubline.principal"
CSRF = "dubline.csrf"
ADDRESS = "dubline.address"
"""Keys of the ASGI scope. The first is absent on a public route that nobody signed in to."""


async def principal_of(connection: HTTPConnection) -> Principal:
    """Return who asks; the guard lets nobody through without, except to public routes, which must not ask this."""
    return cast(Principal, connection.scope[PRINCIPAL])


async def principal_or_none(connection: HTTPConnection) -> Principal | None:
    """Return who asks, None on a public route for somebody who is not signed in."""
    return cast(Principal | None, connection.scope.get(PRINCIPAL))


def address_of(connection: HTTPConnection) -> str:
    """Return the client's address, as far as a trusted proxy or the socket tells; empty if unknown."""
    return cast(str, connection.scope.get(ADDRESS, ""))


Who = Annotated[Principal, Depends(principal_of)]
WhoIfAny = Annotated[Principal | None, Depends(principal_or_none)]


async def _address(connection: HTTPConnection) -> str:
    return address_of(connection)


ClientAddress = Annotated[str, Depends(_address)]
