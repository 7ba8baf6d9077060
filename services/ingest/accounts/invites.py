"""Invites: an admin lets somebody make an account of their own, with a password that only they know.

Lives here: making, listing, withdrawing and redeeming them. Does not live here: how often one may try (`throttle`).
`connection` is one of a write transaction where a function changes something.
"""

import sqlite3
from dataclasses import dataclass

from services.ingest.accounts import users
from services.ingest.accounts.users import User
from shared.access.credentials import digest, new_token
from shared.access.principal import Role
from shared.identity import new_id
from shared.problems import Problem

PREFIX = "inv"
ID_PATTERN = rf"^{PREFIX}_[0-9a-f]{{16}}$"
DEFAULT_HOURS, MAX_HOURS = 24, 168


@dataclass(frozen=True)
class Invite:
    """`created_by` and `used_by` are users' ids (or `local`); times are seconds since the epoch."""

    id: str
    role: Role
    created_by: str
    created_at: float
    expires_at: float
    used_at: float | None
    used_by: str | None
    revoked_at: float | None

    def state(self, now: float) -> str:
        """Return what has become of it: `open`, `used`, `revoked` or `expired`."""
        if self.used_at is not None:
            return "used"
        if self.revoked_at is not None:
            return "revoked"
        return "open" if now < self.expires_at else "expired"


_COLUMNS = "id, role, created_by, created_at, expires_at, used_at, used_by, revoked_at"


def make(connection: sqlite3.Connection, role: Role, by: str, hours: int, now: float) -> tuple[Invite, str]:
    """Return a new invite and its token, which is shown once; `hours` is at most 168."""
    token = new_token("invite")
    invite = Invite(new_id(PREFIX), role, by, now, now + hours * 3600.0, None, None, None)
    connection.execute(
        "INSERT INTO invites (id, token_hash, role, created_by, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
        (invite.id, digest(token), role, by, now, invite.expires_at),
    )
    return invite, token


def everyone(connection: sqlite3.Connection) -> list[Invite]:
    """Return every invite, the newest first."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM invites ORDER BY created_at DESC, id")  # noqa: S608 -- literals of this module
    return [Invite(*row) for row in rows]


def revoke(connection: sqlite3.Connection, invite_id: str, now: float) -> Invite:
    """Withdraw an invite; one that was used, has expired or was withdrawn stays what it is. Raises Problem 404."""
    connection.execute(
        "UPDATE invites SET revoked_at = ? WHERE id = ? AND used_at IS NULL AND revoked_at IS NULL AND expires_at > ?",
        (now, invite_id, now),
    )
    found = _one(connection, "id = ?", invite_id)
    if found is None:
        raise Problem(404, "invite_not_found", "There is no invite with this id.")
    return found


def check(connection: sqlite3.Connection, token: str, now: float) -> Invite:
    """Return the open invite of a token. Raises Problem 400 `invalid_invite`, 410 `invite_used`, `invite_expired`."""
    invite = _one(connection, "token_hash = ?", digest(token))
    if invite is None:
        raise Problem(400, "invalid_invite", "This is no invite. Copy its whole address, or ask for another one.")
    match invite.state(now):
        case "used":
            raise Problem(410, "invite_used", "Somebody made an account with this invite. Sign in, or ask for another.")
        case "expired" | "revoked":
            raise Problem(410, "invite_expired", "This invite is not good any more. Ask an admin for another one.")
    return invite


def redeem(connection: sqlite3.Connection, token: str, username: str, hashed: str, now: float) -> User:
    """Make the account of an invite. Of many at once one wins. Raises what `check` and `users.create` raise."""
    invite = check(connection, token, now)
    user = users.create(connection, username, hashed, invite.role, now)
    connection.execute("UPDATE invites SET used_at = ?, used_by = ? WHERE id = ?", (now, user.id, invite.id))
    return user


def _one(connection: sqlite3.Connection, where: str, value: str) -> Invite | None:
    found = f"SELECT {_COLUMNS} FROM invites WHERE {where}"  # noqa: S608 -- only literals of this module
    row = connection.execute(found, (value,)).fetchone()
    return None if row is None else Invite(*row)
