"""The tables of jobs.db beside the key-value ones, and their indexes.

Lives here: names, columns, what each is for. Does not live here: what fills them (`derivation`), queries (`queries`).
"""

from shared.access.principal import EVERYBODY

SCHEMA_VERSION = 4
"""Kept in `user_version`. Another one means: set the file aside and project the log again; but for `SAME_ROWS`."""

BUILDING = -SCHEMA_VERSION
"""In `user_version` while the index is not kept (`JobStore.bulk`): it is built from the rows at the end, or at the
next opening."""

SAME_ROWS = (3, -3)
"""Versions whose rows are those of this one: what is derived from them is built anew, the log is not needed."""

KV_TABLES = ("jobs", "idempotency", "presets", "projects", "uploads", "job_outputs")

DERIVED_TABLES = ("job_index", "job_tags", "job_counts", "job_totals", "job_projects", "job_files")

BOOKKEEPING_TABLES = ("projector", "quarantine")

JOBS_PROJECTION = "jobs"
MANIFESTS_PROJECTION = "job_manifests"
"""Names in `projector`: the rows of jobs.db, and the files manifests/job.json."""

ALL_JOBS = ""
"""The `tag` under which the counting tables count every job, whatever its tags; no tag is empty."""

ARCHIVED_MARK = "\u2021\u2021\u2021"
"""What the full text has of an archived job, in a column of its own. One trigram, which no text is likely to have."""

SEQ_BITS = 20
"""`place` is the time of creation in ms, and below it these bits of the sequence of the event that made the job."""

SHARED = f"audience = '{EVERYBODY}'"
"""Partial indexes have what an owner shares: they are as small as that is rare."""

TABLES = f"""
CREATE TABLE IF NOT EXISTS job_index (
    place INTEGER PRIMARY KEY,  -- newest first is place DESC; a cursor of the list is one of these
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    audience TEXT NOT NULL,  -- who sees it besides administrators: '*' is everybody, else its owner
    state TEXT NOT NULL,
    project TEXT NOT NULL,  -- its name, '' for none
    mode TEXT NOT NULL,
    archived INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    base_dir TEXT NOT NULL,
    tags TEXT NOT NULL,  -- a JSON array of text, each once
    txt TEXT NOT NULL,  -- what `q` searches, a line for each part
    mark TEXT NOT NULL  -- in the full text too: counting there need not ask the index who is archived
);
CREATE INDEX IF NOT EXISTS job_index_by_archived ON job_index (archived);
CREATE INDEX IF NOT EXISTS job_index_by_state ON job_index (archived, state, mode);
CREATE INDEX IF NOT EXISTS job_index_by_project ON job_index (archived, project, state, mode);
CREATE INDEX IF NOT EXISTS job_index_audience_by_archived ON job_index (audience, archived);
CREATE INDEX IF NOT EXISTS job_index_audience_by_state ON job_index (audience, archived, state, mode);
CREATE INDEX IF NOT EXISTS job_index_audience_by_project ON job_index (audience, archived, project, state, mode);
CREATE INDEX IF NOT EXISTS job_index_shared_by_archived ON job_index (audience, owner, archived) WHERE {SHARED};
CREATE INDEX IF NOT EXISTS job_index_shared_by_state ON job_index (audience, owner, archived, state, mode)
WHERE {SHARED};
CREATE INDEX IF NOT EXISTS job_index_shared_by_project ON job_index (audience, owner, archived, project, state, mode)
WHERE {SHARED};
CREATE INDEX IF NOT EXISTS job_index_by_base_dir ON job_index (base_dir) WHERE base_dir <> '';

CREATE TABLE IF NOT EXISTS job_tags (
    tag TEXT NOT NULL,
    owner TEXT NOT NULL,
    audience TEXT NOT NULL,
    archived INTEGER NOT NULL,
    project TEXT NOT NULL,
    state TEXT NOT NULL,
    mode TEXT NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (tag, archived, project, state, mode, place)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS job_tags_by_state ON job_tags (tag, archived, state, mode, place);
CREATE INDEX IF NOT EXISTS job_tags_audience_by_state ON job_tags (tag, audience, archived, state, mode, place);
CREATE INDEX IF NOT EXISTS job_tags_audience_by_project
ON job_tags (tag, audience, archived, project, state, mode, place);
CREATE INDEX IF NOT EXISTS job_tags_shared_by_state ON job_tags (tag, audience, owner, archived, state, mode, place)
WHERE {SHARED};
CREATE INDEX IF NOT EXISTS job_tags_shared_by_project
ON job_tags (tag, audience, owner, archived, project, state, mode, place)
WHERE {SHARED};

CREATE TABLE IF NOT EXISTS job_counts (
    tag TEXT NOT NULL,  -- '' counts every job
    shelf TEXT NOT NULL,  -- whose list it is about (`shelves`): '' is that of everything
    project TEXT NOT NULL,
    archived INTEGER NOT NULL,
    state TEXT NOT NULL,
    mode TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (shelf, tag, project, archived, state, mode)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS job_totals (  -- job_counts over all projects: a handful of rows of a shelf at any size
    tag TEXT NOT NULL,
    shelf TEXT NOT NULL,
    archived INTEGER NOT NULL,
    state TEXT NOT NULL,
    mode TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (shelf, tag, archived, state, mode)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS job_projects (  -- the names that jobs of a shelf have
    name TEXT NOT NULL,
    shelf TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (shelf, name)
) WITHOUT ROWID;

CREATE VIRTUAL TABLE IF NOT EXISTS job_fts
USING fts5(txt, mark, content = 'job_index', content_rowid = 'place', tokenize = 'trigram');

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
