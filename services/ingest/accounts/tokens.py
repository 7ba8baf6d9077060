"""Tokens of API clients: an access token for a quarter of an hour, and a refresh token that is replaced at each use.

Lives here: issuing, rotating, revoking and pruning, as functions over auth.db. Does not live here: what a reuse tells
others (`refreshing`), and whose a token is (`resolver`). Times are seconds since the epoch.

One sign-in makes one family, and a family is one chain: each refresh token has one successor. The successor is a keyed
hash of its predecessor, so whoever presents a token twice within the grace gets the same answer, and nothing plain is
stored for it. Later than that the chain has forked, one of the two is a thief, and the family ends (RFC 9700, 4.14.2).
"""

import hmac
import sqlite3
from dataclasses import dataclass
from typing import Literal

from services.ingest.accounts.client import Client
from shared.access.credentials import TokenKind, derived_token, digest, new_token
from shared.identity import new_id
from shared.secret_files import derived_key

PREFIX = "fam"
ACCESS_S = 15 * 60.0
REFRESH_S = 30 * 86400.0
FAMILY_S = 90 * 86400.0
GRACE_S = 10.0
"""All four from the reference (accounts and credentials)."""
FAMILIES_MAX = 200
"""Of one user; a program that signs in again and again pushes out its own oldest ones."""
REVOKED_KEPT_S = 86400.0
"""So long a family that ended is kept, to be told from one that never was."""

Reason = Literal["unknown", "ended", "reused"]


@dataclass(frozen=True)
class Issued:
    """A pair of tokens, shown once. `expires_at` is the access token's, `refresh_expires_at` the other one's."""

    access: str
    refresh: str
    family_id: str
    expires_at: float
    refresh_expires_at: float


@dataclass(frozen=True)
class NotRotated:
    """A refresh token that is worth nothing. `reused`: its family was revoked with this, which must be committed."""

    reason: Reason
    family_id: str = ""
    user_id: str = ""


class RotationKeys:
    """The two keys that successors are made with, from the key beside auth.db (`layout.auth_key`)."""

    def __init__(self, secret: bytes) -> None:
        self._keys: dict[TokenKind, bytes] = {
            "refresh": derived_key(secret, "refresh successor"),
            "access": derived_key(secret, "access successor"),
        }

    def successor(self, kind: TokenKind, presented: str) -> str:
        """Return the token that follows `presented`."""
        text = presented.encode("utf-8", "surrogateescape")
        return derived_token(kind, hmac.digest(self._keys[kind], text, "sha256"))


def issue(connection: sqlite3.Connection, user_id: str, client: Client, now: float) -> Issued:
    """Begin a family for a user who just proved who they are. In a write transaction."""
    family = new_id(PREFIX)
    connection.execute(
        "INSERT INTO token_families (id, user_id, created_at, last_used_at, expires_at, confirmed_at, device_name, "
        "user_agent, created_ip, last_ip) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (family, user_id, now, now, now + FAMILY_S, now, client.device, client.agent, client.address, client.address),
    )
    connection.execute(
        "DELETE FROM token_families WHERE id IN (SELECT id FROM token_families WHERE user_id = ? "
        "ORDER BY last_used_at DESC, id LIMIT -1 OFFSET ?)",
        (user_id, FAMILIES_MAX),
    )
    return _store(connection, family, new_token("access"), new_token("refresh"), now, now + FAMILY_S)


def rotate(
    connection: sqlite3.Connection, keys: RotationKeys, presented: str, client: Client, now: float
) -> Issued | NotRotated:
    """Replace a refresh token. In a write transaction, which is to be committed whatever this returns."""
    token_hash = digest(presented)
    row = connection.execute(
        "SELECT r.state, r.used_at, r.expires_at, r.family_id, f.user_id, f.expires_at AS family_ends, f.revoked_at, "
        "u.disabled_at FROM refresh_tokens r JOIN token_families f ON f.id = r.family_id "
        "JOIN users u ON u.id = f.user_id WHERE r.token_hash = ?",
        (token_hash,),
    ).fetchone()
    if row is None:
        return NotRotated("unknown")
    family, user = row["family_id"], row["user_id"]
    if row["revoked_at"] is not None or row["disabled_at"] is not None or row["family_ends"] <= now:
        return NotRotated("ended", family, user)
    won = connection.execute(
        "UPDATE refresh_tokens SET state = 'used', used_at = ? "
        "WHERE token_hash = ? AND state = 'active' AND expires_at > ?",
        (now, token_hash, now),
    ).rowcount
    access, refresh = keys.successor("access", presented), keys.successor("refresh", presented)
    if won == 1:
        connection.execute(
            "UPDATE token_families SET last_used_at = ?, last_ip = coalesce(nullif(?, ''), last_ip) WHERE id = ?",
            (now, client.address, family),
        )
        return _store(connection, family, access, refresh, now, row["family_ends"])
    if row["state"] == "active":
        return NotRotated("ended", family, user)
    # Two requests may have looked at their clocks in another order than they got here: hence the absolute value.
    if abs(now - row["used_at"]) <= GRACE_S:
        return _stored(connection, family, access, refresh) or NotRotated("ended", family, user)
    revoke_family(connection, family, now)
    return NotRotated("reused", family, user)


