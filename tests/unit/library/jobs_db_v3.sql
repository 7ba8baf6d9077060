-- The tables and triggers of a jobs.db of version 3, as the release before accounts made them: for test_older_files.
CREATE TABLE "jobs" (key TEXT PRIMARY KEY, value BLOB);
CREATE TABLE "idempotency" (key TEXT PRIMARY KEY, value BLOB);
CREATE TABLE "presets" (key TEXT PRIMARY KEY, value BLOB);
CREATE TABLE "projects" (key TEXT PRIMARY KEY, value BLOB);
CREATE TABLE "uploads" (key TEXT PRIMARY KEY, value BLOB);
CREATE TABLE "job_outputs" (key TEXT PRIMARY KEY, value BLOB);
CREATE TABLE job_index (
    place INTEGER PRIMARY KEY,  -- newest first is place DESC; a cursor of the list is one of these
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
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
CREATE TABLE job_tags (
    tag TEXT NOT NULL,
    archived INTEGER NOT NULL,
    project TEXT NOT NULL,
    state TEXT NOT NULL,
    mode TEXT NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (tag, archived, project, state, mode, place)
) WITHOUT ROWID;
CREATE TABLE job_counts (
    tag TEXT NOT NULL,  -- '' counts every job
    project TEXT NOT NULL,
    archived INTEGER NOT NULL,
    state TEXT NOT NULL,
    mode TEXT NOT NULL,
    owner TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (tag, project, archived, state, mode, owner)
) WITHOUT ROWID;
CREATE TABLE job_totals (  -- job_counts over all projects: a handful of rows at any size
    tag TEXT NOT NULL,
    archived INTEGER NOT NULL,
    state TEXT NOT NULL,
    mode TEXT NOT NULL,
    owner TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (tag, archived, state, mode, owner)
) WITHOUT ROWID;
CREATE TABLE job_projects (  -- the names that jobs have
    name TEXT PRIMARY KEY,
    n INTEGER NOT NULL
) WITHOUT ROWID;
CREATE VIRTUAL TABLE job_fts
USING fts5(txt, mark, content = 'job_index', content_rowid = 'place', tokenize = 'trigram');
CREATE TABLE job_files (
    path TEXT NOT NULL,  -- relative to the output root
    job_id TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (path, job_id)
) WITHOUT ROWID;
CREATE TABLE projector (
    name TEXT PRIMARY KEY,
    last_seq INTEGER NOT NULL,
    last_digest TEXT NOT NULL  -- of the event at last_seq: tells this log from another one
) WITHOUT ROWID;
CREATE TABLE quarantine (
    seq INTEGER PRIMARY KEY,
    subject TEXT NOT NULL,
    error TEXT NOT NULL
);
CREATE INDEX job_index_by_archived ON job_index (archived);
CREATE INDEX job_index_by_state ON job_index (archived, state, mode);
CREATE INDEX job_index_by_project ON job_index (archived, project, state, mode);
CREATE INDEX job_index_by_base_dir ON job_index (base_dir) WHERE base_dir <> '';
CREATE INDEX job_tags_by_state ON job_tags (tag, archived, state, mode, place);
CREATE INDEX job_files_by_job ON job_files (job_id);
CREATE VIEW job_members AS
SELECT jobs.key AS id,
    -- Only a date: 'now' and day numbers are dates to SQLite too.
    iif(json_extract(jobs.value, '$.created_at') GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*',
        min(8796093022207, max(0, coalesce(CAST(round(
            (julianday(json_extract(jobs.value, '$.created_at')) - 2440587.5) * 86400000) AS INTEGER), 0))),
        0) << 20 AS base,
    iif(json_type(jobs.value, '$.seq') = 'integer', json_extract(jobs.value, '$.seq') & 1048575, NULL) AS low,
    coalesce(CAST(json_extract(jobs.value, '$.owner_id') AS TEXT), '') AS owner,
    replace(upper(coalesce(CAST(json_extract(jobs.value, '$.state') AS TEXT), '')), 'JOBSTATE.', '') AS state,
    coalesce(CAST(json_extract(jobs.value, '$.project_name') AS TEXT), '') AS project,
    coalesce(CAST(json_extract(jobs.value, '$.mode') AS TEXT), '') AS mode,
    coalesce(json_extract(jobs.value, '$.archived') = 1, 0) AS archived,
    coalesce(CAST(json_extract(jobs.value, '$.created_at') AS TEXT), '') AS created_at,
    coalesce(CAST(json_extract(jobs.value, '$.base_dir') AS TEXT), '') AS base_dir,
    coalesce(CAST(json_extract(jobs.value, '$.title') AS TEXT), '') AS title,
    (SELECT json_group_array(DISTINCT lower(tag.value)) FROM json_each(jobs.value, '$.tags') AS tag
     WHERE tag.type = 'text' AND tag.value <> '') AS tags
FROM jobs;
CREATE TRIGGER jobs_insert_is_json BEFORE INSERT ON jobs
WHEN typeof(new.value) <> 'text' OR NOT json_valid(new.value)
BEGIN SELECT RAISE(ABORT, 'the value is not JSON text; pickled rows are refused'); END;
CREATE TRIGGER jobs_update_is_json BEFORE UPDATE ON jobs
WHEN typeof(new.value) <> 'text' OR NOT json_valid(new.value)
BEGIN SELECT RAISE(ABORT, 'the value is not JSON text; pickled rows are refused'); END;
CREATE TRIGGER idempotency_insert_is_json BEFORE INSERT ON idempotency
WHEN typeof(new.value) <> 'text' OR NOT json_valid(new.value)
BEGIN SELECT RAISE(ABORT, 'the value is not JSON text; pickled rows are refused'); END;
CREATE TRIGGER idempotency_update_is_json BEFORE UPDATE ON idempotency
WHEN typeof(new.value) <> 'text' OR NOT json_valid(new.value)
BEGIN SELECT RAISE(ABORT, 'the value is not JSON text; pickled rows are refused'); END;
CREATE TRIGGER presets_insert_is_json BEFORE INSERT ON presets
WHEN typeof(new.value) <> 'text' OR NOT json_valid(new.value)
BEGIN SELECT RAISE(ABORT, 'the value is not JSON text; pickled rows are refused'); END;
CREATE TRIGGER presets_update_is_json BEFORE UPDATE ON presets
WHEN typeof(new.value) <> 'text' OR NOT json_valid(new.value)
BEGIN SELECT RAISE(ABORT, 'the value is not JSON text; pickled rows are refused'); END;
CREATE TRIGGER projects_insert_is_json BEFORE INSERT ON projects
WHEN typeof(new.value) <> 'text' OR NOT json_valid(new.value)
BEGIN SELECT RAISE(ABORT, 'the value is not JSON text; pickled rows are refused'); END;
CREATE TRIGGER projects_update_is_json BEFORE UPDATE ON projects
WHEN typeof(new.value) <> 'text' OR NOT json_valid(new.value)
BEGIN SELECT RAISE(ABORT, 'the value is not JSON text; pickled rows are refused'); END;
CREATE TRIGGER uploads_insert_is_json BEFORE INSERT ON uploads
WHEN typeof(new.value) <> 'text' OR NOT json_valid(new.value)
BEGIN SELECT RAISE(ABORT, 'the value is not JSON text; pickled rows are refused'); END;
CREATE TRIGGER uploads_update_is_json BEFORE UPDATE ON uploads
WHEN typeof(new.value) <> 'text' OR NOT json_valid(new.value)
BEGIN SELECT RAISE(ABORT, 'the value is not JSON text; pickled rows are refused'); END;
CREATE TRIGGER job_outputs_insert_is_json BEFORE INSERT ON job_outputs
WHEN typeof(new.value) <> 'text' OR NOT json_valid(new.value)
BEGIN SELECT RAISE(ABORT, 'the value is not JSON text; pickled rows are refused'); END;
CREATE TRIGGER job_outputs_update_is_json BEFORE UPDATE ON job_outputs
WHEN typeof(new.value) <> 'text' OR NOT json_valid(new.value)
BEGIN SELECT RAISE(ABORT, 'the value is not JSON text; pickled rows are refused'); END;
CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs BEGIN 
    DELETE FROM job_index WHERE id = new.key
        AND EXISTS (SELECT 1 FROM job_members AS member WHERE member.id = new.key AND 
    (job_index.place < member.base OR job_index.place >= member.base + (1000 << 20)
     OR member.low IS NOT NULL AND job_index.place < (member.base | member.low))
    );
    UPDATE job_index SET (owner, state, project, mode, archived, created_at, base_dir, tags, txt, mark) = (SELECT 
    member.owner, member.state, member.project, member.mode, member.archived, member.created_at, member.base_dir,
    member.tags,
    member.id || char(10) || member.title || char(10) || member.project || char(10) ||
        (SELECT coalesce(group_concat(tag.value, char(10)), '') FROM json_each(member.tags) AS tag),
    iif(member.archived, '‡‡‡', '')
 FROM job_members AS member WHERE member.id = new.key)
    WHERE id = new.key
        AND (owner, state, project, mode, archived, created_at, base_dir, tags, txt, mark) IS NOT (SELECT 
    member.owner, member.state, member.project, member.mode, member.archived, member.created_at, member.base_dir,
    member.tags,
    member.id || char(10) || member.title || char(10) || member.project || char(10) ||
        (SELECT coalesce(group_concat(tag.value, char(10)), '') FROM json_each(member.tags) AS tag),
    iif(member.archived, '‡‡‡', '')
 FROM job_members AS member WHERE member.id = new.key);
    
    INSERT INTO job_index (place, id, owner, state, project, mode, archived, created_at, base_dir, tags, txt, mark)
    SELECT 
    iif(member.low IS NOT NULL AND NOT EXISTS (SELECT 1 FROM job_index WHERE place = member.base | member.low),
        member.base | member.low,
        coalesce(
            (SELECT taken.place + 1 FROM job_index AS taken
             WHERE taken.place >= (SELECT max(place) FROM job_index
                                   WHERE place BETWEEN member.base AND member.base | 1048575)
                AND NOT EXISTS (SELECT 1 FROM job_index AS next WHERE next.place = taken.place + 1)
             ORDER BY taken.place LIMIT 1),
            member.base))
, member.id, 
    member.owner, member.state, member.project, member.mode, member.archived, member.created_at, member.base_dir,
    member.tags,
    member.id || char(10) || member.title || char(10) || member.project || char(10) ||
        (SELECT coalesce(group_concat(tag.value, char(10)), '') FROM json_each(member.tags) AS tag),
    iif(member.archived, '‡‡‡', '')
 FROM job_members AS member
    WHERE member.id = new.key AND NOT EXISTS (SELECT 1 FROM job_index WHERE id = new.key);
    
 END;
CREATE TRIGGER jobs_updated AFTER UPDATE ON jobs
        WHEN old.key <> new.key OR json_extract(old.value, '$.seq', '$.created_at', '$.owner_id', '$.state', '$.project_name', '$.mode', '$.archived', '$.base_dir', '$.title', '$.tags') IS NOT json_extract(new.value, '$.seq', '$.created_at', '$.owner_id', '$.state', '$.project_name', '$.mode', '$.archived', '$.base_dir', '$.title', '$.tags')
        BEGIN DELETE FROM job_index WHERE id = old.key AND old.key <> new.key; 
    DELETE FROM job_index WHERE id = new.key
        AND EXISTS (SELECT 1 FROM job_members AS member WHERE member.id = new.key AND 
    (job_index.place < member.base OR job_index.place >= member.base + (1000 << 20)
     OR member.low IS NOT NULL AND job_index.place < (member.base | member.low))
    );
    UPDATE job_index SET (owner, state, project, mode, archived, created_at, base_dir, tags, txt, mark) = (SELECT 
    member.owner, member.state, member.project, member.mode, member.archived, member.created_at, member.base_dir,
    member.tags,
    member.id || char(10) || member.title || char(10) || member.project || char(10) ||
        (SELECT coalesce(group_concat(tag.value, char(10)), '') FROM json_each(member.tags) AS tag),
    iif(member.archived, '‡‡‡', '')
 FROM job_members AS member WHERE member.id = new.key)
    WHERE id = new.key
        AND (owner, state, project, mode, archived, created_at, base_dir, tags, txt, mark) IS NOT (SELECT 
    member.owner, member.state, member.project, member.mode, member.archived, member.created_at, member.base_dir,
    member.tags,
    member.id || char(10) || member.title || char(10) || member.project || char(10) ||
        (SELECT coalesce(group_concat(tag.value, char(10)), '') FROM json_each(member.tags) AS tag),
    iif(member.archived, '‡‡‡', '')
 FROM job_members AS member WHERE member.id = new.key);
    
    INSERT INTO job_index (place, id, owner, state, project, mode, archived, created_at, base_dir, tags, txt, mark)
    SELECT 
    iif(member.low IS NOT NULL AND NOT EXISTS (SELECT 1 FROM job_index WHERE place = member.base | member.low),
        member.base | member.low,
        coalesce(
            (SELECT taken.place + 1 FROM job_index AS taken
             WHERE taken.place >= (SELECT max(place) FROM job_index
                                   WHERE place BETWEEN member.base AND member.base | 1048575)
                AND NOT EXISTS (SELECT 1 FROM job_index AS next WHERE next.place = taken.place + 1)
             ORDER BY taken.place LIMIT 1),
            member.base))
, member.id, 
    member.owner, member.state, member.project, member.mode, member.archived, member.created_at, member.base_dir,
    member.tags,
    member.id || char(10) || member.title || char(10) || member.project || char(10) ||
        (SELECT coalesce(group_concat(tag.value, char(10)), '') FROM json_each(member.tags) AS tag),
    iif(member.archived, '‡‡‡', '')
 FROM job_members AS member
    WHERE member.id = new.key AND NOT EXISTS (SELECT 1 FROM job_index WHERE id = new.key);
    
 END;
CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs BEGIN DELETE FROM job_index WHERE id = old.key; END;
CREATE TRIGGER index_inserted AFTER INSERT ON job_index BEGIN 
    
    INSERT INTO job_counts (tag, project, archived, state, mode, owner, n) SELECT of.tag, new.project, new.archived, new.state, new.mode, new.owner, 0 FROM (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(new.tags) AS tag) AS of
    WHERE NOT EXISTS (SELECT 1 FROM job_counts WHERE job_counts.tag = of.tag AND project = new.project AND archived = new.archived AND state = new.state AND mode = new.mode AND owner = new.owner);
    UPDATE job_counts SET n = n + 1 WHERE job_counts.tag IN (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(new.tags) AS tag) AND project = new.project AND archived = new.archived AND state = new.state AND mode = new.mode AND owner = new.owner;
    
    INSERT INTO job_totals (tag, archived, state, mode, owner, n) SELECT of.tag, new.archived, new.state, new.mode, new.owner, 0 FROM (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(new.tags) AS tag) AS of
    WHERE NOT EXISTS (SELECT 1 FROM job_totals WHERE job_totals.tag = of.tag AND archived = new.archived AND state = new.state AND mode = new.mode AND owner = new.owner);
    UPDATE job_totals SET n = n + 1 WHERE job_totals.tag IN (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(new.tags) AS tag) AND archived = new.archived AND state = new.state AND mode = new.mode AND owner = new.owner;
    
    INSERT INTO job_tags (tag, archived, project, state, mode, place)
    SELECT tag.value, new.archived, new.project, new.state, new.mode, new.place FROM json_each(new.tags) AS tag;
    INSERT INTO job_projects SELECT new.project, 0
    WHERE new.project <> '' AND NOT EXISTS (SELECT 1 FROM job_projects WHERE name = new.project);
    UPDATE job_projects SET n = n + 1 WHERE name = new.project;

        INSERT INTO job_fts (rowid, txt, mark) VALUES (new.place, new.txt, new.mark); END;
CREATE TRIGGER index_updated AFTER UPDATE ON job_index WHEN old.archived IS NOT new.archived OR old.project IS NOT new.project OR old.state IS NOT new.state OR old.mode IS NOT new.mode OR old.owner IS NOT new.owner OR old.tags IS NOT new.tags BEGIN 
    
    UPDATE job_counts SET n = n - 1 WHERE job_counts.tag IN (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(old.tags) AS tag) AND project = old.project AND archived = old.archived AND state = old.state AND mode = old.mode AND owner = old.owner;
    DELETE FROM job_counts WHERE job_counts.tag IN (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(old.tags) AS tag) AND project = old.project AND archived = old.archived AND state = old.state AND mode = old.mode AND owner = old.owner AND n = 0;
    
    UPDATE job_totals SET n = n - 1 WHERE job_totals.tag IN (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(old.tags) AS tag) AND archived = old.archived AND state = old.state AND mode = old.mode AND owner = old.owner;
    DELETE FROM job_totals WHERE job_totals.tag IN (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(old.tags) AS tag) AND archived = old.archived AND state = old.state AND mode = old.mode AND owner = old.owner AND n = 0;
    
    DELETE FROM job_tags WHERE tag IN (SELECT tag.value FROM json_each(old.tags) AS tag) AND archived = old.archived AND project = old.project
        AND state = old.state AND mode = old.mode AND place = old.place;
    UPDATE job_projects SET n = n - 1 WHERE name = old.project;
    DELETE FROM job_projects WHERE name = old.project AND n = 0;
 
    
    INSERT INTO job_counts (tag, project, archived, state, mode, owner, n) SELECT of.tag, new.project, new.archived, new.state, new.mode, new.owner, 0 FROM (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(new.tags) AS tag) AS of
    WHERE NOT EXISTS (SELECT 1 FROM job_counts WHERE job_counts.tag = of.tag AND project = new.project AND archived = new.archived AND state = new.state AND mode = new.mode AND owner = new.owner);
    UPDATE job_counts SET n = n + 1 WHERE job_counts.tag IN (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(new.tags) AS tag) AND project = new.project AND archived = new.archived AND state = new.state AND mode = new.mode AND owner = new.owner;
    
    INSERT INTO job_totals (tag, archived, state, mode, owner, n) SELECT of.tag, new.archived, new.state, new.mode, new.owner, 0 FROM (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(new.tags) AS tag) AS of
    WHERE NOT EXISTS (SELECT 1 FROM job_totals WHERE job_totals.tag = of.tag AND archived = new.archived AND state = new.state AND mode = new.mode AND owner = new.owner);
    UPDATE job_totals SET n = n + 1 WHERE job_totals.tag IN (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(new.tags) AS tag) AND archived = new.archived AND state = new.state AND mode = new.mode AND owner = new.owner;
    
    INSERT INTO job_tags (tag, archived, project, state, mode, place)
    SELECT tag.value, new.archived, new.project, new.state, new.mode, new.place FROM json_each(new.tags) AS tag;
    INSERT INTO job_projects SELECT new.project, 0
    WHERE new.project <> '' AND NOT EXISTS (SELECT 1 FROM job_projects WHERE name = new.project);
    UPDATE job_projects SET n = n + 1 WHERE name = new.project;
 END;
CREATE TRIGGER index_text_updated AFTER UPDATE ON job_index
        WHEN old.txt IS NOT new.txt OR old.mark IS NOT new.mark BEGIN
        INSERT INTO job_fts (job_fts, rowid, txt, mark) VALUES ('delete', old.place, old.txt, old.mark);
        INSERT INTO job_fts (rowid, txt, mark) VALUES (new.place, new.txt, new.mark); END;
CREATE TRIGGER index_deleted AFTER DELETE ON job_index BEGIN 
    
    UPDATE job_counts SET n = n - 1 WHERE job_counts.tag IN (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(old.tags) AS tag) AND project = old.project AND archived = old.archived AND state = old.state AND mode = old.mode AND owner = old.owner;
    DELETE FROM job_counts WHERE job_counts.tag IN (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(old.tags) AS tag) AND project = old.project AND archived = old.archived AND state = old.state AND mode = old.mode AND owner = old.owner AND n = 0;
    
    UPDATE job_totals SET n = n - 1 WHERE job_totals.tag IN (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(old.tags) AS tag) AND archived = old.archived AND state = old.state AND mode = old.mode AND owner = old.owner;
    DELETE FROM job_totals WHERE job_totals.tag IN (SELECT '' AS tag UNION ALL SELECT tag.value FROM json_each(old.tags) AS tag) AND archived = old.archived AND state = old.state AND mode = old.mode AND owner = old.owner AND n = 0;
    
    DELETE FROM job_tags WHERE tag IN (SELECT tag.value FROM json_each(old.tags) AS tag) AND archived = old.archived AND project = old.project
        AND state = old.state AND mode = old.mode AND place = old.place;
    UPDATE job_projects SET n = n - 1 WHERE name = old.project;
    DELETE FROM job_projects WHERE name = old.project AND n = 0;

        INSERT INTO job_fts (job_fts, rowid, txt, mark) VALUES ('delete', old.place, old.txt, old.mark); END;
CREATE TRIGGER outputs_inserted AFTER INSERT ON job_outputs BEGIN
        DELETE FROM job_files WHERE job_id = new.key; 
    INSERT INTO job_files (path, job_id, sha256, size)
    SELECT output.value ->> '$.path', new.key, CAST(coalesce(output.value ->> '$.sha256', '') AS TEXT),
    CAST(coalesce(output.value ->> '$.size_bytes', -1) AS INTEGER) FROM json_each(new.value, '$.outputs') AS output
    WHERE output.type = 'object' AND json_type(output.value, '$.path') = 'text' GROUP BY 1;
 END;
CREATE TRIGGER outputs_updated AFTER UPDATE ON job_outputs BEGIN
        DELETE FROM job_files WHERE job_id IN (old.key, new.key); 
    INSERT INTO job_files (path, job_id, sha256, size)
    SELECT output.value ->> '$.path', new.key, CAST(coalesce(output.value ->> '$.sha256', '') AS TEXT),
    CAST(coalesce(output.value ->> '$.size_bytes', -1) AS INTEGER) FROM json_each(new.value, '$.outputs') AS output
    WHERE output.type = 'object' AND json_type(output.value, '$.path') = 'text' GROUP BY 1;
 END;
CREATE TRIGGER outputs_deleted AFTER DELETE ON job_outputs BEGIN DELETE FROM job_files WHERE job_id = old.key; END;
