"""What the index says of a row, in SQL: once for the triggers, which follow any writer, and once for whole tables.

Lives here: the view `job_members` (what a row means), the triggers, and the statements that build the same content
from the rows. Does not live here: tables (`schema`), when they are built (`building`), comparing (`verify`).

The index follows a stock SqliteDict too, whose REPLACE fires INSERT triggers and no DELETE ones. A REPLACE also
overrides the conflict clause of every statement inside a trigger, so that "ON CONFLICT" there would not mean what it
says: none is used, rows are looked for instead. A column named `value` hides behind `json_each.value`: always name
the table of either.
"""

# ruff: noqa: S608 -- SQL made of names of our schema

from services.library.jobstore.schema import ALL_JOBS, ARCHIVED_MARK, KV_TABLES, SEQ_BITS
from services.library.jobstore.shelves import EVERYTHING_NAME, SEEN_PREFIX, SHARED_PREFIX
from shared.access.principal import EVERYBODY

_LAST_MS = (1 << 63 - SEQ_BITS) - 1
_LOW = (1 << SEQ_BITS) - 1

_INDEXED = (
    "seq", "created_at", "owner_id", "visibility", "state", "project_name", "mode", "archived", "base_dir", "title",
    "tags",
)  # fmt: skip


def _members(value: str) -> str:
    """Return an expression for the indexed members of a JSON text, as one value to compare."""
    paths = ", ".join(f"'$.{name}'" for name in _INDEXED)
    return f"json_extract({value}, {paths})"


def _text(name: str) -> str:
    return f"coalesce(CAST(json_extract(jobs.value, '$.{name}') AS TEXT), '')"


MEMBERS_VIEW = f"""
CREATE VIEW IF NOT EXISTS job_members AS
SELECT jobs.key AS id,
    -- Only a date: 'now' and day numbers are dates to SQLite too.
    iif(json_extract(jobs.value, '$.created_at') GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*',
        min({_LAST_MS}, max(0, coalesce(CAST(round(
            (julianday(json_extract(jobs.value, '$.created_at')) - 2440587.5) * 86400000) AS INTEGER), 0))),
        0) << {SEQ_BITS} AS base,
    iif(json_type(jobs.value, '$.seq') = 'integer', json_extract(jobs.value, '$.seq') & {_LOW}, NULL) AS low,
    {_text("owner_id")} AS owner,
    -- Nobody is called as everybody is: what a foreign writer says of its owner must not share a job.
    CASE WHEN {_text("visibility")} = 'shared' THEN '{EVERYBODY}'
        WHEN {_text("owner_id")} = '{EVERYBODY}' THEN '' ELSE {_text("owner_id")} END AS audience,
    replace(upper({_text("state")}), 'JOBSTATE.', '') AS state,
    {_text("project_name")} AS project,
    {_text("mode")} AS mode,
    coalesce(json_extract(jobs.value, '$.archived') = 1, 0) AS archived,
    {_text("created_at")} AS created_at,
    {_text("base_dir")} AS base_dir,
    {_text("title")} AS title,
    (SELECT json_group_array(DISTINCT lower(tag.value)) FROM json_each(jobs.value, '$.tags') AS tag
     WHERE tag.type = 'text' AND tag.value <> '') AS tags
FROM jobs;
"""

_COLUMNS = "owner, audience, state, project, mode, archived, created_at, base_dir, tags, txt, mark"

_SEEN = f"""
    member.owner, member.audience, member.state, member.project, member.mode, member.archived, member.created_at,
    member.base_dir, member.tags,
    member.id || char(10) || member.title || char(10) || member.project || char(10) ||
        (SELECT coalesce(group_concat(tag.value, char(10)), '') FROM json_each(member.tags) AS tag),
    iif(member.archived, '{ARCHIVED_MARK}', '')
"""