def revoke_family(connection: sqlite3.Connection, family_id: str, now: float) -> bool:
    """End a family with all its tokens; False if there is none that lives. In a write transaction."""
    connection.execute("DELETE FROM access_tokens WHERE family_id = ?", (family_id,))
    ended = connection.execute(
        "UPDATE token_families SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, family_id)
    )
    return ended.rowcount == 1


def revoke_all(connection: sqlite3.Connection, user_id: str, now: float, keep: str = "") -> frozenset[str]:
    """End every family of a user but `keep`, and return the ids of those that ended. In a write transaction."""
    rows = connection.execute(
        "UPDATE token_families SET revoked_at = ? WHERE user_id = ? AND revoked_at IS NULL AND id <> ? RETURNING id",
        (now, user_id, keep),
    ).fetchall()
    ended = frozenset(row["id"] for row in rows)
    connection.executemany("DELETE FROM access_tokens WHERE family_id = ?", [(family,) for family in ended])
    return ended


def confirm(connection: sqlite3.Connection, family_id: str, now: float) -> bool:
    """Write down that the family's user proved themself again; False if it is gone. In a write transaction."""
    done = connection.execute(
        "UPDATE token_families SET confirmed_at = ? WHERE id = ? AND revoked_at IS NULL", (now, family_id)
    )
    return done.rowcount == 1


def prune(connection: sqlite3.Connection, now: float) -> int:
    """Remove what nobody can use or be caught with any more, and return how many rows. In a write transaction.

    A used refresh token stays as long as it would have lived, so that its reuse is seen.
    """
    access = connection.execute("DELETE FROM access_tokens WHERE expires_at <= ?", (now,))
    refresh = connection.execute("DELETE FROM refresh_tokens WHERE expires_at <= ?", (now,))
    families = connection.execute(
        "DELETE FROM token_families WHERE expires_at <= ? OR revoked_at <= ? "
        "OR NOT EXISTS (SELECT 1 FROM refresh_tokens r WHERE r.family_id = token_families.id)",
        (now, now - REVOKED_KEPT_S),
    )
    return access.rowcount + refresh.rowcount + families.rowcount


def _store(
    connection: sqlite3.Connection, family: str, access: str, refresh: str, now: float, family_ends: float
) -> Issued:
    issued = Issued(access, refresh, family, min(now + ACCESS_S, family_ends), min(now + REFRESH_S, family_ends))
    connection.execute(
        "INSERT INTO refresh_tokens (token_hash, family_id, state, created_at, expires_at) "
        "VALUES (?, ?, 'active', ?, ?)",
        (digest(refresh), family, now, issued.refresh_expires_at),
    )
    connection.execute(
        "INSERT INTO access_tokens (token_hash, family_id, expires_at) VALUES (?, ?, ?)",
        (digest(access), family, issued.expires_at),
    )
    return issued


def _stored(connection: sqlite3.Connection, family: str, access: str, refresh: str) -> Issued | None:
    """Return the answer that these were first given with; None if auth.db does not know them (another key file)."""
    row = connection.execute(
        "SELECT a.expires_at, r.expires_at AS refresh_ends FROM access_tokens a, refresh_tokens r "
        "WHERE a.token_hash = ? AND r.token_hash = ?",
        (digest(access), digest(refresh)),
    ).fetchone()
    return None if row is None else Issued(access, refresh, family, row["expires_at"], row["refresh_ends"])
