"""Commands of this machine ask its services themselves, where an access mode keeps them out at the gateway.

Lives here: which service answers a request, and sending it there. Does not live here: what is shown (`credential`), and
who a service lets in (`shared.access.remote`): this machine's own key, from a program that no proxy stands before.
"""

from collections.abc import Mapping

import httpx

from services.ingest import access as ingest_access
from services.library import access as library_access
from services.scheduler import access as scheduler_access
from services.standalone import run_state
from services.standalone.ports import LOOPBACK
from shared.access.rules import Rules
from shared.settings import Settings

_RULES = {
    "ingest": Rules(ingest_access.TABLE),
    "scheduler": Rules(scheduler_access.TABLE),
    "library": Rules(library_access.TABLE),
}


def transport_to(server: str) -> httpx.BaseTransport | None:
    """Return how requests for `server` travel; None: as usual, to that address."""
    state = run_state.read(Settings().layout)
    if state is None or state.url != server or state.access_mode == "off":
        return None
    return _ToServices(state.ports)


def service_of(method: str, path: str) -> str:
    """Return which service has such a route: the library for what none has, as the gateway has it."""
    return next((name for name, rules in _RULES.items() if rules.find(method, path) is not None), "library")


class _ToServices(httpx.BaseTransport):
    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = ports
        self._http = httpx.HTTPTransport(trust_env=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        port = self._ports[service_of(request.method, request.url.path)]
        request.url = request.url.copy_with(host=LOOPBACK, port=port)
        return self._http.handle_request(request)

    def close(self) -> None:
        self._http.close()