_FREE_PLACE = f"""
    iif(member.low IS NOT NULL AND NOT EXISTS (SELECT 1 FROM job_index WHERE place = member.base | member.low),
        member.base | member.low,
        coalesce(
            (SELECT taken.place + 1 FROM job_index AS taken
             WHERE taken.place >= (SELECT max(place) FROM job_index
                                   WHERE place BETWEEN member.base AND member.base | {_LOW})
                AND NOT EXISTS (SELECT 1 FROM job_index AS next WHERE next.place = taken.place + 1)
             ORDER BY taken.place LIMIT 1),
            member.base))
"""


def insert_one(job_id: str) -> str:
    """Return the statement that gives one row its entry in the index; `job_id` is SQL, `new.key` or a parameter."""
    return f"""
    INSERT INTO job_index (place, id, {_COLUMNS})
    SELECT {_FREE_PLACE}, member.id, {_SEEN} FROM job_members AS member
    WHERE member.id = {job_id} AND NOT EXISTS (SELECT 1 FROM job_index WHERE id = {job_id});
    """


def misplaced(place: str) -> str:
    """Return a condition: this place is not one for this `member`. A taken number moves a row up, by little."""
    return f"""
    ({place} < member.base OR {place} >= member.base + (1000 << {SEQ_BITS})
     OR member.low IS NOT NULL AND {place} < (member.base | member.low))
    """


_FOLLOW_ROW = f"""
    DELETE FROM job_index WHERE id = new.key
        AND EXISTS (SELECT 1 FROM job_members AS member WHERE member.id = new.key AND {misplaced("job_index.place")});
    UPDATE job_index SET ({_COLUMNS}) = (SELECT {_SEEN} FROM job_members AS member WHERE member.id = new.key)
    WHERE id = new.key
        AND ({_COLUMNS}) IS NOT (SELECT {_SEEN} FROM job_members AS member WHERE member.id = new.key);
    {insert_one("new.key")}
"""


def _tags_in(row: str) -> str:
    return f"SELECT tag.value FROM json_each({row}.tags) AS tag"


def _shelves_of(row: str) -> str:
    """Return the shelves that a row of the index stands on, as the column `name` (`shelves`)."""
    return f"""(
        SELECT '{EVERYTHING_NAME}' AS name UNION ALL SELECT '{SEEN_PREFIX}' || {row}.audience
        UNION ALL SELECT '{SHARED_PREFIX}' || {row}.owner WHERE {row}.audience = '{EVERYBODY}')"""


def _count(row: str, table: str, dimensions: tuple[str, ...], by: int) -> str:
    """Return the statements that count a row of the index in (by = 1) or out (by = -1)."""
    own = ", ".join(f"{row}.{name}" for name in dimensions)
    columns = ", ".join(("tag", "shelf", *dimensions))
    tags = f"(SELECT '{ALL_JOBS}' AS tag UNION ALL {_tags_in(row)})"
    shelves = _shelves_of(row)
    same = " AND ".join(f"{name} = {row}.{name}" for name in dimensions)
    mine = f"{table}.shelf IN {shelves} AND {table}.tag IN {tags} AND {same}"
    if by > 0:
        return f"""
    INSERT INTO {table} ({columns}, n) SELECT of.tag, shelf.name, {own}, 0
    FROM {tags} AS of CROSS JOIN {shelves} AS shelf
    WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE {table}.shelf = shelf.name AND {table}.tag = of.tag AND {same});
    UPDATE {table} SET n = n + 1 WHERE {mine};
    """
    return f"""
    UPDATE {table} SET n = n - 1 WHERE {mine};
    DELETE FROM {table} WHERE {mine} AND n = 0;
    """


COUNTED = {
    "job_counts": ("project", "archived", "state", "mode"),
    "job_totals": ("archived", "state", "mode"),
}

_TAG_COLUMNS = ("owner", "audience", "archived", "project", "state", "mode", "place")

