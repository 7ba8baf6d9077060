"""TCP ports on this machine.

Lives here: choosing free ones for the inside, so that two installations do not clash, and a clear word about one that
is taken.
"""

import socket
from collections.abc import Iterable
from contextlib import ExitStack

LOOPBACK = "127.0.0.1"


class PortInUseError(RuntimeError):
    """Somebody else listens there; the message says what to do."""


def require_free(port: int, variable: str) -> None:
    """Raise PortInUseError, naming the environment variable that changes it, if the port is taken on loopback."""
    with socket.socket() as probe:
        # As servers do: connections of a predecessor that linger in TIME_WAIT are no reason to refuse.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError:
            raise PortInUseError(
                f"Port {port} may not be used by this account: set {variable}, for instance to 8000."
            ) from None
        except OSError:
            raise PortInUseError(
                f"Port {port} on {LOOPBACK} is in use by another program: stop it, or choose another port with "
                f"{variable}, for instance {variable}={_suggestion(port)}."
            ) from None


def _suggestion(port: int) -> int:
    return port + 1 if port < 65535 else 8000


def choose(names: Iterable[str], fixed: dict[str, int]) -> dict[str, int]:
    """Return a port for every name: the fixed one where there is one, else one that is free now; all differ."""
    chosen: dict[str, int] = {}
    with ExitStack() as held:  # held until all are chosen, so that no two are the same
        for name in names:
            if name in fixed:
                chosen[name] = fixed[name]
                continue
            probe = held.enter_context(socket.socket())
            probe.bind((LOOPBACK, 0))
            chosen[name] = int(probe.getsockname()[1])
    return chosen
