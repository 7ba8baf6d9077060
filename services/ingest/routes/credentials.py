"""`POST /internal/credentials`: whose a credential is, for the other services while the broker is away.

Lives here: the route, and who may ask. Does not live here: the usual way, over the bus (`accounts.answering`).

Only the other services may ask: they show the word that they share with the gateway (DUBLINE_GATEWAY_TOKEN), or ask
from this machine. What any proxy forwarded is refused, the gateway's word or not: the gateway routes nothing below
/internal, and another proxy on this machine is on loopback too. What could be learned here is little: a credential's
digest is asked for, which only its holder can make, and no secret is told.
"""

from fastapi import APIRouter, Request

from services.ingest.routes.context import FromApp
from shared.access.client_address import parsed, through_gateway
from shared.access.resolution import AccessUnavailableError, ResolveAnswer, ResolveRequest
from shared.problems import Problem

FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
"""The gateway sets some of these on all that it passes on, and so do other proxies."""

router = APIRouter()


@router.post("/internal/credentials", include_in_schema=False)
async def resolve(asked: ResolveRequest, request: Request, service: FromApp) -> ResolveAnswer:
    """No part of the API that clients see. The guard lets everybody through to here."""
    shows_word = through_gateway(request.scope, service.settings.gateway_token.encode())
    forwarded = any(name in request.headers for name in FORWARDED)
    if forwarded or not (shows_word or _from_this_machine(request)):
        raise Problem(403, "not_for_clients", "Only Dubline's own services may ask this.")
    try:
        return ResolveAnswer(principal=await service.accounts.resolver.resolve(asked.digest))
    except AccessUnavailableError as error:
        detail = "The accounts cannot be read now. Try again in a moment."
        raise Problem(503, "access_unavailable", detail, headers={"Retry-After": "2"}) from error


def _from_this_machine(request: Request) -> bool:
    peer = parsed(request.client.host) if request.client else None
    return peer is not None and peer.is_loopback
