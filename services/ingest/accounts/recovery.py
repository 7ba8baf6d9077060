"""Recovery codes: ten words of chance that each open one sign-in after the authenticator is lost.

Lives here: making, keeping and using them. Does not live here: who asks for one (`second_factor`). Each has 120 bits,
so a plain SHA-256 keeps it (ASVS 5.0 6.5.2 asks for 112 or a slow hash; the predecessor hashed ten characters).
"""

import secrets
import sqlite3
from collections.abc import Iterable

from shared.access.credentials import digest

CODES = 10
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's Base32: nothing in it looks like something else on paper."""
CODE_CHARS = 24
GROUP_CHARS = 6
_READ_AS = str.maketrans("OIL", "011")


def new_codes() -> list[str]:
    """Return ten codes as a person writes them down: `XXXXXX-XXXXXX-XXXXXX-XXXXXX`."""
    return [_grouped("".join(secrets.choice(ALPHABET) for _ in range(CODE_CHARS))) for _ in range(CODES)]


def code_hash(code: str) -> str:
    """Return what is kept of a code; case, spaces, hyphens and look-alikes do not matter."""
    kept = "".join(c for c in code.upper() if c.isascii() and c.isalnum())
    return digest(kept.translate(_READ_AS))


def replace(connection: sqlite3.Connection, user_id: str, hashes: Iterable[str]) -> None:
    """Make these a user's codes and forget every earlier one. In a writing transaction."""
    connection.execute("DELETE FROM recovery_codes WHERE user_id = ?", (user_id,))
    connection.executemany(
        "INSERT INTO recovery_codes (user_id, code_hash) VALUES (?, ?)", [(user_id, each) for each in hashes]
    )


def use(connection: sqlite3.Connection, user_id: str, code: str, now: float) -> bool:
    """Return whether this was an unused code of the user; it is used from now on. In a writing transaction."""
    used = connection.execute(
        "UPDATE recovery_codes SET used_at = ? WHERE user_id = ? AND code_hash = ? AND used_at IS NULL",
        (now, user_id, code_hash(code)),
    )
    return used.rowcount == 1


def left(connection: sqlite3.Connection, user_id: str) -> int:
    """Return how many codes a user has left. In any transaction."""
    row = connection.execute(
        "SELECT count(*) FROM recovery_codes WHERE user_id = ? AND used_at IS NULL", (user_id,)
    ).fetchone()
    return int(row[0])


def _grouped(code: str) -> str:
    return "-".join(code[at : at + GROUP_CHARS] for at in range(0, CODE_CHARS, GROUP_CHARS))
