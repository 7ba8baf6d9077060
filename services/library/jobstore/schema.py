"""The tables beside the key-value ones, and the triggers that keep the index equal to the rows.

Lives here: SQL text. The index follows any writer of `jobs`, a stock SqliteDict too, whose REPLACE fires only INSERT
triggers. A REPLACE also overrides the conflict clause of every statement inside a trigger, so none is used there.
Does not live here: queries (`reader`).
"""

SCHEMA_VERSION = 2
"""Kept in `user_version`. Another one means: set the file aside and project the log again."""

KV_TABLES = ("jobs", "idempotency", "presets", "projects", "uploads", "job_outputs")

DERIVED_TABLES = ("job_index", "job_counts", "job_files")

BOOKKEEPING_TABLES = ("projector", "quarantine")

JOBS_PROJECTION = "jobs"
MANIFESTS_PROJECTION = "job_manifests"
"""Names in `projector`: the rows of jobs.db, and the files manifests/job.json."""

TABLES = """
CREATE TABLE IF NOT EXISTS job_index (
    seq INTEGER PRIMARY KEY,  -- order of first appearance; a cursor of the list is one of these
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS job_index_by_state ON job_index (state, seq, id);

CREATE TABLE IF NOT EXISTS job_counts (
    owner TEXT NOT NULL,
    state TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (owner, state)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS job_files (
    path TEXT NOT NULL,  -- relative to the output root
    job_id TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (path, job_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS job_files_by_job ON job_files (job_id);

CREATE TABLE IF NOT EXISTS projector (
    name TEXT PRIMARY KEY,
    last_seq INTEGER NOT NULL,
    last_digest TEXT NOT NULL  -- of the event at last_seq: tells this log from another one
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS quarantine (
    seq INTEGER PRIMARY KEY,
    subject TEXT NOT NULL,
    error TEXT NOT NULL
);
"""

_FOLLOW_ROW = """
    UPDATE job_index
    SET owner = json_extract(new.value, '$.owner_id'),
        state = json_extract(new.value, '$.state'),
        created_at = json_extract(new.value, '$.created_at')
    WHERE id = new.key AND (owner, state, created_at) IS NOT (
        json_extract(new.value, '$.owner_id'),
        json_extract(new.value, '$.state'),
        json_extract(new.value, '$.created_at'));
    INSERT INTO job_index (id, owner, state, created_at)
    SELECT new.key,
        json_extract(new.value, '$.owner_id'),
        json_extract(new.value, '$.state'),
        json_extract(new.value, '$.created_at')
    WHERE NOT EXISTS (SELECT 1 FROM job_index WHERE id = new.key);
    DELETE FROM job_files WHERE job_id = new.key;
    INSERT INTO job_files (path, job_id, sha256, size)
    SELECT DISTINCT output.value ->> 'path', new.key, output.value ->> 'sha256', output.value ->> 'size_bytes'
    FROM json_each(new.value, '$.outputs') AS output;
"""

_COUNT_IN = """
    INSERT INTO job_counts (owner, state, n)
    SELECT new.owner, new.state, 0
    WHERE NOT EXISTS (SELECT 1 FROM job_counts WHERE owner = new.owner AND state = new.state);
    UPDATE job_counts SET n = n + 1 WHERE owner = new.owner AND state = new.state;
"""

_COUNT_OUT = """
    UPDATE job_counts SET n = n - 1 WHERE owner = old.owner AND state = old.state;
    DELETE FROM job_counts WHERE owner = old.owner AND state = old.state AND n = 0;
"""

TRIGGERS = f"""
CREATE TRIGGER IF NOT EXISTS jobs_inserted AFTER INSERT ON jobs BEGIN {_FOLLOW_ROW} END;
CREATE TRIGGER IF NOT EXISTS jobs_updated AFTER UPDATE OF value ON jobs BEGIN {_FOLLOW_ROW} END;
CREATE TRIGGER IF NOT EXISTS jobs_deleted AFTER DELETE ON jobs BEGIN
    DELETE FROM job_index WHERE id = old.key;
    DELETE FROM job_files WHERE job_id = old.key;
END;
CREATE TRIGGER IF NOT EXISTS index_inserted AFTER INSERT ON job_index BEGIN {_COUNT_IN} END;
CREATE TRIGGER IF NOT EXISTS index_updated AFTER UPDATE OF owner, state ON job_index BEGIN {_COUNT_OUT} {_COUNT_IN} END;
CREATE TRIGGER IF NOT EXISTS index_deleted AFTER DELETE ON job_index BEGIN {_COUNT_OUT} END;
"""  # noqa: S608 -- constants of this module only