_IN = f"""
    {"".join(_count("new", table, dimensions, 1) for table, dimensions in COUNTED.items())}
    INSERT INTO job_tags (tag, {", ".join(_TAG_COLUMNS)})
    SELECT tag.value, {", ".join(f"new.{name}" for name in _TAG_COLUMNS)} FROM json_each(new.tags) AS tag;
    INSERT INTO job_projects (name, shelf, n) SELECT new.project, shelf.name, 0 FROM {_shelves_of("new")} AS shelf
    WHERE new.project <> ''
        AND NOT EXISTS (SELECT 1 FROM job_projects AS had WHERE had.shelf = shelf.name AND had.name = new.project);
    UPDATE job_projects SET n = n + 1 WHERE shelf IN {_shelves_of("new")} AND name = new.project;
"""

_OUT = f"""
    {"".join(_count("old", table, dimensions, -1) for table, dimensions in COUNTED.items())}
    DELETE FROM job_tags WHERE tag IN ({_tags_in("old")}) AND archived = old.archived AND project = old.project
        AND state = old.state AND mode = old.mode AND place = old.place;
    UPDATE job_projects SET n = n - 1 WHERE shelf IN {_shelves_of("old")} AND name = old.project;
    DELETE FROM job_projects WHERE shelf IN {_shelves_of("old")} AND name = old.project AND n = 0;
"""

_IS_FILE = "output.type = 'object' AND json_type(output.value, '$.path') = 'text'"

_FILE_COLUMNS = """output.value ->> '$.path', {key}, CAST(coalesce(output.value ->> '$.sha256', '') AS TEXT),
    CAST(coalesce(output.value ->> '$.size_bytes', -1) AS INTEGER)"""

_FILES_IN = f"""
    INSERT INTO job_files (path, job_id, sha256, size)
    SELECT {_FILE_COLUMNS.format(key="new.key")} FROM json_each(new.value, '$.outputs') AS output
    WHERE {_IS_FILE} GROUP BY 1;
"""

_COUNTED_CHANGED = " OR ".join(
    f"old.{name} IS NOT new.{name}" for name in ("archived", "project", "state", "mode", "owner", "audience", "tags")
)

GUARDS = "".join(
    f"""
CREATE TRIGGER IF NOT EXISTS {table}_{verb.lower()}_is_json BEFORE {verb} ON {table}
WHEN typeof(new.value) <> 'text' OR NOT json_valid(new.value)
BEGIN SELECT RAISE(ABORT, 'the value is not JSON text; pickled rows are refused'); END;
"""
    for table in KV_TABLES
    for verb in ("INSERT", "UPDATE")
)

TRIGGERS: dict[str, str] = {
    "jobs_inserted": f"AFTER INSERT ON jobs BEGIN {_FOLLOW_ROW} END",
    "jobs_updated": f"""AFTER UPDATE ON jobs
        WHEN old.key <> new.key OR {_members("old.value")} IS NOT {_members("new.value")}
        BEGIN DELETE FROM job_index WHERE id = old.key AND old.key <> new.key; {_FOLLOW_ROW} END""",
    "jobs_deleted": "AFTER DELETE ON jobs BEGIN DELETE FROM job_index WHERE id = old.key; END",
    "index_inserted": f"""AFTER INSERT ON job_index BEGIN {_IN}
        INSERT INTO job_fts (rowid, txt, mark) VALUES (new.place, new.txt, new.mark); END""",
    "index_updated": f"AFTER UPDATE ON job_index WHEN {_COUNTED_CHANGED} BEGIN {_OUT} {_IN} END",
    "index_text_updated": """AFTER UPDATE ON job_index
        WHEN old.txt IS NOT new.txt OR old.mark IS NOT new.mark BEGIN
        INSERT INTO job_fts (job_fts, rowid, txt, mark) VALUES ('delete', old.place, old.txt, old.mark);
        INSERT INTO job_fts (rowid, txt, mark) VALUES (new.place, new.txt, new.mark); END""",
    "index_deleted": f"""AFTER DELETE ON job_index BEGIN {_OUT}
        INSERT INTO job_fts (job_fts, rowid, txt, mark) VALUES ('delete', old.place, old.txt, old.mark); END""",
    "outputs_inserted": f"""AFTER INSERT ON job_outputs BEGIN
        DELETE FROM job_files WHERE job_id = new.key; {_FILES_IN} END""",
    "outputs_updated": f"""AFTER UPDATE ON job_outputs BEGIN
        DELETE FROM job_files WHERE job_id IN (old.key, new.key); {_FILES_IN} END""",
    "outputs_deleted": "AFTER DELETE ON job_outputs BEGIN DELETE FROM job_files WHERE job_id = old.key; END",
}
"""The triggers that keep the index, by name."""

