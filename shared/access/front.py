"""The front of a service: everything that a request passes before it reaches a route, in one order for all services.

Outermost first: what browsers are told (`security_headers`), where the request comes from (`client_address`), pages of
other sites (`shared.loopback`), the access mode (`remote`), the guard (`guard`); and HEAD as GET next to the routes.
Lives here: that order. Does not live here: any of these.
"""

from dataclasses import dataclass

import structlog
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from shared.access.client_address import ClientAddress, Network, networks
from shared.access.cloudflare import CloudflareAccess
from shared.access.guard import AccessGuard
from shared.access.identity import Identity
from shared.access.key_rate import KeyRate
from shared.access.local_key import LocalKey
from shared.access.remote import Assertions, RemoteAccess, allowed_networks
from shared.access.resolution import Resolver
from shared.access.rules import Rules, Table, check_whole
from shared.access.running import Running
from shared.access.security_headers import SecurityHeaders
from shared.head import HeadAsGet
from shared.loopback import BrowserGuard
from shared.settings import Settings

log = structlog.get_logger()


@dataclass(frozen=True)
class Front:
    """What the front of one service is made with."""

    identity: Identity
    running: Running
    cookie: str
    allowed_hosts: tuple[str, ...] = ()
    gateway_token: str = ""
    trusted_proxies: tuple[Network, ...] = ()
    allowed: tuple[Network, ...] = ()
    assertions: Assertions | None = None

    @classmethod
    def of(cls, settings: Settings, resolver: Resolver) -> "Front":
        """Return the front that the settings ask for; `resolver` knows the accounts."""
        if settings.remote_access_mode == "off" and settings.allowed_subnets:
            log.warning("allowed_subnets_not_looked_at", detail="REMOTE_ACCESS_MODE=off lets in from everywhere.")
        identity = Identity(LocalKey(settings.local_key_file), resolver)
        return cls(
            identity,
            Running(identity.of),
            settings.session_cookie,
            settings.allowed_host_names,
            settings.gateway_token,
            networks(settings.trusted_proxy_subnets),
            allowed_networks(settings.remote_access_mode, settings.allowed_subnets),
            _assertions(settings),
        )

    def install(self, app: FastAPI, table: Table) -> None:
        """Put everything before an application that has all its routes and its own middleware. Raises ValueError.

        It does so for a route without a line in `table`, and for a line without a route.
        """
        rules = Rules(table)
        check_whole(rules, app.routes)
        app.user_middleware.append(Middleware(HeadAsGet, rules=rules))
        app.add_middleware(
            AccessGuard,
            rules=rules,
            identity=self.identity,
            running=self.running,
            cookie=self.cookie,
            keys=KeyRate(),
        )
        app.add_middleware(
            RemoteAccess,
            allowed=self.allowed,
            assertions=self.assertions,
            is_local_key=self.identity.is_local_key,
        )
        app.add_middleware(BrowserGuard, allowed_hosts=self.allowed_hosts)
        app.add_middleware(ClientAddress, gateway_token=self.gateway_token, trusted=self.trusted_proxies)
        build = app.build_middleware_stack

        def build_told() -> ASGIApp:
            """Around the handler of crashes too, which Starlette puts around all other middleware."""
            return SecurityHeaders(build())

        app.build_middleware_stack = build_told  # type: ignore[method-assign]


def _assertions(settings: Settings) -> Assertions | None:
    """Raises ValueError where Cloudflare's mode is asked for without what it needs."""
    if settings.remote_access_mode != "cloudflare":
        return None
    team, audience = settings.cloudflare_access_team_domain, settings.cloudflare_access_aud
    if not (team and audience):
        raise ValueError("REMOTE_ACCESS_MODE=cloudflare needs CLOUDFLARE_ACCESS_TEAM_DOMAIN and CLOUDFLARE_ACCESS_AUD")
    return CloudflareAccess(f"https://{team.removeprefix('https://')}", audience)
