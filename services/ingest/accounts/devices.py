"""Where a user is signed in: browser sessions and families of tokens, as one list.

Lives here: listing both, and ending one or all. Does not live here: either kind (`sessions`, `tokens`), and API keys,
which sign nobody in. Times are seconds since the epoch; where something ends, `connection` is in a write transaction.
"""

import sqlite3
from dataclasses import dataclass
from typing import Literal

from services.ingest.accounts import device_login, oidc, sessions, tokens

Kind = Literal["session", "token"]


@dataclass(frozen=True)
class Device:
    """One sign-in that still counts. `id` is what a principal calls its `credential`."""

    id: str
    kind: Kind
    name: str
    agent: str
    created_at: float
    last_used_at: float
    expires_at: float
    created_ip: str
    last_ip: str


def of_user(connection: sqlite3.Connection, user_id: str, now: float) -> list[Device]:
    """Return where the user is signed in, the last used first."""
    found = [
        Device(
            *(each.id, "session", each.device_name, each.user_agent, each.created_at, each.last_used_at),
            *(each.expires_at, each.created_ip, each.last_ip),
        )
        for each in sessions.of_user(connection, user_id, now)
    ]
    rows = connection.execute(
        "SELECT f.id, 'token', f.device_name, f.user_agent, f.created_at, f.last_used_at, max(r.expires_at), "
        "f.created_ip, f.last_ip FROM token_families f JOIN refresh_tokens r ON r.family_id = f.id "
        "WHERE f.user_id = ? AND f.revoked_at IS NULL AND f.expires_at > ? "
        "AND r.state = 'active' AND r.expires_at > ? GROUP BY f.id",
        (user_id, now, now),
    )
    found += [Device(*row) for row in rows]
    return sorted(found, key=lambda device: (-device.last_used_at, device.id))


def end(connection: sqlite3.Connection, user_id: str, device_id: str, now: float) -> bool:
    """End one of the user's sign-ins; False if they have none with this id."""
    if all(device.id != device_id for device in of_user(connection, user_id, now)):
        return False
    return sessions.end(connection, device_id) or tokens.revoke_family(connection, device_id, now)


def end_all(connection: sqlite3.Connection, user_id: str, now: float, keep: str = "") -> frozenset[str]:
    """End all of the user's sign-ins but `keep`, and return the ids of those that ended.

    Approvals of new devices end too: what was agreed to under the old state of the account does not hold under the new.
    """
    device_login.forget(connection, user_id)
    oidc.forget(connection, user_id)
    return sessions.end_all(connection, user_id, keep) | tokens.revoke_all(connection, user_id, now, keep)