BUILD_INDEX = f"""
INSERT OR IGNORE INTO job_index (place, id, {_COLUMNS})
SELECT member.base | member.low, member.id, {_SEEN} FROM job_members AS member WHERE member.low IS NOT NULL
"""

_COUNTS = f"""
    WITH one AS MATERIALIZED (  -- first what differs in nothing that is counted: shelves are spread over few rows
        SELECT '{ALL_JOBS}' AS tag, owner, audience, project, archived, state, mode, count(*) AS n
        FROM job_index GROUP BY owner, audience, project, archived, state, mode
        UNION ALL
        SELECT tag.value, owner, audience, project, archived, state, mode, count(*)
        FROM job_index CROSS JOIN json_each(job_index.tags) AS tag
        GROUP BY tag.value, owner, audience, project, archived, state, mode
    )
    SELECT tag, shelf, project, archived, state, mode, sum(n) FROM (
        SELECT *, '{EVERYTHING_NAME}' AS shelf FROM one UNION ALL SELECT *, '{SEEN_PREFIX}' || audience FROM one
        UNION ALL SELECT *, '{SHARED_PREFIX}' || owner FROM one WHERE audience = '{EVERYBODY}'
    ) GROUP BY 1, 2, 3, 4, 5, 6
"""

RECOUNTS: dict[str, str] = {
    "job_files": f"""
        SELECT {_FILE_COLUMNS.format(key="job_outputs.key")}
        FROM job_outputs CROSS JOIN json_each(job_outputs.value, '$.outputs') AS output
        WHERE {_IS_FILE} GROUP BY output.value ->> '$.path', job_outputs.key""",
    "job_tags": f"""
        SELECT tag.value, {", ".join(_TAG_COLUMNS)}
        FROM job_index CROSS JOIN json_each(job_index.tags) AS tag""",
    "job_counts": _COUNTS,
    "job_totals": "SELECT tag, shelf, archived, state, mode, sum(n) FROM job_counts GROUP BY 1, 2, 3, 4, 5",
    "job_projects": f"""
        SELECT project, shelf, sum(n) FROM job_counts WHERE tag = '{ALL_JOBS}' AND project <> '' GROUP BY 1, 2""",
}
"""What each table has to hold, told by the rows or by the table before it."""

BUILD: tuple[str, ...] = (
    "DELETE FROM job_index",
    BUILD_INDEX,
    *(
        statement
        for table, recount in RECOUNTS.items()
        for statement in (f"DELETE FROM {table}", f"INSERT INTO {table} {recount}")
    ),
    "INSERT INTO job_fts (job_fts) VALUES ('rebuild')",
)
"""Statements that make the content of the triggers anew from the rows, in their order."""

WRONG_ENTRIES = f"""
SELECT member.id FROM job_members AS member LEFT JOIN job_index ON job_index.id = member.id
WHERE job_index.place IS NULL OR {misplaced("job_index.place")}
    OR ({", ".join(f"job_index.{name}" for name in _COLUMNS.split(", "))}) IS NOT ({_SEEN})
UNION ALL
SELECT id FROM job_index WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE key = job_index.id)
"""
"""Jobs whose entry in the index is missing, is not what their row says, or has no row."""

UNPLACED = "SELECT key FROM jobs WHERE NOT EXISTS (SELECT 1 FROM job_index WHERE id = jobs.key) ORDER BY rowid"
"""Rows that `BUILD` could not place: of foreign writers, without a sequence or with one that is taken."""
