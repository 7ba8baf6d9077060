"""Building the derived tables anew from the rows, and switching their triggers off and on.

Lives here: what is one transaction. Does not live here: the statements (`derivation`).
"""

import sqlite3

from services.library.jobstore import derivation, schema


def create(connection: sqlite3.Connection) -> None:
    """Make the tables and triggers of a new file, in one transaction. Raises sqlite3.Error."""
    version = f"PRAGMA user_version = {schema.SCHEMA_VERSION};"
    connection.executescript(f"BEGIN IMMEDIATE; {_tables_sql()} {_triggers_sql()} {version} COMMIT;")


def suspend(connection: sqlite3.Connection) -> None:
    """Stop keeping the index; the file says so until `build` is done. Raises sqlite3.Error."""
    version = f"PRAGMA user_version = {schema.BUILDING};"
    connection.executescript(f"BEGIN IMMEDIATE; {_drops_sql()} {version} COMMIT;")


def build(connection: sqlite3.Connection) -> None:
    """Build all that is derived from the rows, in one transaction, and keep it from now on. Raises sqlite3.Error.

    Writers wait, readers find what was there before. What another version derived goes: the rows are the same.
    `connection` has no transaction open and begins none by itself.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if abs(version) != schema.SCHEMA_VERSION:
            _each(connection, _removals_sql())
        _each(connection, _tables_sql() + _drops_sql())
        for statement in derivation.BUILD:
            connection.execute(statement)
            if statement is derivation.BUILD_INDEX:
                _place_the_rest(connection)
        _each(connection, _triggers_sql())
        connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back on some errors, a full disk for one
            connection.execute("ROLLBACK")
        raise


def _each(connection: sqlite3.Connection, script: str) -> None:
    """Run statements inside the transaction that is open; `executescript` would commit it first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""


def _tables_sql() -> str:
    return f"{schema.TABLES}{derivation.MEMBERS_VIEW}{derivation.GUARDS}"


def _drops_sql() -> str:
    return "".join(f"DROP TRIGGER IF EXISTS {name};\n" for name in derivation.TRIGGERS)


def _removals_sql() -> str:
    tables = "".join(f"DROP TABLE IF EXISTS {name};\n" for name in (*schema.DERIVED_TABLES, "job_fts"))
    return f"{_drops_sql()}{tables}DROP VIEW IF EXISTS job_members;\n"


def _triggers_sql() -> str:
    return "".join(f"CREATE TRIGGER IF NOT EXISTS {name} {body};\n" for name, body in derivation.TRIGGERS.items())


def _place_the_rest(connection: sqlite3.Connection) -> None:
    insert = derivation.insert_one(":id")
    for (job_id,) in connection.execute(derivation.UNPLACED).fetchall():
        connection.execute(insert, {"id": job_id})
