"""`POST /internal/credentials`: whose a credential is, for the other services while the broker is away.

Lives here: the route, and who may ask. Does not live here: the usual way, over the bus (`accounts.answering`).

Only the other services may ask: they show the word that they share with the gateway (DUBLINE_GATEWAY_TOKEN), also on
this machine; where there is no word, nobody may. What any proxy passed on is refused, the gateway's word or not: the
gateway routes nothing below /internal. What could be learned here is little: a credential's digest is asked for, which
only its holder can make, and no secret is told.
"""

from fastapi import APIRouter, Depends, Request

from services.ingest.routes.context import FromApp
from shared.access.client_address import passed_on, through_gateway
from shared.access.resolution import AccessUnavailableError, ResolveAnswer, ResolveRequest
from shared.problems import Problem

router = APIRouter()


async def services_alone(request: Request, service: FromApp) -> None:
    """Raise Problem 403 for anybody else, whatever they send. The guard lets everybody through to here."""
    word = service.settings.gateway_token.encode()
    if passed_on(request.scope) or not through_gateway(request.scope, word):
        raise Problem(403, "not_for_clients", "Only Dubline's own services may ask this.")


@router.post("/internal/credentials", include_in_schema=False, dependencies=[Depends(services_alone)])
async def resolve(asked: ResolveRequest, service: FromApp) -> ResolveAnswer:
    """No part of the API that clients see."""
    try:
        return ResolveAnswer(principal=await service.accounts.resolver.resolve(asked.digest))
    except AccessUnavailableError as error:
        detail = "The accounts cannot be read now. Try again in a moment."
        raise Problem(503, "access_unavailable", detail, headers={"Retry-After": "2"}) from error
