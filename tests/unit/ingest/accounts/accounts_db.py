"""auth.db with a few users, for tests of what stands on it."""

import sqlite3
from pathlib import Path

from services.ingest.accounts.client import Client
from services.ingest.accounts.db import AuthDb

ADMIN, EDITOR, VIEWER = "u_00000000000000ad", "u_00000000000000ed", "u_00000000000000f1"
USERS = {ADMIN: ("adele", "admin"), EDITOR: ("edith", "editor"), VIEWER: ("vera", "viewer")}
NOW = 1_767_323_045.0
CLIENT = Client("192.0.2.7", "curl/8.9.1", "laptop")
SECRET = bytes(range(32))


def opened(directory: Path) -> AuthDb:
    """Return the real database, migrated, with an admin, an editor and a viewer."""
    db = AuthDb(directory / "auth.db")

    def fill(connection: sqlite3.Connection) -> None:
        connection.executemany(
            "INSERT INTO users (id, username, role, created_at) VALUES (?, ?, ?, ?)",
            [(user, name, role, NOW) for user, (name, role) in USERS.items()],
        )

    db.write(fill)
    return db


def disable(connection: sqlite3.Connection, user: str) -> None:
    connection.execute("UPDATE users SET disabled_at = ? WHERE id = ?", (NOW, user))


def count(db: AuthDb, query: str, *values: object) -> int:
    return int(db.read(lambda connection: connection.execute(query, values).fetchone()[0]))
