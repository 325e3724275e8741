-- The log's order; see 0003_tables.sql. keep_log_order() replaces both functions if the database moves to another
-- cluster, whose transaction numbers are others.
CREATE FUNCTION draftline.log_xact() RETURNS bigint
LANGUAGE sql STABLE AS $$ SELECT pg_current_xact_id()::text::bigint + 0 $$;

-- Changes with a log_xact below this are all there; what is written later comes after them.
CREATE FUNCTION draftline.log_horizon() RETURNS bigint
LANGUAGE sql STABLE AS $$ SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + 0 $$;

-- The edit that makes one content of another, and the one that takes it back. Objects are compared key by key, all
-- else as a whole. apply_node(edit, old) = new, and apply_node(base, new) = old.
CREATE FUNCTION draftline.difference(old jsonb, new jsonb) RETURNS draftline.based_edit
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    sets jsonb;
    olds jsonb;
    added text[];
    removed text[];
    merges jsonb := '{}';
    base_merges jsonb := '{}';
    nested text[];
    name text;
    child draftline.based_edit;
BEGIN
    SELECT jsonb_object_agg(n.key, n.value) FILTER (WHERE NOT n.is_nested),
        jsonb_object_agg(n.key, n.old) FILTER (WHERE NOT n.is_nested AND n.old IS NOT NULL),
        array_agg(n.key) FILTER (WHERE n.old IS NULL), array_agg(n.key) FILTER (WHERE n.is_nested)
    INTO sets, olds, added, nested
    FROM (
        SELECT e.key, e.value, old -> e.key AS old,
            jsonb_typeof(e.value) = 'object' AND coalesce(jsonb_typeof(old -> e.key) = 'object', false) AS is_nested
        FROM jsonb_each(new) AS e
        WHERE old -> e.key IS DISTINCT FROM e.value
    ) AS n;
    removed := ARRAY(SELECT k FROM jsonb_object_keys(old) AS k WHERE NOT new ? k);
    IF removed <> '{}' THEN
        olds := coalesce(olds, '{}') || (SELECT jsonb_object_agg(k, old -> k) FROM unnest(removed) AS k);
    END IF;
    IF nested IS NOT NULL THEN
        FOREACH name IN ARRAY nested LOOP
            child := draftline.difference(old -> name, new -> name);
            merges := merges || jsonb_build_object(name, child.edit);
            base_merges := base_merges || jsonb_build_object(name, child.base);
        END LOOP;
    ELSIF added IS NULL AND removed = '{}' THEN
        RETURN (CASE WHEN sets IS NULL THEN '{}' ELSE jsonb_build_object('s', sets) END,
            CASE WHEN olds IS NULL THEN '{}' ELSE jsonb_build_object('s', olds) END)::draftline.based_edit;
    END IF;
    RETURN (draftline.node(coalesce(sets, '{}'), removed, merges),
        draftline.node(coalesce(olds, '{}'), coalesce(added, '{}'), base_merges))::draftline.based_edit;
END $$;

-- The top-level keys of an edit that is no more than a difference, in code point order.
CREATE FUNCTION draftline.edited_fields(edit jsonb) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN ARRAY(
        SELECT k FROM (
            SELECT jsonb_object_keys(edit -> 's') UNION ALL SELECT jsonb_array_elements_text(edit -> 'r')
            UNION ALL SELECT jsonb_object_keys(edit -> 'm')
        ) AS edited (k) ORDER BY k COLLATE "C");
END $$;

