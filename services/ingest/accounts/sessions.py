"""Browser sessions: an opaque token in a cookie, of which auth.db keeps the SHA-256.

Lives here: opening, finding, renewing, listing and ending them. Does not live here: cookies (`routes.cookies`), and
telling others that one ended (`revocations`). Times are seconds since the epoch; `connection` is one of a write
transaction where a function changes something.
"""

import sqlite3
from dataclasses import dataclass

from services.ingest.accounts.client import Client
from shared.access.credentials import digest, new_token
from shared.identity import new_id

PREFIX = "ses"
IDLE_S = 7 * 86400.0
ABSOLUTE_S = 30 * 86400.0
"""Both from the reference (accounts and credentials): a person signs in again after a week away, or a month."""
TOUCH_S = 60.0
"""How often a use is written down: not at every request."""


@dataclass(frozen=True)
class Opened:
    """A new session. `token` is shown to the browser and kept nowhere."""

    session_id: str
    token: str
    expires_at: float


@dataclass(frozen=True)
class Session:
    """A row without its digest. `confirmed_at` is when the password or a second factor was last proved."""

    id: str
    user_id: str
    method: str
    created_at: float
    last_used_at: float
    expires_at: float
    confirmed_at: float
    device_name: str
    user_agent: str
    created_ip: str
    last_ip: str


_COLUMNS = (
    "id, user_id, method, created_at, last_used_at, expires_at, confirmed_at, "
    "device_name, user_agent, created_ip, last_ip"
)
_ALIVE = "expires_at > :now AND last_used_at > :now - :idle"


def open_session(connection: sqlite3.Connection, user_id: str, method: str, client: Client, now: float) -> Opened:
    """Make a session with a new token, whatever the browser had before; `method` tells how its user proved themself."""
    opened = Opened(new_id(PREFIX), new_token("session"), now + ABSOLUTE_S)
    connection.execute(
        "INSERT INTO sessions (id, token_hash, user_id, method, created_at, last_used_at, expires_at, confirmed_at, "
        "device_name, user_agent, created_ip, last_ip) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(opened.session_id, digest(opened.token), user_id, method),
            *(now, now, opened.expires_at, now),
            *(client.device, client.agent, client.address, client.address),
        ),
    )
    return opened


def find(connection: sqlite3.Connection, token_hash: str, now: float) -> Session | None:
    """Return the living session of a token's digest; None after 7 idle days or 30 days. Whether its user may still
    come in is the asker's to look at.
    """
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE token_hash = :hash AND {_ALIVE}",  # noqa: S608 -- as above
        {"hash": token_hash, "now": now, "idle": IDLE_S},
    ).fetchone()
    return None if row is None else Session(*row)


def stale(session: Session, now: float) -> bool:
    """Return whether a use now should be written down with `touch`."""
    return now - session.last_used_at >= TOUCH_S


def touch(connection: sqlite3.Connection, session_id: str, now: float) -> None:
    """Write down that the session was used."""
    connection.execute("UPDATE sessions SET last_used_at = max(last_used_at, ?) WHERE id = ?", (now, session_id))


def renew(connection: sqlite3.Connection, token_hash: str, now: float) -> Opened | None:
    """Give a session whose user proved themself again another token, in the place of this one (ASVS 5.0 7.2.4).

    It stays the same session, with its end. None if the token is no session's any more: of many at once one wins.
    """
    token = new_token("session")
    rows = connection.execute(
        "UPDATE sessions SET token_hash = ?, confirmed_at = ? WHERE token_hash = ? RETURNING id, expires_at",
        (digest(token), now, token_hash),
    ).fetchall()
    return Opened(rows[0]["id"], token, rows[0]["expires_at"]) if rows else None


def forget_proof(connection: sqlite3.Connection, session_id: str) -> None:
    """Let a session count as one whose user has not proved themself: somebody else let it in."""
    connection.execute("UPDATE sessions SET confirmed_at = 0 WHERE id = ?", (session_id,))


def of_user(connection: sqlite3.Connection, user_id: str, now: float) -> list[Session]:
    """Return the user's living sessions, the last used first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE user_id = :user AND {_ALIVE} ORDER BY last_used_at DESC, id",  # noqa: S608 -- as above
        {"user": user_id, "now": now, "idle": IDLE_S},
    )
    return [Session(*row) for row in rows]


def end(connection: sqlite3.Connection, session_id: str) -> bool:
    """End one session; False if there is none with this id."""
    return connection.execute("DELETE FROM sessions WHERE id = ?", (session_id,)).rowcount == 1


def end_all(connection: sqlite3.Connection, user_id: str, keep: str = "") -> frozenset[str]:
    """End every session of a user but `keep`, and return the ids of those that ended."""
    rows = connection.execute(
        "DELETE FROM sessions WHERE user_id = ? AND id <> ? RETURNING id", (user_id, keep)
    ).fetchall()
    return frozenset(row["id"] for row in rows)


def prune(connection: sqlite3.Connection, now: float) -> int:
    """Remove the sessions that ended by themselves, and return how many."""
    gone = connection.execute(
        f"DELETE FROM sessions WHERE NOT ({_ALIVE})",  # noqa: S608 -- as above
        {"now": now, "idle": IDLE_S},
    )
    return gone.rowcount
