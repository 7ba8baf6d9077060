"""Who is at the other end, as far as a request tells: for the list of devices, the limits and the audit log."""

from dataclasses import dataclass

from starlette.requests import Request

from shared.access.current import address_of

AGENT_MAX = 160
NAME_MAX = 60


@dataclass(frozen=True)
class Client:
    """`address` is judged (only trusted proxies are believed), `agent` and `device` are what the client says."""

    address: str = ""
    agent: str = ""
    device: str = ""

    @classmethod
    def of(cls, request: Request, device: str = "") -> "Client":
        agent = _shown(request.headers.get("user-agent", ""), AGENT_MAX)
        return cls(address_of(request), agent, _shown(device, NAME_MAX))


def _shown(text: str, length: int) -> str:
    return "".join(c for c in text if c.isprintable())[:length]