-- An edit with null in the place of every value.
CREATE FUNCTION draftline.without_values(edit jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT draftline.node(
        coalesce((SELECT jsonb_object_agg(k, 'null'::jsonb) FROM jsonb_object_keys(edit -> 's') AS k), '{}'),
        ARRAY(SELECT jsonb_array_elements_text(edit -> 'r')),
        coalesce((SELECT jsonb_object_agg(m.key, draftline.without_values(m.value))
                  FROM jsonb_each(edit -> 'm') AS m), '{}'))
$$;

-- The attributes that a change set, as the log keeps them; NULL if it set none.
CREATE FUNCTION draftline.attribute_changes(
    old_parent_id text, new_parent_id text, old_position bigint, new_position bigint) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT nullif(
        CASE WHEN old_parent_id IS DISTINCT FROM new_parent_id
             THEN jsonb_build_object('parent_id', jsonb_build_array(old_parent_id, new_parent_id)) ELSE '{}' END
        || CASE WHEN old_position IS DISTINCT FROM new_position
             THEN jsonb_build_object('position', jsonb_build_array(old_position, new_position)) ELSE '{}' END,
        '{}')
$$;

-- The answer to a call of one record, as requests keep it.
CREATE FUNCTION draftline.answer(collection text, record_id text, content jsonb, version bigint, parent_id text,
    "position" bigint, created_at timestamptz, created_by text, updated_at timestamptz, updated_by text,
    deleted_at timestamptz) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object('collection', collection, 'record_id', record_id, 'content', content,
        'version', version, 'parent_id', parent_id, 'position', "position", 'created_at', created_at,
        'created_by', created_by, 'updated_at', updated_at, 'updated_by', updated_by, 'deleted_at', deleted_at)
$$;

-- The content that a record had at a version: its content now, with what came later taken back. NULL if the log does
-- not hold all values that it takes.
CREATE FUNCTION draftline.content_at(tenant text, of_collection text, of_record text, at_version bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
DECLARE
    found jsonb;
    reached bigint;
    step record;
BEGIN
    SELECT r.content, r.version INTO found, reached FROM draftline.record AS r
    WHERE r.tenant_id = tenant AND r.collection = of_collection AND r.record_id = of_record;
    IF reached < at_version THEN
        RETURN NULL;
    END IF;
    FOR step IN
        SELECT c.version, c.base FROM draftline.change AS c
        WHERE c.tenant_id = tenant AND c.collection = of_collection AND c.record_id = of_record
          AND c.version > at_version AND c.version <= reached AND c.kind <> 'DRAFT'
        ORDER BY c.version DESC
    LOOP
        IF step.version <> reached OR step.base IS NULL THEN
            RETURN NULL;
        END IF;
        found := draftline.apply_node(step.base, found);
        reached := reached - 1;
    END LOOP;
    RETURN CASE WHEN reached = at_version THEN found END;
END $$;

-- Partitions: one a week (UTC), named after its Monday. What falls into none goes to change_default, so that no
-- write ever fails for want of one. Partitions come and go while nobody uses the log, for a statement that has begun
-- knows those that there were: it would write to change_default what belongs elsewhere by now, and fail, or not look
-- where changes were moved to. All reads and writes wait behind who waits for that, so it gives up soon, and is
-- called again later.
CREATE TABLE draftline.change_default PARTITION OF draftline.change DEFAULT;

-- Makes the partition of a week; how many changes it took over from change_default.
CREATE FUNCTION draftline.add_change_partition(monday date) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET lock_timeout = '200ms' AS $$
DECLARE
    name text := 'change_' || to_char(monday, 'YYYYMMDD');
    starts timestamptz := monday::timestamp AT TIME ZONE 'UTC';
    ends timestamptz := (monday + 7)::timestamp AT TIME ZONE 'UTC';
    move text := format('WITH moved AS (DELETE FROM draftline.change_default WHERE created_at >= %L AND created_at < %L
        RETURNING *) INSERT INTO draftline.%I SELECT * FROM moved', starts, ends, name);
    moved bigint;
    moved_late bigint;
BEGIN
    -- Attached when it is filled, so that others have not long to wait.
    EXECUTE format('CREATE TABLE draftline.%I (LIKE draftline.change INCLUDING ALL)', name);
    -- As for records: a tenant and a collection may be all there is, and a record is looked up by its whole key. Known
    -- from the start, for plans are made before there are statistics of something.
    EXECUTE format('ALTER TABLE draftline.%I ALTER COLUMN tenant_id SET (n_distinct = 1),
        ALTER COLUMN collection SET (n_distinct = 1), ALTER COLUMN record_id SET (n_distinct = -1)', name);
    EXECUTE format($f$INSERT INTO draftline.%I SELECT '', g, g, '', g::text, 1, 'CREATE', '', NULL, NULL, NULL, g::text,
        '', NULL, '', NULL, %L FROM generate_series(1, 10) AS g$f$, name, starts);
    EXECUTE format('ANALYZE draftline.%I', name);
    EXECUTE format('DELETE FROM draftline.%I', name);
    EXECUTE move;
    GET DIAGNOSTICS moved = ROW_COUNT;
    -- What was written there meanwhile is moved when nobody is on the way there any more.
    LOCK TABLE ONLY draftline.change IN ACCESS EXCLUSIVE MODE;
    EXECUTE move;
    GET DIAGNOSTICS moved_late = ROW_COUNT;
    EXECUTE format('ALTER TABLE draftline.change ATTACH PARTITION draftline.%I FOR VALUES FROM (%L) TO (%L)',
        name, starts, ends);
    RETURN moved + moved_late;
END $$;

-- Drops the oldest partition, if all of it is older than a moment, and tells the log how far it is gone. The name of
-- the partition; NULL if there is none so old.
CREATE FUNCTION draftline.drop_changes(before timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE SET lock_timeout = '200ms' AS $$
DECLARE
    oldest text;
    last record;
BEGIN
    SELECT c.relname INTO oldest
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'draftline.change'::regclass AND c.relname ~ '^change_[0-9]{8}$'
      AND (to_date(right(c.relname, 8), 'YYYYMMDD') + 7)::timestamp AT TIME ZONE 'UTC' <= before
    ORDER BY c.relname LIMIT 1;
    IF oldest IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('LOCK TABLE draftline.%I IN SHARE MODE', oldest);
    EXECUTE format('SELECT log_xact, change_id FROM draftline.%I ORDER BY log_xact DESC, change_id DESC LIMIT 1', oldest)
    INTO last;
    LOCK TABLE ONLY draftline.change IN ACCESS EXCLUSIVE MODE;
    UPDATE draftline.change_log SET dropped_xact = last.log_xact, dropped_id = last.change_id
    WHERE (dropped_xact, dropped_id) < (last.log_xact, last.change_id);
    EXECUTE format('DROP TABLE draftline.%I', oldest);
    RETURN oldest;
END $$;

-- Keeps the order of the log when the database was restored into another cluster, whose transaction numbers are
-- others; whether it was. Called before anything is written there.
CREATE FUNCTION draftline.keep_log_order() RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    log draftline.change_log;
    here bigint := (SELECT system_identifier FROM pg_control_system());
    ahead bigint;
    moved boolean;
BEGIN
    SELECT * INTO log FROM draftline.change_log FOR UPDATE;
    ahead := log.horizon - draftline.log_horizon();
    moved := log.cluster <> here OR ahead > 0;
    IF moved THEN
        -- Further than any number can be that was drawn after the log was last kept.
        log.xact_offset := log.xact_offset + greatest(ahead, 0) + 4294967296;
        EXECUTE format('CREATE OR REPLACE FUNCTION draftline.log_xact() RETURNS bigint LANGUAGE sql STABLE AS
            $f$ SELECT pg_current_xact_id()::text::bigint + %s $f$', log.xact_offset);
        EXECUTE format('CREATE OR REPLACE FUNCTION draftline.log_horizon() RETURNS bigint LANGUAGE sql STABLE AS
            $f$ SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %s $f$', log.xact_offset);
    END IF;
    UPDATE draftline.change_log
    SET cluster = here, xact_offset = log.xact_offset, horizon = draftline.log_horizon();
    RETURN moved;
END $$;

DO $$
BEGIN
    FOR week IN 0..4 LOOP
        PERFORM draftline.add_change_partition((date_trunc('week', now() AT TIME ZONE 'UTC') + week * interval '7 days')::date);
    END LOOP;
END $$;

-- As for records: a request is looked up by its whole key.
ALTER TABLE draftline.request ALTER COLUMN tenant_id SET (n_distinct = 1), ALTER COLUMN user_id SET (n_distinct = 1),
    ALTER COLUMN request_id SET (n_distinct = -1);
