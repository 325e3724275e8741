-- The change log: what an entry holds, contents at earlier versions, and the weekly partitions.

-- Return the edit that makes the content `new` from `old`, and its inverse. Objects are compared key by key, other
-- values as a whole: apply_node(edit, old) = new and apply_node(base, new) = old.
CREATE OR REPLACE FUNCTION draftline.difference(old jsonb, new jsonb) RETURNS draftline.based_edit
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    found draftline.based_edit;
BEGIN
    SELECT d.edit, d.base INTO found FROM draftline.difference_at(old, new, old || new) AS d;
    RETURN CASE WHEN found.edit IS NULL THEN ('{}', '{}')::draftline.based_edit ELSE found END;
END $$;

-- Return the top-level keys of an edit that difference() made, in code point order.
CREATE OR REPLACE FUNCTION draftline.edited_fields(edit jsonb) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN ARRAY(
        SELECT k FROM (
            SELECT jsonb_object_keys(edit -> 's') UNION ALL SELECT jsonb_array_elements_text(edit -> 'r')
            UNION ALL SELECT jsonb_object_keys(edit -> 'm')
        ) AS edited (k) ORDER BY k COLLATE "C");
END $$;

-- Return an edit with every value replaced by null.
CREATE OR REPLACE FUNCTION draftline.without_values(edit jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT draftline.node(
        coalesce((SELECT jsonb_object_agg(k, 'null'::jsonb) FROM jsonb_object_keys(edit -> 's') AS k), '{}'),
        ARRAY(SELECT jsonb_array_elements_text(edit -> 'r')),
        coalesce((SELECT jsonb_object_agg(m.key, draftline.without_values(m.value))
                  FROM jsonb_each(edit -> 'm') AS m), '{}'))
$$;

-- Return the content of a record at a version: that of the next snapshot, or else the current one, with the changes in
-- between reverted. NULL if the log does not hold all the values that this requires.
CREATE OR REPLACE FUNCTION draftline.content_at(tenant text, of_collection text, of_record text, at_version bigint)
RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
DECLARE
    found jsonb;
    reached bigint;
    milestone bigint;
    kept jsonb;
    back jsonb := '{}';
    step record;
BEGIN
    SELECT r.content, r.version INTO found, reached FROM draftline.record AS r
    WHERE r.tenant_id = tenant AND r.collection = of_collection AND r.record_id = of_record;
    IF reached IS NULL OR reached < at_version THEN
        RETURN NULL;
    END IF;
    milestone := CASE WHEN at_version < 8 THEN 8 ELSE (at_version / 64 + 1) * 64 END;
    WHILE milestone <= reached LOOP
        SELECT c.snapshot INTO kept FROM draftline.change AS c
        WHERE c.tenant_id = tenant AND c.collection = of_collection AND c.record_id = of_record
          AND c.version = milestone AND c.kind <> 'DRAFT';
        IF kept IS NOT NULL THEN
            found := kept;
            reached := milestone - 1;
            EXIT;
        END IF;
        milestone := (milestone / 64 + 1) * 64;
    END LOOP;
    FOR step IN
        SELECT c.version, c.base FROM draftline.change AS c
        WHERE c.tenant_id = tenant AND c.collection = of_collection AND c.record_id = of_record
          AND c.version > at_version AND c.version <= reached AND c.kind <> 'DRAFT'
        ORDER BY c.version DESC
    LOOP
        IF step.version <> reached OR step.base IS NULL THEN
            RETURN NULL;
        END IF;
        -- The edits are small, so they become one before it is applied to the content, which may be large.
        back := draftline.compose(back, step.base);
        reached := reached - 1;
    END LOOP;
    RETURN CASE WHEN reached = at_version THEN draftline.apply_edit(back, found) END;
END $$;

-- Create the log's partition for a week. Return how many changes it took over from change_default.
CREATE OR REPLACE FUNCTION draftline.add_change_partition(monday date) RETURNS bigint
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
    -- The partition is attached after it is filled, so that the lock is held briefly.
    EXECUTE format('CREATE TABLE draftline.%I (LIKE draftline.change INCLUDING ALL)', name);
    -- The planner assumes one tenant and one collection, as for records: a record is looked up by its whole key. These
    -- statistics exist from the start, because plans are made before the partition is analysed.
    EXECUTE format('ALTER TABLE draftline.%I ALTER COLUMN tenant_id SET (n_distinct = 1),
        ALTER COLUMN collection SET (n_distinct = 1), ALTER COLUMN record_id SET (n_distinct = -1)', name);
    EXECUTE format($f$INSERT INTO draftline.%I SELECT '', g, g, '', g::text, 1, 'CREATE', '', NULL, NULL, NULL, g::text,
        '', NULL, '', NULL, %L FROM generate_series(1, 10) AS g$f$, name, starts);
    EXECUTE format('ANALYZE draftline.%I', name);
    EXECUTE format('DELETE FROM draftline.%I', name);
    EXECUTE move;
    GET DIAGNOSTICS moved = ROW_COUNT;
    -- Move rows that were inserted meanwhile; the lock waits for the transactions that insert them.
    LOCK TABLE ONLY draftline.change IN ACCESS EXCLUSIVE MODE;
    EXECUTE move;
    GET DIAGNOSTICS moved_late = ROW_COUNT;
    EXECUTE format('ALTER TABLE draftline.change ATTACH PARTITION draftline.%I FOR VALUES FROM (%L) TO (%L)',
        name, starts, ends);
    RETURN moved + moved_late;
END $$;

-- Drop the oldest partition if all of it is older than `before`, and record in change_log how far the log is dropped.
-- Return the name of the partition; NULL if there is none that old.
CREATE OR REPLACE FUNCTION draftline.drop_changes(before timestamptz) RETURNS text
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

-- Return the edit that makes the content `new` from `old`, its inverse, and the top-level keys that differ, in no
-- order. Only the keys of `touched` are compared; no other key may differ. It is inlined into the calling query: a
-- function that runs a query of its own costs five times as much.
CREATE OR REPLACE FUNCTION draftline.difference_at(old jsonb, new jsonb, touched jsonb)
RETURNS TABLE (edit jsonb, base jsonb, fields text[])
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1 AS $$
    SELECT
        CASE WHEN d.removed IS NULL AND d.merges IS NULL THEN jsonb_build_object('s', d.sets)
             ELSE draftline.node(coalesce(d.sets, '{}'), coalesce(d.removed, '{}'), coalesce(d.merges, '{}')) END,
        CASE WHEN d.added IS NULL AND d.merges IS NULL THEN jsonb_build_object('s', d.olds)
             ELSE draftline.node(coalesce(d.olds, '{}'), coalesce(d.added, '{}'), coalesce(d.base_merges, '{}')) END,
        d.fields
    FROM (
        SELECT array_agg(t.key) AS fields,
            jsonb_object_agg(t.key, new -> t.key) FILTER (WHERE t.child IS NULL AND new ? t.key) AS sets,
            array_agg(t.key) FILTER (WHERE NOT new ? t.key) AS removed,
            jsonb_object_agg(t.key, old -> t.key) FILTER (WHERE t.child IS NULL AND old ? t.key) AS olds,
            array_agg(t.key) FILTER (WHERE NOT old ? t.key) AS added,
            jsonb_object_agg(t.key, (t.child).edit) FILTER (WHERE t.child IS NOT NULL) AS merges,
            jsonb_object_agg(t.key, (t.child).base) FILTER (WHERE t.child IS NOT NULL) AS base_merges
        FROM (
            SELECT k AS key, CASE
                WHEN jsonb_typeof(old -> k) = 'object' AND jsonb_typeof(new -> k) = 'object'
                THEN draftline.difference(old -> k, new -> k) END AS child
            FROM jsonb_object_keys(touched) AS k
            WHERE old -> k IS DISTINCT FROM new -> k
            OFFSET 0  -- so that the child is made once
        ) AS t
        HAVING count(*) > 0
    ) AS d
$$;

-- Return whether the change that leads to a version stores a snapshot of the content before it.
CREATE OR REPLACE FUNCTION draftline.keeps_snapshot(version bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT version % 64 = 0 OR version = 8 $$;
