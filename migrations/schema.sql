-- The schema after all migrations: `make generate` writes this file, and `draftline serve --temporary` runs it.
-- The weekly partitions of draftline.change, and the indexes that collections declare, are left out.

CREATE SCHEMA draftline;

CREATE TYPE draftline.based_edit AS (
	edit jsonb,
	base jsonb
);

CREATE TYPE draftline.edit_outcome AS (
	content jsonb,
	failure jsonb
);

CREATE TYPE draftline.sync_merged AS (
	value jsonb,
	base jsonb,
	conflicts jsonb,
	overruled jsonb
);

CREATE FUNCTION draftline.add_at(document jsonb, path text[], value jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    parent jsonb;
    token text := path[cardinality(path)];
BEGIN
    IF cardinality(path) = 0 THEN
        RETURN value;
    END IF;
    parent := draftline.resolve(document, trim_array(path, 1));
    IF jsonb_typeof(parent) = 'object' THEN
        RETURN jsonb_set(document, path, value);
    ELSIF jsonb_typeof(parent) = 'array' THEN
        IF token = '-' THEN
            token := jsonb_array_length(parent)::text;
        END IF;
        IF draftline.is_index(token) AND token::int <= jsonb_array_length(parent) THEN
            RETURN jsonb_insert(document, trim_array(path, 1) || token, value);
        END IF;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION draftline.add_change_partition(monday date) RETURNS bigint
    LANGUAGE plpgsql
    SET lock_timeout TO '200ms'
    AS $_$
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
END $_$;

CREATE FUNCTION draftline.answer(collection text, record_id text, content jsonb, version bigint, parent_id text, "position" bigint, created_at timestamp with time zone, created_by text, updated_at timestamp with time zone, updated_by text, deleted_at timestamp with time zone) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT jsonb_build_object('collection', collection, 'record_id', record_id, 'content', content,
        'version', version, 'parent_id', parent_id, 'position', "position", 'created_at', created_at,
        'created_by', created_by, 'updated_at', updated_at, 'updated_by', updated_by, 'deleted_at', deleted_at)
$$;

CREATE FUNCTION draftline.append_tally(tenant text, collections text[], user_ids text[], contents jsonb[], signs integer[]) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, k1, k2, k3, records, c1, s1, c2, s2, c3, s3, c4, s4)
    SELECT tenant, g.statistic_id, g.user_id, g.k1, g.k2, g.k3, g.records, nullif(g.c1, 0), nullif(g.s1, 0),
        nullif(g.c2, 0), nullif(g.s2, 0), nullif(g.c3, 0), nullif(g.s3, 0), nullif(g.c4, 0), nullif(g.s4, 0)
    FROM (
        SELECT f.statistic_id, f.user_id, f.k1, f.k2, f.k3, sum(f.sign) AS records,
            sum(f.sign) FILTER (WHERE f.m1 IS NOT NULL) AS c1, sum(f.sign * f.m1) AS s1,
            sum(f.sign) FILTER (WHERE f.m2 IS NOT NULL) AS c2, sum(f.sign * f.m2) AS s2,
            sum(f.sign) FILTER (WHERE f.m3 IS NOT NULL) AS c3, sum(f.sign * f.m3) AS s3,
            sum(f.sign) FILTER (WHERE f.m4 IS NOT NULL) AS c4, sum(f.sign * f.m4) AS s4
        FROM (
            SELECT e.statistic_id, e.user_id, e.sign,
                CASE WHEN e.k1_type = 'TEXT' THEN draftline.indexed_text_at(e.v1, '{}')
                     WHEN e.k1_type IS NOT NULL THEN draftline.group_key(e.v1, e.k1_type) END AS k1,
                CASE WHEN e.k2_type = 'TEXT' THEN draftline.indexed_text_at(e.v2, '{}')
                     WHEN e.k2_type IS NOT NULL THEN draftline.group_key(e.v2, e.k2_type) END AS k2,
                CASE WHEN e.k3_type = 'TEXT' THEN draftline.indexed_text_at(e.v3, '{}')
                     WHEN e.k3_type IS NOT NULL THEN draftline.group_key(e.v3, e.k3_type) END AS k3,
                draftline.number_at(e.n1, '{}') AS m1, draftline.number_at(e.n2, '{}') AS m2,
                draftline.number_at(e.n3, '{}') AS m3, draftline.number_at(e.n4, '{}') AS m4
            FROM (
                SELECT q.statistic_id, p.user_id, p.sign, q.k1_type, q.k2_type, q.k3_type,
                    draftline.member_at(p.content, q.k1_path) AS v1, draftline.member_at(p.content, q.k2_path) AS v2,
                    draftline.member_at(p.content, q.k3_path) AS v3,
                    draftline.member_at(p.content, q.m1_path) AS n1, draftline.member_at(p.content, q.m2_path) AS n2,
                    draftline.member_at(p.content, q.m3_path) AS n3, draftline.member_at(p.content, q.m4_path) AS n4
                FROM unnest(collections, user_ids, contents, signs) AS p (collection, user_id, content, sign)
                JOIN draftline.statistic AS q ON q.tenant_id = tenant AND q.collection = p.collection
                WHERE q.state IN ('BUILDING', 'READY') AND p.content IS NOT NULL
                OFFSET 0  -- so that each value is read once
            ) AS e
            OFFSET 0
        ) AS f
        GROUP BY f.statistic_id, f.user_id, f.k1, f.k2, f.k3
    ) AS g
    -- A zero that becomes null counts once less, and adds the same to the sum.
    WHERE g.records <> 0 OR g.c1 <> 0 OR g.s1 <> 0 OR g.c2 <> 0 OR g.s2 <> 0 OR g.c3 <> 0 OR g.s3 <> 0
       OR g.c4 <> 0 OR g.s4 <> 0;
    RETURN FOUND;
END $$;

CREATE FUNCTION draftline.apply_edit(edit jsonb, content jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT coalesce(edit -> 'v', draftline.apply_node(edit, coalesce(content, '{}')))
$$;

CREATE FUNCTION draftline.apply_node(node jsonb, target jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    merged jsonb := target;
BEGIN
    IF jsonb_typeof(merged) IS DISTINCT FROM 'object' THEN
        IF NOT draftline.puts(node) THEN
            RETURN target;
        END IF;
        merged := '{}';
    END IF;
    IF node ? 'r' THEN
        merged := merged - ARRAY(SELECT jsonb_array_elements_text(node -> 'r'));
    END IF;
    IF node ? 'm' THEN
        merged := merged || coalesce((
            SELECT jsonb_object_agg(a.key, a.value)
            FROM (SELECT m.key, draftline.apply_node(m.value, merged -> m.key) AS value
                  FROM jsonb_each(node -> 'm') AS m OFFSET 0) AS a
            WHERE a.value IS NOT NULL), '{}');
    END IF;
    IF node ? 't' THEN
        merged := merged || coalesce((
            SELECT jsonb_object_agg(a.key, a.value)
            FROM (SELECT t.key, draftline.transform(t.value, merged -> t.key) AS value
                  FROM jsonb_each(node -> 't') AS t OFFSET 0) AS a
            WHERE a.value IS NOT NULL), '{}');
    END IF;
    RETURN CASE WHEN node ? 's' THEN merged || (node -> 's') ELSE merged END;
END $$;

CREATE FUNCTION draftline.apply_operation(INOUT document jsonb, operation jsonb, OUT reason text, OUT at text[], OUT problem text) RETURNS record
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    op text := operation ->> 'op';
    path text[] := ARRAY(SELECT jsonb_array_elements_text(operation -> 'path'));
    source text[];
    value jsonb := operation -> 'value';
    target jsonb;
BEGIN
    reason := 'INVALID_OPERATION';
    problem := 'does not resolve';
    at := path;
    IF op IN ('move', 'copy') THEN
        source := ARRAY(SELECT jsonb_array_elements_text(operation -> 'from'));
        value := draftline.resolve(document, source);
        IF value IS NULL THEN
            at := source;
            document := NULL;
            RETURN;
        END IF;
    ELSIF op <> 'add' THEN
        target := draftline.resolve(document, path);
    END IF;

    CASE op
        WHEN 'add', 'copy' THEN
            document := draftline.add_at(document, path, value);
        WHEN 'remove' THEN
            IF cardinality(path) = 0 THEN
                problem := 'the whole document cannot be removed';
            END IF;
            document := CASE WHEN target IS NOT NULL AND cardinality(path) > 0 THEN document #- path END;
        WHEN 'replace' THEN
            document := CASE WHEN target IS NOT NULL THEN draftline.put_at(document, path, value) END;
        WHEN 'move' THEN
            IF source <> path AND source = path[1:cardinality(source)] THEN
                at := source;
                problem := 'cannot be moved into itself';
                document := NULL;
            ELSIF source <> path THEN
                document := draftline.add_at(document #- source, path, value);
            END IF;
        WHEN 'test' THEN
            reason := 'TEST_FAILED';
            document := CASE WHEN target = value THEN document END;
        WHEN 'increment' THEN
            IF target IS NULL THEN
                document := draftline.add_at(document, path, value);
            ELSIF jsonb_typeof(target) = 'number' THEN
                document := draftline.put_at(document, path, to_jsonb(target::numeric + value::numeric));
            ELSE
                problem := 'does not lead to a number';
                document := NULL;
            END IF;
        WHEN 'union' THEN
            IF target IS NULL THEN
                document := draftline.add_at(document, path, draftline.array_union('[]', value));
            ELSIF jsonb_typeof(target) = 'array' THEN
                document := draftline.put_at(document, path, draftline.array_union(target, value));
            ELSE
                problem := 'does not lead to an array';
                document := NULL;
            END IF;
        WHEN 'subtract' THEN
            IF jsonb_typeof(target) = 'array' THEN
                document := draftline.put_at(document, path, draftline.array_subtract(target, value));
            ELSIF target IS NOT NULL THEN
                problem := 'does not lead to an array';
                document := NULL;
            END IF;
    END CASE;
END $$;

CREATE FUNCTION draftline.apply_operations(document jsonb, operations jsonb, max_bytes integer, max_depth integer) RETURNS draftline.edit_outcome
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    operation jsonb;
    step record;
    place int := 0;
BEGIN
    FOR operation IN SELECT o FROM jsonb_array_elements(operations) AS o LOOP
        step := draftline.apply_operation(document, operation);
        IF step.document IS NULL THEN
            RETURN (NULL, jsonb_build_object('reason', step.reason, 'operation', place,
                'path', draftline.pointer(step.at), 'message', step.problem))::draftline.edit_outcome;
        END IF;
        document := step.document;
        -- Copies can double a document many times, and each step can nest a value deeper: check the limits after each.
        IF pg_column_size(document) > 4 * max_bytes THEN
            RETURN (NULL, draftline.too_large('size', max_bytes))::draftline.edit_outcome;
        ELSIF (CASE WHEN operation ->> 'op' IN ('copy', 'move') THEN draftline.is_deeper(document, max_depth)
                    WHEN operation ->> 'op' IN ('add', 'replace', 'increment', 'union')
                    THEN jsonb_array_length(operation -> 'path') > max_depth END) THEN
            RETURN (NULL, draftline.too_large('depth', max_depth))::draftline.edit_outcome;
        END IF;
        place := place + 1;
    END LOOP;
    IF jsonb_typeof(document) <> 'object' THEN
        RETURN (NULL, jsonb_build_object('reason', 'INVALID_OPERATION', 'path', '',
            'message', 'would be left with a value that is not an object'))::draftline.edit_outcome;
    END IF;
    RETURN (document, NULL)::draftline.edit_outcome;
END $$;

CREATE FUNCTION draftline.array_subtract(target jsonb, removals jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT coalesce(jsonb_agg(item ORDER BY place), '[]')
    FROM jsonb_array_elements(target) WITH ORDINALITY AS t(item, place)
    WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(removals) AS r(item) WHERE r.item = t.item)
$$;

CREATE FUNCTION draftline.array_union(target jsonb, additions jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT target || coalesce(jsonb_agg(added.item ORDER BY added.place), '[]')
    FROM (
        SELECT item, min(place) AS place
        FROM jsonb_array_elements(additions) WITH ORDINALITY AS a(item, place)
        WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(target) AS t(item) WHERE t.item = a.item)
        GROUP BY item
    ) AS added
$$;

CREATE FUNCTION draftline.attribute_changes(old_parent_id text, new_parent_id text, old_position bigint, new_position bigint) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT nullif(
        CASE WHEN old_parent_id IS DISTINCT FROM new_parent_id
             THEN jsonb_build_object('parent_id', jsonb_build_array(old_parent_id, new_parent_id)) ELSE '{}' END
        || CASE WHEN old_position IS DISTINCT FROM new_position
             THEN jsonb_build_object('position', jsonb_build_array(old_position, new_position)) ELSE '{}' END,
        '{}')
$$;

CREATE FUNCTION draftline.attribute_conflicts(kind text, attributes jsonb, theirs jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
        'kind', CASE kind WHEN 'CREATE' THEN 'CREATED' WHEN 'DELETE' THEN 'CHANGED' ELSE 'VALUE' END,
        'path', 'record.' || a.key, 'base', a.value -> 0, 'mine', a.value -> 1, 'theirs', theirs -> a.key
    )) ORDER BY a.key), '[]')
    FROM jsonb_each(attributes) AS a
    WHERE (kind = 'CREATE' OR theirs -> a.key <> a.value -> 0) AND theirs -> a.key IS DISTINCT FROM a.value -> 1
$$;

CREATE FUNCTION draftline.attributes(record_id text, version bigint, parent_id text, "position" bigint, created_at timestamp with time zone, created_by text, updated_at timestamp with time zone, updated_by text) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT jsonb_build_object('record_id', record_id, 'version', version, 'parent_id', parent_id,
        'position', "position", 'create_time', created_at, 'created_by', created_by,
        'update_time', updated_at, 'updated_by', updated_by)
$$;

CREATE FUNCTION draftline.attributes_back(attributes jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT jsonb_object_agg(a.key, jsonb_build_array(a.value -> 1, a.value -> 0)) FROM jsonb_each(attributes) AS a
$$;

CREATE FUNCTION draftline.attributes_since(tenant text, of_collection text, of_record text, since bigint) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN (
        SELECT jsonb_object_agg(f.name, jsonb_build_array(f.old))
        FROM (
            SELECT DISTINCT ON (a.key) a.key AS name, a.value -> 0 AS old
            FROM draftline.change AS c, jsonb_each(c.attributes) AS a
            WHERE c.tenant_id = tenant AND c.collection = of_collection AND c.record_id = of_record
              AND c.version > since AND c.kind <> 'DRAFT'
            ORDER BY a.key, c.version
        ) AS f
    );
END $$;

CREATE FUNCTION draftline.base_value(base jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT draftline.restore_node(coalesce(base, '{}'), NULL)
$$;

CREATE FUNCTION draftline.boolean_at(content jsonb, path text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN (jsonb_typeof((content #> path)) = 'boolean'::text) THEN ((content #> path))::boolean ELSE NULL::boolean END;

CREATE FUNCTION draftline.chain(a jsonb, b jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE
        WHEN (a -> 0) ? 'increment' AND (b -> 0) ? 'increment' THEN jsonb_build_object('t', jsonb_build_array(
            jsonb_build_object('increment', draftline.transform(b, a -> 0 -> 'increment'))))
        WHEN (a -> 0) ? 'increment' OR (b -> 0) ? 'increment'
            THEN jsonb_build_object('s', draftline.transform(b, draftline.transform(a, NULL)))
        ELSE jsonb_build_object('t', draftline.normal_steps(a || b))
    END
$$;

CREATE FUNCTION draftline.changed_fields(old jsonb, new jsonb) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    RETURN ARRAY(
        SELECT k FROM (
            SELECT n.key FROM jsonb_each(new) AS n WHERE old -> n.key IS DISTINCT FROM n.value
            UNION ALL SELECT o FROM jsonb_object_keys(old) AS o WHERE NOT new ? o
        ) AS changed (k) ORDER BY k COLLATE "C");
END $$;

CREATE FUNCTION draftline.commute(one jsonb, other jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT (one -> 0) ? 'increment' = (other -> 0) ? 'increment' AND NOT EXISTS (
        SELECT FROM jsonb_array_elements(one) AS a, jsonb_array_elements(other) AS b,
            LATERAL (VALUES (a -> 'subtract', coalesce(b -> 'union', b -> 'append')),
                (b -> 'subtract', coalesce(a -> 'union', a -> 'append'))) AS p (subtracted, added),
            LATERAL jsonb_array_elements(p.subtracted) AS s, LATERAL jsonb_array_elements(p.added) AS i
        WHERE s = i)
$$;

CREATE FUNCTION draftline.compare_at(content jsonb, path text[], condition jsonb) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    CASE condition ->> 'type'
        WHEN 'TEXT' THEN
            RETURN bttextcmp(draftline.text_at(content, path), condition ->> 'value' COLLATE "C");
        WHEN 'NUMBER' THEN
            RETURN numeric_cmp(draftline.number_at(content, path), (condition ->> 'value')::numeric);
        WHEN 'BOOLEAN' THEN
            RETURN btboolcmp(draftline.boolean_at(content, path), (condition ->> 'value')::boolean);
        WHEN 'DATE' THEN
            RETURN date_cmp(draftline.date_at(content, path), draftline.read_date(condition ->> 'value'));
        WHEN 'TIMESTAMP' THEN
            RETURN timestamptz_cmp(draftline.timestamp_at(content, path),
                                   draftline.read_timestamp(condition ->> 'value'));
    END CASE;
END $$;

CREATE FUNCTION draftline.compare_value(value jsonb, condition jsonb) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    CASE condition ->> 'type'
        WHEN 'TEXT' THEN
            IF condition ? 'lower' THEN
                RETURN bttextcmp(draftline.lower_text(draftline.text_at(value, '{}')),
                                 draftline.lower_text(condition ->> 'value') COLLATE "C");
            END IF;
            RETURN bttextcmp(draftline.text_at(value, '{}'), condition ->> 'value' COLLATE "C");
        WHEN 'NUMBER' THEN
            RETURN numeric_cmp(draftline.number_at(value, '{}'), (condition ->> 'value')::numeric);
        WHEN 'BOOLEAN' THEN
            RETURN btboolcmp(draftline.boolean_at(value, '{}'), (condition ->> 'value')::boolean);
        WHEN 'DATE' THEN
            RETURN date_cmp(draftline.date_at(value, '{}'), draftline.read_date(condition ->> 'value'));
        WHEN 'TIMESTAMP' THEN
            RETURN timestamptz_cmp(draftline.instant_at(value, '{}'), draftline.read_instant(condition ->> 'value'));
    END CASE;
END $$;

CREATE FUNCTION draftline.compose(a jsonb, b jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    IF b ? 'v' OR a = '{}' THEN
        RETURN b;
    ELSIF a ? 'v' THEN
        RETURN jsonb_build_object('v', draftline.apply_node(b, a -> 'v'));
    END IF;
    RETURN draftline.compose_nodes(a, b);
END $$;

CREATE FUNCTION draftline.compose_merge(a jsonb, key text, child jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE
        WHEN a -> 's' ? key THEN draftline.with_key(a, key, 's', draftline.apply_node(child, a -> 's' -> key))
        WHEN a -> 'r' ? key THEN draftline.with_key(a, key, 's', draftline.apply_node(child, NULL))
        -- The result of steps is not an object.
        WHEN a -> 't' ? key AND draftline.puts(child)
            THEN draftline.with_key(a, key, 's', draftline.apply_node(child, NULL))
        ELSE a
    END
$$;

CREATE FUNCTION draftline.compose_nodes(a jsonb, b jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    b_removals text[] := ARRAY(SELECT jsonb_array_elements_text(b -> 'r'));
    b_touched text[] := b_removals || ARRAY(SELECT jsonb_object_keys(coalesce(b -> 's', '{}')));
    composed jsonb := a;
    added jsonb;
    child record;
BEGIN
    -- Compose keys of b that a lacks, or at which a has a node as well, in one step; the others one by one.
    IF b ? 'm' THEN
        added := (SELECT jsonb_object_agg(m.key, CASE WHEN a -> 'm' ? m.key
                      THEN draftline.compose(a -> 'm' -> m.key, m.value) ELSE m.value END)
                  FROM jsonb_each(b -> 'm') AS m
                  WHERE (a -> 's' ? m.key OR a -> 'r' ? m.key OR a -> 't' ? m.key) IS NOT TRUE);
        IF added IS NOT NULL THEN
            composed := composed || jsonb_build_object('m', coalesce(a -> 'm', '{}') || added);
        END IF;
        FOR child IN SELECT key, value FROM jsonb_each(b -> 'm') AS m
            WHERE a -> 's' ? m.key OR a -> 'r' ? m.key OR a -> 't' ? m.key
        LOOP
            composed := draftline.compose_merge(composed, child.key, child.value);
        END LOOP;
    END IF;
    IF b ? 't' THEN
        FOR child IN SELECT key, value FROM jsonb_each(b -> 't') LOOP
            composed := draftline.compose_steps(composed, child.key, child.value);
        END LOOP;
    END IF;
    composed := draftline.node(
        (coalesce(composed -> 's', '{}') - b_touched) || coalesce(b -> 's', '{}'),
        CASE WHEN composed ? 'r' THEN ARRAY(
            SELECT k FROM jsonb_array_elements_text(composed -> 'r') AS k WHERE k <> ALL (b_touched)) ELSE '{}' END
            || b_removals,
        coalesce(composed -> 'm', '{}') - b_touched,
        coalesce(composed -> 't', '{}') - b_touched,
        false);
    -- Only a removal reverts an edit that made an object.
    IF NOT (b ?| '{r,o}' OR a ? 'o') OR draftline.puts(composed) OR NOT (draftline.puts(a) OR draftline.puts(b)) THEN
        RETURN composed;
    END IF;
    RETURN composed || '{"o": true}';
END $$;

CREATE FUNCTION draftline.compose_steps(a jsonb, key text, steps jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    action jsonb;
BEGIN
    IF a -> 's' ? key THEN
        RETURN draftline.with_key(a, key, 's', draftline.transform(steps, a -> 's' -> key));
    ELSIF a -> 'r' ? key THEN
        RETURN draftline.with_key(a, key, 's', draftline.transform(steps, NULL));
    ELSIF a -> 'm' ? key AND draftline.puts(a -> 'm' -> key) THEN
        RETURN draftline.with_key(a, key, 's', draftline.transform(steps, '{}'));
    ELSIF a -> 't' ? key THEN
        action := draftline.chain(a -> 't' -> key, steps);
        RETURN draftline.with_key(a, key, CASE WHEN action ? 's' THEN 's' ELSE 't' END,
            coalesce(action -> 's', action -> 't'));
    END IF;
    RETURN draftline.with_key(a, key, 't', steps);
END $$;

CREATE FUNCTION draftline.conflict(kind text, path text[], base jsonb, mine jsonb, theirs jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT jsonb_build_object('kind', kind, 'path', draftline.pointer(path))
        || CASE WHEN base IS NULL THEN '{}' ELSE jsonb_build_object('base', base) END
        || CASE WHEN mine IS NULL THEN '{}' ELSE jsonb_build_object('mine', mine) END
        || CASE WHEN theirs IS NULL THEN '{}' ELSE jsonb_build_object('theirs', theirs) END
$$;

CREATE FUNCTION draftline.conflicts(kind text, edit jsonb, base jsonb, content jsonb, is_deleted boolean) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE
        WHEN kind = 'CREATE' AND (content IS NULL OR is_deleted OR edit -> 'v' = content) THEN '[]'
        WHEN kind = 'CREATE' THEN jsonb_build_array(draftline.conflict('CREATED', '{}', NULL, edit -> 'v', content))
        WHEN kind = 'DELETE' AND (is_deleted OR base -> 'v' = content) THEN '[]'
        WHEN kind = 'DELETE' THEN jsonb_build_array(draftline.conflict('CHANGED', '{}', base -> 'v', NULL, content))
        WHEN is_deleted THEN jsonb_build_array(
            draftline.conflict('DELETED', '{}', content, draftline.apply_edit(edit, content), NULL))
        WHEN edit ? 'v' AND draftline.differ(base -> 'v', edit -> 'v', content)
            THEN jsonb_build_array(draftline.conflict('VALUE', '{}', base -> 'v', edit -> 'v', content))
        WHEN edit ? 'v' THEN '[]'
        ELSE draftline.node_conflicts(edit, base, content, '{}')
    END
$$;

CREATE FUNCTION draftline.content_at(tenant text, of_collection text, of_record text, at_version bigint) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    AS $$
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

CREATE FUNCTION draftline.content_failure(content jsonb, indexed_text jsonb, max_bytes integer, max_depth integer, max_text_bytes integer, max_nodes integer DEFAULT 10000) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $_$
DECLARE
    bytes int := octet_length(content::text);
BEGIN
    IF bytes > max_bytes THEN
        RETURN draftline.too_large('size', max_bytes);
    ELSIF max_depth IS NOT NULL AND draftline.is_deeper(content, max_depth) THEN
        RETURN draftline.too_large('depth', max_depth);
    ELSIF bytes > 2 * max_nodes AND draftline.has_more_values(content, max_nodes) THEN
        RETURN draftline.too_large('count', max_nodes);
    ELSIF max_depth IS NOT NULL AND bytes > 1000 AND jsonb_path_exists(content,
            'strict $.** ? (@.type() == "number" && (@ >= $limit || @ <= -$limit))', '{"limit": 1e1000}') THEN
        RETURN jsonb_build_object('reason', 'NUMBER_TOO_LONG', 'limit', 1000);
    -- Fields that refuse come first: without one, only a content of some size can hold a text that is too long.
    ELSIF indexed_text <> '[]' AND (bytes > max_text_bytes OR jsonb_typeof(indexed_text -> 0) = 'object') THEN
        RETURN draftline.field_failure(content, indexed_text, max_text_bytes);
    END IF;
    RETURN NULL;
END $_$;

CREATE FUNCTION draftline.count_built(record_id text) RETURNS boolean
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    names text[] := string_to_array(current_setting('application_name'), ' ');
BEGIN
    IF names[1] = 'draftline' AND names[2] = 'statistic' THEN
        PERFORM set_config('application_name',
            format('draftline statistic %s %s %s', names[3], names[4]::bigint + 256, names[5]), true);
    END IF;
    RETURN true;
END $$;

CREATE FUNCTION draftline.read_date(value text) RETURNS date
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $_$
DECLARE
    year int;
    month int;
    day int;
    last_day int;
BEGIN
    IF value ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' COLLATE "C" THEN
        year := substr(value, 1, 4);
        month := substr(value, 6, 2);
        day := substr(value, 9, 2);
    ELSIF value ~ '^[A-Z][a-z]{2} [0-9]{2} [0-9]{4}$' COLLATE "C" THEN
        year := substr(value, 8, 4);
        month := array_position('{Jan,Feb,Mar,Apr,May,Jun,Jul,Aug,Sep,Oct,Nov,Dec}', substr(value, 1, 3));
        day := substr(value, 5, 2);
    END IF;
    IF year >= 1 AND month BETWEEN 1 AND 12 AND day >= 1 THEN
        last_day := CASE
            WHEN month IN (4, 6, 9, 11) THEN 30
            WHEN month <> 2 THEN 31
            WHEN year % 4 = 0 AND (year % 100 <> 0 OR year % 400 = 0) THEN 29
            ELSE 28
        END;
    END IF;
    RETURN CASE WHEN day <= last_day THEN make_date(year, month, day) END;
END $_$;

CREATE FUNCTION draftline.text_at(content jsonb, path text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN (jsonb_typeof((content #> path)) = 'string'::text) THEN (content #>> path) ELSE NULL::text END;

CREATE FUNCTION draftline.date_at(content jsonb, path text[]) RETURNS date
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN draftline.read_date(draftline.text_at(content, path));

CREATE FUNCTION draftline.decided(merged jsonb, content jsonb, decisions jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    result jsonb := merged;
    decision jsonb;
    path text[];
BEGIN
    FOR decision IN SELECT jsonb_array_elements(decisions) LOOP
        path := ARRAY(SELECT jsonb_array_elements_text(decision -> 'path'));
        result := draftline.put_value(result, path,
            CASE WHEN decision ? 'value' THEN decision -> 'value' ELSE content #> path END);
    END LOOP;
    RETURN result;
END $$;

CREATE FUNCTION draftline.decided_attributes(attributes jsonb, theirs jsonb, decisions jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT jsonb_object_agg(t.key, CASE
        WHEN decisions ? t.key THEN coalesce(decisions -> t.key -> 'value', t.value)
        ELSE coalesce(attributes -> t.key -> 1, t.value) END)
    FROM jsonb_each(theirs) AS t
$$;

CREATE FUNCTION draftline.declared_orders(fields jsonb, orders jsonb) RETURNS SETOF jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT jsonb_build_array(jsonb_build_object('path', f.value -> 'path', 'type', f.value -> 'type', 'descending', false))
    FROM jsonb_array_elements(fields) AS f
    UNION
    SELECT jsonb_agg(jsonb_build_object('path', k.value -> 'path', 'type', f.value -> 'type',
        'descending', coalesce(k.value -> 'descending', 'false')) ORDER BY k.index)
    FROM jsonb_array_elements(orders) WITH ORDINALITY AS o (value, number)
    CROSS JOIN jsonb_array_elements(o.value) WITH ORDINALITY AS k (value, index)
    JOIN jsonb_array_elements(fields) AS f ON f.value -> 'path' = k.value -> 'path'
    GROUP BY o.number
$$;

CREATE FUNCTION draftline.delete_draft_order_entries(tenant text, entries tid[]) RETURNS void
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    SET enable_indexscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
BEGIN
    DELETE FROM draftline.draft_order_entry AS e WHERE e.tenant_id = tenant AND e.ctid = ANY (entries);
END $$;

CREATE FUNCTION draftline.delete_draft_rows(tenant text, drafts tid[]) RETURNS void
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    SET enable_indexscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
BEGIN
    DELETE FROM draftline.draft AS d WHERE d.tenant_id = tenant AND d.ctid = ANY (drafts);
END $$;

CREATE FUNCTION draftline.delete_drafts(tenant text, collection_id text, user_ids text[], record_ids text[]) RETURNS bigint
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
DECLARE
    drafts tid[] := ARRAY(
        SELECT d.ctid
        FROM unnest(user_ids, record_ids) AS p (user_id, record_id)
        CROSS JOIN LATERAL (
            SELECT d.ctid FROM draftline.draft AS d
            WHERE d.tenant_id = tenant AND d.user_id = p.user_id AND d.collection = collection_id
              AND d.record_id = p.record_id
            OFFSET 0
        ) AS d);
BEGIN
    PERFORM draftline.delete_draft_rows(tenant, drafts);
    RETURN cardinality(record_ids);
END $$;

CREATE FUNCTION draftline.delete_order_entries(tenant text, entries tid[]) RETURNS void
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    SET enable_indexscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
BEGIN
    DELETE FROM draftline.order_entry AS e WHERE e.tenant_id = tenant AND e.ctid = ANY (entries);
END $$;

CREATE FUNCTION draftline.delete_tally_rows(tenant text, statistic bigint, locations tid[]) RETURNS TABLE(user_id text, k1 text, k2 text, k3 text, records bigint, c1 bigint, s1 numeric, c2 bigint, s2 numeric, c3 bigint, s3 numeric, c4 bigint, s4 numeric)
    LANGUAGE plpgsql
    SET enable_indexscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
BEGIN
    RETURN QUERY DELETE FROM draftline.tally AS t
    WHERE t.tenant_id = tenant AND t.statistic_id = statistic AND t.ctid = ANY (locations)
    RETURNING t.user_id, t.k1, t.k2, t.k3, t.records, t.c1, t.s1, t.c2, t.s2, t.c3, t.s3, t.c4, t.s4;
END $$;

CREATE FUNCTION draftline.differ(base jsonb, mine jsonb, theirs jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT base IS DISTINCT FROM theirs AND mine IS DISTINCT FROM theirs
$$;

CREATE FUNCTION draftline.difference(old jsonb, new jsonb) RETURNS draftline.based_edit
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    found draftline.based_edit;
BEGIN
    SELECT d.edit, d.base INTO found FROM draftline.difference_at(old, new, old || new) AS d;
    RETURN CASE WHEN found.edit IS NULL THEN ('{}', '{}')::draftline.based_edit ELSE found END;
END $$;

CREATE FUNCTION draftline.difference_at(old jsonb, new jsonb, touched jsonb) RETURNS TABLE(edit jsonb, base jsonb, fields text[])
    LANGUAGE sql IMMUTABLE ROWS 1 PARALLEL SAFE
    AS $$
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

CREATE FUNCTION draftline.draft_attributes(kind text, old jsonb, sets jsonb, theirs jsonb, is_rebased boolean) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT jsonb_object_agg(a.name,
        CASE WHEN a.mine IS NULL THEN jsonb_build_array(a.base) ELSE jsonb_build_array(a.base, a.mine) END)
    FROM (
        SELECT t.key AS name, t.value AS theirs,
            CASE WHEN is_rebased AND (kind = 'DELETE' OR sets ? t.key) THEN t.value
                 ELSE coalesce(old -> t.key -> 0, t.value) END AS base,
            CASE WHEN kind <> 'DELETE' THEN coalesce(sets -> t.key, old -> t.key -> 1) END AS mine
        FROM jsonb_each(theirs) AS t
    ) AS a
    WHERE kind = 'DELETE' OR (a.mine IS NOT NULL AND NOT (coalesce(sets ? a.name, false) AND a.mine = a.theirs))
$$;

CREATE FUNCTION draftline.draft_conflicts(kind text, edit jsonb, base jsonb, attributes jsonb, content jsonb, parent_id text, "position" bigint, is_deleted boolean) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN kind = 'CREATE' AND is_deleted THEN '[]'
        ELSE draftline.conflicts(kind, edit, base, content, is_deleted)
            || CASE WHEN attributes IS NULL OR content IS NULL OR is_deleted THEN '[]'
                    ELSE draftline.attribute_conflicts(kind, attributes,
                        draftline.own_attributes(parent_id, "position")) END
    END
$$;

CREATE FUNCTION draftline.draft_order_entries(tenant text, of_user text, of_collection text, record_ids text[]) RETURNS tid[]
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
DECLARE
    most int := 4 * cardinality(record_ids);
BEGIN
    IF most < 40 OR most < (
            SELECT max(c.entries)
            FROM draftline.collection_order AS o
            CROSS JOIN LATERAL (
                SELECT count(*) AS entries
                FROM (
                    SELECT FROM draftline.draft_order_entry AS e
                    WHERE e.tenant_id = tenant AND e.user_id = of_user AND e.collection = of_collection
                      AND e.order_id = o.order_id
                    LIMIT most + 1
                ) AS e
            ) AS c
            WHERE o.tenant_id = tenant AND o.collection = of_collection AND o.state <> 'DELETING') THEN
        RETURN NULL;
    END IF;
    RETURN ARRAY(
        SELECT e.ctid
        FROM draftline.collection_order AS o
        CROSS JOIN LATERAL (
            SELECT e.ctid, e.record_id FROM draftline.draft_order_entry AS e
            WHERE e.tenant_id = tenant AND e.user_id = of_user AND e.collection = of_collection AND e.order_id = o.order_id
            OFFSET 0
        ) AS e
        WHERE o.tenant_id = tenant AND o.collection = of_collection AND o.state <> 'DELETING'
          AND (e.record_id IN (SELECT unnest(record_ids))) IS TRUE);  -- not as a join, which could take any form
END $$;

CREATE FUNCTION draftline.drafted_parent_id(attributes jsonb, parent_id text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN attributes #> '{parent_id,1}' IS NULL THEN parent_id ELSE attributes #>> '{parent_id,1}' END
$$;

CREATE FUNCTION draftline.drafted_position(attributes jsonb, "position" bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN attributes #> '{position,1}' IS NULL THEN "position"
                ELSE (attributes #>> '{position,1}')::bigint END
$$;

CREATE FUNCTION draftline.drop_changes(before timestamp with time zone) RETURNS text
    LANGUAGE plpgsql
    SET lock_timeout TO '200ms'
    AS $_$
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
END $_$;

CREATE FUNCTION draftline.edit(content jsonb, kind text, edit jsonb, depth integer, max_bytes integer, max_depth integer) RETURNS draftline.edit_outcome
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    RETURN CASE kind
        WHEN 'SHALLOW' THEN (content || edit, NULL)::draftline.edit_outcome
        WHEN 'OPERATIONS' THEN draftline.apply_operations(content, edit, max_bytes, max_depth)
        WHEN 'DEEP' THEN (draftline.merge_deep(content, edit, depth), NULL)::draftline.edit_outcome
        WHEN 'MERGE_PATCH' THEN (draftline.merge_patch(content, edit), NULL)::draftline.edit_outcome
        WHEN 'REPLACE' THEN (edit, NULL)::draftline.edit_outcome
        ELSE (content, NULL)::draftline.edit_outcome
    END;
END $$;

CREATE FUNCTION draftline.edit_at(path text[], value jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE
        WHEN cardinality(path) = 0 THEN jsonb_build_object('v', value)
        WHEN cardinality(path) > 1
            THEN jsonb_build_object('m', jsonb_build_object(path[1], draftline.edit_at(path[2:], value)))
        WHEN value IS NULL THEN jsonb_build_object('r', path)
        ELSE jsonb_build_object('s', jsonb_build_object(path[1], value))
    END
$$;

CREATE FUNCTION draftline.edit_of_operation(operation jsonb, before jsonb, after jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    op text := operation ->> 'op';
    path text[] := ARRAY(SELECT jsonb_array_elements_text(operation -> 'path'));
    value jsonb := operation -> 'value';
    edit jsonb;
    steps jsonb;
BEGIN
    IF op = 'test' THEN
        RETURN '{}';
    ELSIF op IN ('increment', 'union', 'subtract') AND draftline.is_member(before, path) THEN
        steps := draftline.steps_of(op, value, before #> path);
        RETURN CASE WHEN steps IS NULL THEN '{}' ELSE draftline.steps_at(path, steps) END;
    ELSIF draftline.is_transform(operation) AND op IN ('add', 'copy')
            AND draftline.is_member(before, trim_array(path, 1))
            AND jsonb_typeof(before #> trim_array(path, 1)) = 'array' THEN
        IF op = 'copy' THEN
            value := draftline.resolve(before, ARRAY(SELECT jsonb_array_elements_text(operation -> 'from')));
        END IF;
        RETURN draftline.steps_at(trim_array(path, 1),
            jsonb_build_array(jsonb_build_object('append', jsonb_build_array(value))));
    END IF;
    edit := draftline.edit_to(before, after, path);
    IF op = 'move' THEN
        edit := draftline.compose(edit, draftline.edit_to(before, after,
            ARRAY(SELECT jsonb_array_elements_text(operation -> 'from'))));
    END IF;
    RETURN edit;
END $$;

CREATE FUNCTION draftline.edit_of_operations(content jsonb, operations jsonb, max_bytes integer, max_depth integer) RETURNS draftline.edit_outcome
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    outcome draftline.edit_outcome := draftline.apply_operations(content, operations, max_bytes, max_depth);
    operation jsonb;
    before jsonb := content;
    after jsonb := outcome.content;
    is_stepwise boolean;
    edit jsonb := '{}';
BEGIN
    IF outcome.failure IS NOT NULL THEN
        RETURN outcome;
    END IF;
    is_stepwise := EXISTS (SELECT FROM jsonb_array_elements(operations) AS o WHERE draftline.is_transform(o));
    FOR operation IN SELECT o FROM jsonb_array_elements(operations) AS o LOOP
        IF is_stepwise THEN
            after := (draftline.apply_operation(before, operation)).document;
        END IF;
        edit := draftline.compose(edit, draftline.edit_of_operation(operation, before, after));
        IF is_stepwise THEN
            before := after;
        END IF;
    END LOOP;
    RETURN (edit, NULL)::draftline.edit_outcome;
END $$;

CREATE FUNCTION draftline.edit_to(before jsonb, after jsonb, path text[]) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    depth int := 0;
BEGIN
    WHILE depth < cardinality(path) AND jsonb_typeof(before #> path[1:depth]) = 'object'
            AND jsonb_typeof(after #> path[1:depth]) = 'object' LOOP
        depth := depth + 1;
    END LOOP;
    RETURN draftline.edit_at(path[1:depth], after #> path[1:depth]);
END $$;

CREATE FUNCTION draftline.edited_fields(edit jsonb) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    RETURN ARRAY(
        SELECT k FROM (
            SELECT jsonb_object_keys(edit -> 's') UNION ALL SELECT jsonb_array_elements_text(edit -> 'r')
            UNION ALL SELECT jsonb_object_keys(edit -> 'm')
        ) AS edited (k) ORDER BY k COLLATE "C");
END $$;

CREATE FUNCTION draftline.entry_keys(content jsonb, keys jsonb) RETURNS SETOF bytea
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    IF keys #>> '{0,type}' = 'ID' THEN
        RETURN QUERY SELECT convert_to(i.id, 'UTF8')
            FROM unnest(draftline.related_ids(content, draftline.relation_path(keys))) AS i (id);
    ELSE
        RETURN NEXT draftline.order_key(content, keys);
    END IF;
END $$;

CREATE FUNCTION draftline.field_failure(content jsonb, checked jsonb, max_text_bytes integer) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    field jsonb;
    path jsonb;
    value jsonb;
BEGIN
    FOR place IN 0 .. jsonb_array_length(checked) - 1 LOOP
        field := checked -> place;
        path := CASE jsonb_typeof(field) WHEN 'object' THEN field -> 'path' ELSE field END;
        value := content;
        FOR depth IN 0 .. jsonb_array_length(path) - 1 LOOP
            value := value -> (path ->> depth);
        END LOOP;
        CONTINUE WHEN value IS NULL;
        IF coalesce(field ->> 'type', 'TEXT') = 'TEXT' AND jsonb_typeof(value) = 'string'
                AND octet_length(value #>> '{}') > max_text_bytes THEN
            RETURN jsonb_build_object('reason', 'INDEXED_TEXT_TOO_LONG', 'limit', max_text_bytes,
                'path', draftline.pointer(ARRAY(SELECT jsonb_array_elements_text(path))));
        ELSIF jsonb_typeof(field) = 'object' AND draftline.is_mistyped(value, field ->> 'type') THEN
            RETURN jsonb_build_object('reason', 'TYPE_MISMATCH', 'type', field ->> 'type', 'kind', jsonb_typeof(value),
                'path', draftline.pointer(ARRAY(SELECT jsonb_array_elements_text(path))));
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

CREATE FUNCTION draftline.fold_patches(content jsonb, record_version bigint, record_id text, parent_id text, "position" bigint, created_at timestamp with time zone, created_by text, record_updated_at timestamp with time zone, record_updated_by text, deleted_at timestamp with time zone, indexed_text jsonb, definition_version bigint, kinds text[], edits jsonb[], depths integer[], expected_versions bigint[], conditions jsonb[], definition_versions bigint[], user_ids text[], now timestamp with time zone, max_bytes integer, max_depth integer, max_indexed_text_bytes integer, max_nodes integer) RETURNS TABLE(index bigint, failure jsonb, old_content jsonb, new_content jsonb, version bigint, changes boolean, edit jsonb, base jsonb, fields text[], updated_at timestamp with time zone, updated_by text)
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
#variable_conflict use_column
DECLARE
    outcome draftline.edit_outcome;
BEGIN
    old_content := content;
    version := record_version;
    updated_at := record_updated_at;
    updated_by := record_updated_by;
    FOR step IN 1 .. cardinality(kinds) LOOP
        index := step;
        new_content := NULL;
        changes := false;
        edit := NULL;
        base := NULL;
        fields := NULL;
        failure := CASE
            WHEN deleted_at IS NOT NULL THEN '{"reason": "RECORD_DELETED"}'
            WHEN definition_versions[step] <> definition_version THEN '{"reason": "STALE_DEFINITION"}'
            WHEN expected_versions[step] <> version
                THEN jsonb_build_object('reason', 'VERSION_MISMATCH', 'current_version', version)
            WHEN conditions[step] IS NOT NULL AND NOT draftline.matches(draftline.attributes(record_id, version,
                    parent_id, "position", created_at, created_by, updated_at, updated_by), old_content, conditions[step])
                THEN '{"reason": "CONDITION_NOT_MET"}'
        END;
        IF failure IS NULL THEN
            outcome := draftline.edit(old_content, kinds[step], edits[step], depths[step], max_bytes, max_depth);
            failure := outcome.failure;
            new_content := outcome.content;
            changes := coalesce(new_content <> old_content, false);
        END IF;
        IF changes THEN
            failure := draftline.content_failure(new_content, indexed_text, max_bytes,
                CASE WHEN kinds[step] = 'OPERATIONS' THEN max_depth END, max_indexed_text_bytes, max_nodes);
            changes := failure IS NULL;
        END IF;
        IF changes THEN
            SELECT d.edit, d.base, d.fields INTO edit, base, fields
            FROM draftline.difference_at(old_content, new_content, CASE
                WHEN kinds[step] IN ('SHALLOW', 'DEEP', 'MERGE_PATCH') THEN edits[step]
                ELSE old_content || new_content END) AS d;
            version := version + 1;
            updated_at := now;
            updated_by := user_ids[step];
        END IF;
        RETURN NEXT;
        IF changes THEN
            old_content := new_content;
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION draftline.follow(base jsonb, edit jsonb, done jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    followed jsonb := base;
    child record;
    value jsonb;
BEGIN
    IF done IS NULL THEN
        RETURN base;
    END IF;
    FOR child IN SELECT key, t.value AS steps FROM jsonb_each(done -> 't') AS t WHERE edit -> 't' ? key LOOP
        value := draftline.transform(child.steps, base -> 's' -> child.key);
        IF value IS NOT NULL AND draftline.commute(edit -> 't' -> child.key, child.steps) THEN
            followed := draftline.with_key(followed, child.key, 's', value) - 'n';
        END IF;
    END LOOP;
    FOR child IN SELECT key, m.value AS done FROM jsonb_each(done -> 'm') AS m WHERE edit -> 'm' ? key LOOP
        followed := jsonb_set(followed, ARRAY['m', child.key],
            draftline.follow(followed -> 'm' -> child.key, edit -> 'm' -> child.key, child.done));
    END LOOP;
    RETURN followed;
END $$;

CREATE FUNCTION draftline.group_key(value jsonb, type text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    day date;
BEGIN
    CASE type
        WHEN 'TEXT' THEN RETURN draftline.indexed_text_at(value, '{}');
        WHEN 'NUMBER' THEN RETURN trim_scale(draftline.number_at(value, '{}'))::text;
        WHEN 'BOOLEAN' THEN RETURN draftline.boolean_at(value, '{}')::text;
        WHEN 'NUMBER_RANGE', 'DATE_RANGE' THEN
            RETURN encode(draftline.order_key(jsonb_build_object('v', value),
                jsonb_build_array(jsonb_build_object('path', '["v"]'::jsonb, 'type', split_part(type, '_', 1)))), 'hex');
        ELSE
            day := draftline.date_at(value, '{}');
            RETURN left(lpad(extract(year FROM day)::int::text, 4, '0') || '-'
                || lpad(extract(month FROM day)::int::text, 2, '0') || '-'
                || lpad(extract(day FROM day)::int::text, 2, '0'),
                CASE type WHEN 'YEAR' THEN 4 WHEN 'MONTH' THEN 7 ELSE 10 END);
    END CASE;
END $$;

CREATE FUNCTION draftline.group_nodes(key text, type text) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE type WHEN 'NUMBER_RANGE'::text THEN ARRAY['a'::text, ('b'::text || "left"(key, 5)), ('c'::text || "left"(key, 7)), ('d'::text || "left"(key, 9)), ('z'::text || key)] WHEN 'DATE_RANGE'::text THEN ARRAY['a'::text, ('b'::text || "left"(key, 5)), ('c'::text || "left"(key, 6)), ('d'::text || "left"(key, 7)), ('z'::text || key)] ELSE ARRAY[key] END;

CREATE FUNCTION draftline.has_at(content jsonb, path text[], scalar jsonb, key text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE jsonb_typeof((content #> path)) WHEN 'object'::text THEN ((content #> path) ? key) ELSE ((content #> path) @> scalar) END;

CREATE FUNCTION draftline.has_conflict(conflicts jsonb, path text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT conflicts @> jsonb_build_array(jsonb_build_object('path', path))
$$;

CREATE FUNCTION draftline.has_key_at(content jsonb, path text[], key text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((jsonb_typeof((content #> path)) = 'object'::text) AND ((content #> path) ? key));

CREATE FUNCTION draftline.has_more_values(document jsonb, max_nodes integer) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $_$
    SELECT count(*) > max_nodes FROM jsonb_path_query(document, 'strict $.**.type()')
$_$;

CREATE FUNCTION draftline.has_path(edit jsonb, path text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE
        WHEN edit IS NULL OR edit ? 'v' OR cardinality(path) = 0 THEN false
        WHEN cardinality(path) = 1 THEN EXISTS (SELECT 1 FROM jsonb_each(edit) AS member WHERE member.value ? path[1])
        ELSE draftline.has_path(edit -> 'm' -> path[1], path[2:])
    END
$$;

CREATE FUNCTION draftline.has_transforms(edit jsonb) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    RETURN edit ? 't'
        OR (edit ? 'm' AND EXISTS (SELECT FROM jsonb_each(edit -> 'm') AS m WHERE draftline.has_transforms(m.value)));
END $$;

CREATE FUNCTION draftline.holds_record(response bytea, record_prefix bytea, conflict_mark bytea, record_ids text[]) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
DECLARE
    rest bytea := response;
    place int;
    size int;
BEGIN
    LOOP
        place := position(record_prefix IN rest);
        EXIT WHEN place = 0 OR place + length(record_prefix) > length(rest);
        rest := substr(rest, place + length(record_prefix));
        size := get_byte(rest, 0);
        IF size < 128 THEN  -- else the length takes two bytes
            rest := substr(rest, 2);
        ELSIF length(rest) > 1 THEN
            size := size - 128 + 128 * get_byte(rest, 1);
            rest := substr(rest, 3);
        END IF;
        IF substr(rest, 1, size) IN (SELECT convert_to(r, 'UTF8') FROM unnest(record_ids) AS r) THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN position(conflict_mark IN response) > 0 AND EXISTS (
        SELECT FROM unnest(record_ids) AS r, LATERAL (SELECT octet_length(r) AS size) AS l
        WHERE position('\x0a'::bytea || CASE WHEN l.size < 128 THEN set_byte('\x00'::bytea, 0, l.size)
                  ELSE set_byte(set_byte('\x0000'::bytea, 0, 128 + l.size % 128), 1, l.size / 128) END
              || convert_to(r, 'UTF8') IN response) > 0);
END $$;

CREATE FUNCTION draftline.indexed_text_at(content jsonb, path text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN ((jsonb_typeof((content #> path)) = 'string'::text) AND (octet_length((content #>> path)) <= 800)) THEN (content #>> path) ELSE NULL::text END;

CREATE FUNCTION draftline.read_instant(value text) RETURNS timestamp with time zone
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $_$
DECLARE
    day date;
    zone text;
    seconds text;
    is_leap boolean;
    moment timestamp;
BEGIN
    IF length(value) <= 11 THEN
        RETURN draftline.read_date(value)::timestamp AT TIME ZONE 'UTC';
    ELSIF value !~ ('^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?'
            '([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$' COLLATE "C") THEN
        RETURN NULL;
    END IF;
    day := draftline.read_date(left(value, 10));
    -- Counted from the end: Z is one character, +01:00 six.
    zone := CASE WHEN right(value, 1) IN ('Z', 'z') THEN '' ELSE right(value, 6) END;
    seconds := left(left(substr(value, 18), -greatest(length(zone), 1)), 9);
    is_leap := left(seconds, 2) = '60';
    IF is_leap THEN
        seconds := '59' || substr(seconds, 3);
    END IF;
    moment := day + make_time(substr(value, 12, 2)::int, substr(value, 15, 2)::int, seconds::double precision);
    IF zone <> '' THEN
        moment := moment + CASE left(zone, 1) WHEN '-' THEN 1 ELSE -1 END
            * make_interval(hours => substr(zone, 2, 2)::int, mins => right(zone, 2)::int);
    END IF;
    IF is_leap THEN
        moment := moment + interval '1 second';
        IF date_trunc('minute', moment) <> date_trunc('month', moment) THEN
            RETURN NULL;
        END IF;
    END IF;
    IF moment >= timestamp '0001-01-01' AND moment < timestamp '10000-01-01' THEN
        RETURN moment AT TIME ZONE 'UTC';
    END IF;
    RETURN NULL;
END $_$;

CREATE FUNCTION draftline.instant_at(content jsonb, path text[]) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN draftline.read_instant(draftline.text_at(content, path));

CREATE FUNCTION draftline.inverse(edit jsonb, content jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN edit ? 'v' THEN jsonb_build_object('v', content) ELSE draftline.inverse_node(edit, content) END
$$;

CREATE FUNCTION draftline.inverse_node(node jsonb, content jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    present jsonb := CASE WHEN jsonb_typeof(content) = 'object' THEN content ELSE '{}' END;
    touched text[] := CASE WHEN node ? 's' THEN ARRAY(SELECT jsonb_object_keys(node -> 's')) ELSE '{}' END;
    absent text[] := '{}';
    base jsonb;
BEGIN
    IF node ? 'r' THEN
        touched := touched || ARRAY(SELECT jsonb_array_elements_text(node -> 'r'));
    END IF;
    IF node ? 't' THEN
        touched := touched || ARRAY(SELECT jsonb_object_keys(node -> 't'));
    END IF;
    IF NOT present ?& touched THEN
        absent := ARRAY(SELECT k FROM unnest(touched) AS k WHERE NOT present ? k ORDER BY k);
    END IF;
    base := draftline.node(
        coalesce((SELECT jsonb_object_agg(k, present -> k) FROM unnest(touched) AS k WHERE present ? k), '{}'),
        absent,
        CASE WHEN node ? 'm' THEN (SELECT jsonb_object_agg(m.key, draftline.inverse_node(m.value, present -> m.key))
                                   FROM jsonb_each(node -> 'm') AS m) ELSE '{}' END);
    RETURN CASE WHEN content IS NULL THEN base || '{"n": true}' ELSE base END;
END $$;

CREATE FUNCTION draftline.is_deeper(document jsonb, max_depth integer) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $_$
    SELECT jsonb_path_exists(document,
        format('strict $.**{%s} ? (@.type() == "object" || @.type() == "array")', max_depth)::jsonpath)
$_$;

CREATE FUNCTION draftline.is_index(token text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $_$
    SELECT token ~ '^(0|[1-9][0-9]{0,8})$'
$_$;

CREATE FUNCTION draftline.is_member(content jsonb, path text[]) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    FOR depth IN 0 .. cardinality(path) - 1 LOOP
        IF jsonb_typeof(content #> path[1:depth]) IS DISTINCT FROM 'object' THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN cardinality(path) > 0;
END $$;

CREATE FUNCTION draftline.number_at(content jsonb, path text[]) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN ((jsonb_typeof((content #> path)) = 'number'::text) AND (abs(((content #> path))::numeric) < '10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric) AND (scale(((content #> path))::numeric) <= 100)) THEN ((content #> path))::numeric ELSE NULL::numeric END;

CREATE FUNCTION draftline.is_mistyped(value jsonb, type text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((COALESCE(jsonb_typeof(value), 'null'::text) <> 'null'::text) AND CASE type WHEN 'TEXT'::text THEN (draftline.indexed_text_at(value, '{}'::text[]) IS NULL) WHEN 'NUMBER'::text THEN (draftline.number_at(value, '{}'::text[]) IS NULL) WHEN 'BOOLEAN'::text THEN (draftline.boolean_at(value, '{}'::text[]) IS NULL) WHEN 'DATE'::text THEN (draftline.date_at(value, '{}'::text[]) IS NULL) WHEN 'TIMESTAMP'::text THEN (draftline.instant_at(value, '{}'::text[]) IS NULL) ELSE NULL::boolean END);

CREATE FUNCTION draftline.is_transform(operation jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT operation ->> 'op' IN ('increment', 'union', 'subtract')
        OR (operation ->> 'op' IN ('add', 'copy') AND operation -> 'path' ->> -1 IS NOT DISTINCT FROM '-')
$$;

CREATE FUNCTION draftline.keep_log_order() RETURNS boolean
    LANGUAGE plpgsql
    AS $_$
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
END $_$;

CREATE FUNCTION draftline.keeps_snapshot(version bigint) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT version % 64 = 0 OR version = 8 $$;

CREATE FUNCTION draftline.leaf_keys(node jsonb) RETURNS SETOF text
    LANGUAGE sql IMMUTABLE ROWS 4 PARALLEL SAFE
    AS $$
    SELECT jsonb_object_keys(coalesce(node -> 's', '{}'))
    UNION ALL SELECT jsonb_array_elements_text(coalesce(node -> 'r', '[]'))
$$;

CREATE FUNCTION draftline.log_horizon() RETURNS bigint
    LANGUAGE sql STABLE
    AS $$ SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + 0 $$;

CREATE FUNCTION draftline.log_xact() RETURNS bigint
    LANGUAGE sql STABLE
    AS $$ SELECT pg_current_xact_id()::text::bigint + 0 $$;

CREATE FUNCTION draftline.lower_text(value text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
DECLARE
    upper_case CONSTANT text :=
        'ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞĀĂĄĆĈĊČĎĐĒĔĖĘĚĜĞĠĢĤĦĨĪĬĮĲĴĶĹĻĽĿŁŃŅŇŊŌŎŐŒŔŖ'
        'ŘŚŜŞŠŢŤŦŨŪŬŮŰŲŴŶŸŹŻŽЀЁЂЃЄЅІЇЈЉЊЋЌЍЎЏАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯѠѢѤѦ'
        'ѨѪѬѮѰѲѴѶѸѺѼѾҀҊҌҎҐҒҔҖҘҚҜҞҠҢҤҦҨҪҬҮҰҲҴҶҸҺҼҾӀӁӃӅӇӉӋӍӐӒӔӖӘӚӜӞӠӢӤӦӨӪӬӮӰӲӴӶӸӺӼӾ'
        'ͰͲͶͿΆΈΉΊΌΎΏΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΪΫϏϘϚϜϞϠϢϤϦϨϪϬϮϴϷϹϺϽϾϿḀḂḄḆḈḊḌḎḐḒḔḖḘḚḜ'
        'ḞḠḢḤḦḨḪḬḮḰḲḴḶḸḺḼḾṀṂṄṆṈṊṌṎṐṒṔṖṘṚṜṞṠṢṤṦṨṪṬṮṰṲṴṶṸṺṼṾẀẂẄẆẈẊẌẎẐẒẔẞẠẢẤẦẨẪẬẮẰẲẴ'
        'ẶẸẺẼẾỀỂỄỆỈỊỌỎỐỒỔỖỘỚỜỞỠỢỤỦỨỪỬỮỰỲỴỶỸỺỼỾƁƂƄƆƇƉƊƋƎƏƐƑƓƔƖƗƘƜƝƟƠƢƤƦƧƩƬƮƯƱƲƳƵƷƸ'
        'ƼǄǅǇǈǊǋǍǏǑǓǕǗǙǛǞǠǢǤǦǨǪǬǮǱǲǴǶǷǸǺǼǾȀȂȄȆȈȊȌȎȐȒȔȖȘȚȜȞȠȢȤȦȨȪȬȮȰȲȺȻȽȾɁɃɄɅɆɈɊɌɎ'
        'ԀԂԄԆԈԊԌԎԐԒԔԖԘԚԜԞԠԢԤԦԨԪԬԮԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖႠႡႢႣႤႥႦႧႨႩ'
        'ႪႫႬႭႮႯႰႱႲႳႴႵႶႷႸႹႺႻႼႽႾႿჀჁჂჃჄჅჇჍᎠᎡᎢᎣᎤᎥᎦᎧᎨᎩᎪᎫᎬᎭᎮᎯᎰᎱᎲᎳᎴᎵᎶᎷᎸᎹᎺᎻᎼᎽᎾᎿᏀᏁᏂᏃᏄᏅᏆᏇᏈᏉ'
        'ᏊᏋᏌᏍᏎᏏᏐᏑᏒᏓᏔᏕᏖᏗᏘᏙᏚᏛᏜᏝᏞᏟᏠᏡᏢᏣᏤᏥᏦᏧᏨᏩᏪᏫᏬᏭᏮᏯᏰᏱᏲᏳᏴᏵᲐᲑᲒᲓᲔᲕᲖᲗᲘᲙᲚᲛᲜᲝᲞᲟᲠᲡᲢᲣᲤᲥᲦᲧᲨᲩᲪᲫ'
        'ᲬᲭᲮᲯᲰᲱᲲᲳᲴᲵᲶᲷᲸᲹᲺᲽᲾᲿἈἉἊἋἌἍἎἏἘἙἚἛἜἝἨἩἪἫἬἭἮἯἸἹἺἻἼἽἾἿὈὉὊὋὌὍὙὛὝὟὨὩὪὫὬὭὮὯᾈᾉᾊᾋᾌᾍ'
        'ᾎᾏᾘᾙᾚᾛᾜᾝᾞᾟᾨᾩᾪᾫᾬᾭᾮᾯᾸᾹᾺΆᾼῈΈῊΉῌῘῙῚΊῨῩῪΎῬῸΌῺΏῼΩKÅℲⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩⅪⅫⅬⅭⅮⅯↃⒶⒷⒸⒹⒺⒻⒼⒽⒾ'
        'ⒿⓀⓁⓂⓃⓄⓅⓆⓇⓈⓉⓊⓋⓌⓍⓎⓏⰀⰁⰂⰃⰄⰅⰆⰇⰈⰉⰊⰋⰌⰍⰎⰏⰐⰑⰒⰓⰔⰕⰖⰗⰘⰙⰚⰛⰜⰝⰞⰟⰠⰡⰢⰣⰤⰥⰦⰧⰨⰩⰪⰫⰬⰭⰮⰯⱠⱢⱣⱤⱧⱩⱫ'
        'ⱭⱮⱯⱰⱲⱵⱾⱿⲀⲂⲄⲆⲈⲊⲌⲎⲐⲒⲔⲖⲘⲚⲜⲞⲠⲢⲤⲦⲨⲪⲬⲮⲰⲲⲴⲶⲸⲺⲼⲾⳀⳂⳄⳆⳈⳊⳌⳎⳐⳒⳔⳖⳘⳚⳜⳞⳠⳢⳫⳭⳲꙀꙂꙄꙆꙈꙊꙌꙎꙐꙒꙔ'
        'ꙖꙘꙚꙜꙞꙠꙢꙤꙦꙨꙪꙬꚀꚂꚄꚆꚈꚊꚌꚎꚐꚒꚔꚖꚘꚚꜢꜤꜦꜨꜪꜬꜮꜲꜴꜶꜸꜺꜼꜾꝀꝂꝄꝆꝈꝊꝌꝎꝐꝒꝔꝖꝘꝚꝜꝞꝠꝢꝤꝦꝨꝪꝬꝮꝹꝻꝽꝾꞀꞂꞄꞆ'
        'ꞋꞍꞐꞒꞖꞘꞚꞜꞞꞠꞢꞤꞦꞨꞪꞫꞬꞭꞮꞰꞱꞲꞳꞴꞶꞸꞺꞼꞾꟀꟂꟄꟅꟆꟇꟉꟐꟖꟘꟵＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴＵＶＷＸＹＺ𐐀𐐁𐐂𐐃𐐄𐐅'
        '𐐆𐐇𐐈𐐉𐐊𐐋𐐌𐐍𐐎𐐏𐐐𐐑𐐒𐐓𐐔𐐕𐐖𐐗𐐘𐐙𐐚𐐛𐐜𐐝𐐞𐐟𐐠𐐡𐐢𐐣𐐤𐐥𐐦𐐧𐒰𐒱𐒲𐒳𐒴𐒵𐒶𐒷𐒸𐒹𐒺𐒻𐒼𐒽𐒾𐒿𐓀𐓁𐓂𐓃𐓄𐓅𐓆𐓇𐓈𐓉𐓊𐓋𐓌𐓍𐓎𐓏𐓐𐓑𐓒𐓓𐕰𐕱'
        '𐕲𐕳𐕴𐕵𐕶𐕷𐕸𐕹𐕺𐕼𐕽𐕾𐕿𐖀𐖁𐖂𐖃𐖄𐖅𐖆𐖇𐖈𐖉𐖊𐖌𐖍𐖎𐖏𐖐𐖑𐖒𐖔𐖕𐲀𐲁𐲂𐲃𐲄𐲅𐲆𐲇𐲈𐲉𐲊𐲋𐲌𐲍𐲎𐲏𐲐𐲑𐲒𐲓𐲔𐲕𐲖𐲗𐲘𐲙𐲚𐲛𐲜𐲝𐲞𐲟𐲠𐲡𐲢𐲣𐲤𐲥𐲦'
        '𐲧𐲨𐲩𐲪𐲫𐲬𐲭𐲮𐲯𐲰𐲱𐲲𑢠𑢡𑢢𑢣𑢤𑢥𑢦𑢧𑢨𑢩𑢪𑢫𑢬𑢭𑢮𑢯𑢰𑢱𑢲𑢳𑢴𑢵𑢶𑢷𑢸𑢹𑢺𑢻𑢼𑢽𑢾𑢿𖹀𖹁𖹂𖹃𖹄𖹅𖹆𖹇𖹈𖹉𖹊𖹋𖹌𖹍𖹎𖹏𖹐𖹑𖹒𖹓𖹔𖹕𖹖𖹗𖹘𖹙𖹚𖹛'
        '𖹜𖹝𖹞𖹟𞤀𞤁𞤂𞤃𞤄𞤅𞤆𞤇𞤈𞤉𞤊𞤋𞤌𞤍𞤎𞤏𞤐𞤑𞤒𞤓𞤔𞤕𞤖𞤗𞤘𞤙𞤚𞤛𞤜𞤝𞤞𞤟𞤠𞤡';
    lower_case CONSTANT text :=
        'àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþāăąćĉċčďđēĕėęěĝğġģĥħĩīĭįĳĵķĺļľŀłńņňŋōŏőœŕŗ'
        'řśŝşšţťŧũūŭůűųŵŷÿźżžѐёђѓєѕіїјљњћќѝўџабвгдежзийклмнопрстуфхцчшщъыьэюяѡѣѥѧ'
        'ѩѫѭѯѱѳѵѷѹѻѽѿҁҋҍҏґғҕҗҙқҝҟҡңҥҧҩҫҭүұҳҵҷҹһҽҿӏӂӄӆӈӊӌӎӑӓӕӗәӛӝӟӡӣӥӧөӫӭӯӱӳӵӷӹӻӽӿ'
        'ͱͳͷϳάέήίόύώαβγδεζηθικλμνξοπρστυφχψωϊϋϗϙϛϝϟϡϣϥϧϩϫϭϯθϸϲϻͻͼͽḁḃḅḇḉḋḍḏḑḓḕḗḙḛḝ'
        'ḟḡḣḥḧḩḫḭḯḱḳḵḷḹḻḽḿṁṃṅṇṉṋṍṏṑṓṕṗṙṛṝṟṡṣṥṧṩṫṭṯṱṳṵṷṹṻṽṿẁẃẅẇẉẋẍẏẑẓẕßạảấầẩẫậắằẳẵ'
        'ặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹỻỽỿɓƃƅɔƈɖɗƌǝəɛƒɠɣɩɨƙɯɲɵơƣƥʀƨʃƭʈưʊʋƴƶʒƹ'
        'ƽǆǆǉǉǌǌǎǐǒǔǖǘǚǜǟǡǣǥǧǩǫǭǯǳǳǵƕƿǹǻǽǿȁȃȅȇȉȋȍȏȑȓȕȗșțȝȟƞȣȥȧȩȫȭȯȱȳⱥȼƚⱦɂƀʉʌɇɉɋɍɏ'
        'ԁԃԅԇԉԋԍԏԑԓԕԗԙԛԝԟԡԣԥԧԩԫԭԯաբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆⴀⴁⴂⴃⴄⴅⴆⴇⴈⴉ'
        'ⴊⴋⴌⴍⴎⴏⴐⴑⴒⴓⴔⴕⴖⴗⴘⴙⴚⴛⴜⴝⴞⴟⴠⴡⴢⴣⴤⴥⴧⴭꭰꭱꭲꭳꭴꭵꭶꭷꭸꭹꭺꭻꭼꭽꭾꭿꮀꮁꮂꮃꮄꮅꮆꮇꮈꮉꮊꮋꮌꮍꮎꮏꮐꮑꮒꮓꮔꮕꮖꮗꮘꮙ'
        'ꮚꮛꮜꮝꮞꮟꮠꮡꮢꮣꮤꮥꮦꮧꮨꮩꮪꮫꮬꮭꮮꮯꮰꮱꮲꮳꮴꮵꮶꮷꮸꮹꮺꮻꮼꮽꮾꮿᏸᏹᏺᏻᏼᏽაბგდევზთიკლმნოპჟრსტუფქღყშჩცძ'
        'წჭხჯჰჱჲჳჴჵჶჷჸჹჺჽჾჿἀἁἂἃἄἅἆἇἐἑἒἓἔἕἠἡἢἣἤἥἦἧἰἱἲἳἴἵἶἷὀὁὂὃὄὅὑὓὕὗὠὡὢὣὤὥὦὧᾀᾁᾂᾃᾄᾅ'
        'ᾆᾇᾐᾑᾒᾓᾔᾕᾖᾗᾠᾡᾢᾣᾤᾥᾦᾧᾰᾱὰάᾳὲέὴήῃῐῑὶίῠῡὺύῥὸόὼώῳωkåⅎⅰⅱⅲⅳⅴⅵⅶⅷⅸⅹⅺⅻⅼⅽⅾⅿↄⓐⓑⓒⓓⓔⓕⓖⓗⓘ'
        'ⓙⓚⓛⓜⓝⓞⓟⓠⓡⓢⓣⓤⓥⓦⓧⓨⓩⰰⰱⰲⰳⰴⰵⰶⰷⰸⰹⰺⰻⰼⰽⰾⰿⱀⱁⱂⱃⱄⱅⱆⱇⱈⱉⱊⱋⱌⱍⱎⱏⱐⱑⱒⱓⱔⱕⱖⱗⱘⱙⱚⱛⱜⱝⱞⱟⱡɫᵽɽⱨⱪⱬ'
        'ɑɱɐɒⱳⱶȿɀⲁⲃⲅⲇⲉⲋⲍⲏⲑⲓⲕⲗⲙⲛⲝⲟⲡⲣⲥⲧⲩⲫⲭⲯⲱⲳⲵⲷⲹⲻⲽⲿⳁⳃⳅⳇⳉⳋⳍⳏⳑⳓⳕⳗⳙⳛⳝⳟⳡⳣⳬⳮⳳꙁꙃꙅꙇꙉꙋꙍꙏꙑꙓꙕ'
        'ꙗꙙꙛꙝꙟꙡꙣꙥꙧꙩꙫꙭꚁꚃꚅꚇꚉꚋꚍꚏꚑꚓꚕꚗꚙꚛꜣꜥꜧꜩꜫꜭꜯꜳꜵꜷꜹꜻꜽꜿꝁꝃꝅꝇꝉꝋꝍꝏꝑꝓꝕꝗꝙꝛꝝꝟꝡꝣꝥꝧꝩꝫꝭꝯꝺꝼᵹꝿꞁꞃꞅꞇ'
        'ꞌɥꞑꞓꞗꞙꞛꞝꞟꞡꞣꞥꞧꞩɦɜɡɬɪʞʇʝꭓꞵꞷꞹꞻꞽꞿꟁꟃꞔʂᶎꟈꟊꟑꟗꟙꟶａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ𐐨𐐩𐐪𐐫𐐬𐐭'
        '𐐮𐐯𐐰𐐱𐐲𐐳𐐴𐐵𐐶𐐷𐐸𐐹𐐺𐐻𐐼𐐽𐐾𐐿𐑀𐑁𐑂𐑃𐑄𐑅𐑆𐑇𐑈𐑉𐑊𐑋𐑌𐑍𐑎𐑏𐓘𐓙𐓚𐓛𐓜𐓝𐓞𐓟𐓠𐓡𐓢𐓣𐓤𐓥𐓦𐓧𐓨𐓩𐓪𐓫𐓬𐓭𐓮𐓯𐓰𐓱𐓲𐓳𐓴𐓵𐓶𐓷𐓸𐓹𐓺𐓻𐖗𐖘'
        '𐖙𐖚𐖛𐖜𐖝𐖞𐖟𐖠𐖡𐖣𐖤𐖥𐖦𐖧𐖨𐖩𐖪𐖫𐖬𐖭𐖮𐖯𐖰𐖱𐖳𐖴𐖵𐖶𐖷𐖸𐖹𐖻𐖼𐳀𐳁𐳂𐳃𐳄𐳅𐳆𐳇𐳈𐳉𐳊𐳋𐳌𐳍𐳎𐳏𐳐𐳑𐳒𐳓𐳔𐳕𐳖𐳗𐳘𐳙𐳚𐳛𐳜𐳝𐳞𐳟𐳠𐳡𐳢𐳣𐳤𐳥𐳦'
        '𐳧𐳨𐳩𐳪𐳫𐳬𐳭𐳮𐳯𐳰𐳱𐳲𑣀𑣁𑣂𑣃𑣄𑣅𑣆𑣇𑣈𑣉𑣊𑣋𑣌𑣍𑣎𑣏𑣐𑣑𑣒𑣓𑣔𑣕𑣖𑣗𑣘𑣙𑣚𑣛𑣜𑣝𑣞𑣟𖹠𖹡𖹢𖹣𖹤𖹥𖹦𖹧𖹨𖹩𖹪𖹫𖹬𖹭𖹮𖹯𖹰𖹱𖹲𖹳𖹴𖹵𖹶𖹷𖹸𖹹𖹺𖹻'
        '𖹼𖹽𖹾𖹿𞤢𞤣𞤤𞤥𞤦𞤧𞤨𞤩𞤪𞤫𞤬𞤭𞤮𞤯𞤰𞤱𞤲𞤳𞤴𞤵𞤶𞤷𞤸𞤹𞤺𞤻𞤼𞤽𞤾𞤿𞥀𞥁𞥂𞥃';
    found text;
BEGIN
    value := lower(value COLLATE "C");
    IF octet_length(value) = length(value) THEN
        RETURN value;
    END IF;
    found := regexp_replace(value, '[^' || upper_case || ']+' COLLATE "C", '', 'g');
    IF length(found) > 20 THEN
        found := (SELECT string_agg(DISTINCT letter, '') FROM string_to_table(found, NULL) AS letter);
    END IF;
    RETURN translate(value, found, translate(found, upper_case, lower_case));
END $$;

CREATE FUNCTION draftline.matches(attributes jsonb, content jsonb, condition jsonb) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    op text := condition ->> 'op';
BEGIN
    IF condition IS NULL THEN
        RETURN true;
    END IF;
    IF op = 'not' THEN
        RETURN NOT draftline.matches(attributes, content, condition -> 'term');
    END IF;
    IF op NOT IN ('and', 'or') THEN
        RETURN coalesce(draftline.matches_condition(
            CASE condition ->> 'in' WHEN 'record' THEN attributes ELSE content END, condition), false);
    END IF;
    FOR place IN 0 .. jsonb_array_length(condition -> 'terms') - 1 LOOP
        IF draftline.matches(attributes, content, condition -> 'terms' -> place) = (op = 'or') THEN
            RETURN op = 'or';
        END IF;
    END LOOP;
    RETURN op = 'and';
END $$;

CREATE FUNCTION draftline.matches_condition(content jsonb, condition jsonb) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    op text := condition ->> 'op';
    value jsonb;
BEGIN
    IF op = 'any' THEN  -- of the values at a path on which an array stands for each of its elements
        RETURN EXISTS (SELECT FROM jsonb_path_query(content, (condition ->> 'through')::jsonpath) AS v (value)
                       WHERE draftline.matches_condition(v.value, condition -> 'term'));
    ELSIF op = 'mistyped' THEN
        RETURN EXISTS (SELECT FROM jsonb_array_elements(condition -> 'fields') AS f (field)
                       WHERE draftline.is_mistyped(draftline.value_at(content, (f.field ->> 'path')::text[]),
                                                   f.field ->> 'type'));
    END IF;
    value := draftline.value_at(content, (condition ->> 'path')::text[]);
    CASE op
        WHEN '=' THEN RETURN draftline.compare_value(value, condition) = 0;
        WHEN '<' THEN RETURN draftline.compare_value(value, condition) < 0;
        WHEN '<=' THEN RETURN draftline.compare_value(value, condition) <= 0;
        WHEN '>' THEN RETURN draftline.compare_value(value, condition) > 0;
        WHEN '>=' THEN RETURN draftline.compare_value(value, condition) >= 0;
        WHEN 'prefix' THEN RETURN starts_with(draftline.text_at(value, '{}'), condition ->> 'value');
        WHEN 'like' THEN
            IF condition ? 'lower' THEN
                RETURN draftline.lower_text(draftline.text_at(value, '{}')) COLLATE "C"
                    LIKE draftline.lower_text(condition ->> 'value');
            END IF;
            RETURN draftline.text_at(value, '{}') COLLATE "C" LIKE condition ->> 'value';
        WHEN 'present' THEN RETURN draftline.present_at(value, '{}');
        WHEN 'has_key' THEN RETURN draftline.has_key_at(value, '{}', condition ->> 'key');
        -- As the version before wrote it, which may still be serving.
        WHEN 'has' THEN
            RETURN draftline.has_at(value, '{}',
                CASE condition ->> 'type' WHEN 'TEXT' THEN condition -> 'value'
                                          ELSE (condition ->> 'value')::jsonb END,
                condition ->> 'key');
    END CASE;  -- anything else raises: a condition that is not understood is not met
END $$;

CREATE FUNCTION draftline.value_at(content jsonb, path text[]) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY path LOOP
        content := content -> name;
    END LOOP;
    RETURN content;
END $$;

CREATE FUNCTION draftline.member_at(content jsonb, path text[]) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN ((path)[2] IS NULL) THEN (content -> (path)[1]) ELSE draftline.value_at(content, path) END;

CREATE FUNCTION draftline.merge_deep(target jsonb, delta jsonb, depth integer) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    IF depth = 1 THEN
        RETURN target || delta;
    END IF;
    RETURN target || coalesce((
        SELECT jsonb_object_agg(d.key,
            CASE WHEN jsonb_typeof(d.value) = 'object' AND jsonb_typeof(target -> d.key) = 'object'
                 THEN draftline.merge_deep(target -> d.key, d.value, greatest(depth - 1, 0))
                 ELSE d.value END)
        FROM jsonb_each(delta) AS d
        -- Only what is merged needs the walk; `||` takes the rest as it is.
    ), '{}');
END $$;

CREATE FUNCTION draftline.merge_patch(target jsonb, patch jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    merged jsonb := CASE WHEN jsonb_typeof(target) = 'object' THEN target ELSE '{}' END;
BEGIN
    IF jsonb_typeof(patch) <> 'object' THEN
        RETURN patch;
    END IF;
    RETURN coalesce((
        SELECT (merged - coalesce(array_agg(p.key) FILTER (WHERE p.value = 'null'), '{}'))
            || coalesce(jsonb_object_agg(p.key,
                   CASE WHEN jsonb_typeof(p.value) = 'object'
                        THEN draftline.merge_patch(merged -> p.key, p.value)
                        ELSE p.value END) FILTER (WHERE p.value <> 'null'), '{}')
        FROM jsonb_each(patch) AS p
    ), merged);
END $$;

CREATE FUNCTION draftline.modified_attributes(attributes jsonb, parent_id text, "position" bigint) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT ARRAY(
        SELECT t.key FROM jsonb_each(draftline.own_attributes(parent_id, "position")) AS t
        WHERE attributes -> t.key -> 1 <> t.value ORDER BY t.key)
$$;

CREATE FUNCTION draftline.modified_fields(kind text, edit jsonb, content jsonb, merged jsonb) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    IF kind = 'DELETE' OR content IS NULL OR edit ? 'v' THEN
        RETURN draftline.changed_fields(coalesce(content, '{}'), CASE kind WHEN 'DELETE' THEN '{}' ELSE merged END);
    END IF;
    RETURN ARRAY(
        SELECT k FROM (
            SELECT jsonb_object_keys(coalesce(edit -> 's', '{}') || coalesce(edit -> 'm', '{}')
                || coalesce(edit -> 't', '{}'))
            UNION ALL SELECT jsonb_array_elements_text(edit -> 'r')
        ) AS touched (k)
        WHERE content -> k IS DISTINCT FROM merged -> k ORDER BY k COLLATE "C");
END $$;

CREATE FUNCTION draftline.move_draft_order_entries(tenant text, user_ids text[], collections text[], record_ids text[], olds jsonb[], news jsonb[]) RETURNS boolean
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
DECLARE
    moved record;
    old_entries tid[];
BEGIN
    IF user_ids[1] = ALL (user_ids) AND collections[1] = ALL (collections)
            AND NOT EXISTS (SELECT FROM unnest(news) AS n (new) WHERE n.new IS NOT NULL) THEN
        old_entries := draftline.draft_order_entries(tenant, user_ids[1], collections[1], record_ids);
        IF old_entries IS NOT NULL THEN
            PERFORM draftline.delete_draft_order_entries(tenant, old_entries);
            RETURN true;
        END IF;
    END IF;
    SELECT array_agg(m.user_id) AS user_ids, array_agg(m.collection) AS collections,
        array_agg(m.record_id) AS record_ids, array_agg(m.order_id) AS order_ids,
        array_agg(m.old_key) AS old_keys, array_agg(m.new_key) AS new_keys
    INTO moved
    FROM (
        SELECT d.user_id, d.collection, d.record_id, o.order_id,
            CASE WHEN d.old IS NOT NULL THEN draftline.order_key(d.old, o.keys) END AS old_key,
            CASE WHEN d.new IS NOT NULL THEN draftline.order_key(d.new, o.keys) END AS new_key
        FROM unnest(user_ids, collections, record_ids, olds, news) AS d (user_id, collection, record_id, old, new)
        JOIN draftline.collection_order AS o
            ON o.tenant_id = tenant AND o.collection = d.collection AND o.state <> 'DELETING'
            AND o.keys #>> '{0,type}' <> 'ID'
        WHERE d.old IS NULL OR d.new IS NULL
           OR EXISTS (SELECT FROM unnest(o.fields) AS f (name) WHERE d.old -> f.name IS DISTINCT FROM d.new -> f.name)
        OFFSET 0  -- so that each key is computed once
    ) AS m
    WHERE m.old_key IS DISTINCT FROM m.new_key;
    SELECT moved.user_ids || array_agg(d.user_id) AS user_ids, moved.collections || array_agg(d.collection) AS collections,
        moved.record_ids || array_agg(d.record_id) AS record_ids, moved.order_ids || array_agg(o.order_id) AS order_ids,
        moved.old_keys || array_agg(k.old_key) AS old_keys, moved.new_keys || array_agg(k.new_key) AS new_keys
    INTO moved
    FROM unnest(user_ids, collections, record_ids, olds, news) AS d (user_id, collection, record_id, old, new)
    JOIN draftline.collection_order AS o
        ON o.tenant_id = tenant AND o.collection = d.collection AND o.state <> 'DELETING' AND o.keys #>> '{0,type}' = 'ID'
    CROSS JOIN LATERAL draftline.moved_relation_keys(d.old, d.new, o.keys) AS k;
    IF moved.order_ids IS NULL THEN
        RETURN false;
    END IF;
    old_entries := ARRAY(
        SELECT e.ctid
        FROM unnest(moved.user_ids, moved.collections, moved.record_ids, moved.order_ids, moved.old_keys)
            AS m (user_id, collection, record_id, order_id, key)
        CROSS JOIN LATERAL (
            SELECT e.ctid FROM draftline.draft_order_entry AS e
            WHERE e.tenant_id = tenant AND e.user_id = m.user_id AND e.collection = m.collection
              AND e.order_id = m.order_id AND e.key = m.key AND e.record_id = m.record_id
            OFFSET 0
        ) AS e
        WHERE m.key IS NOT NULL);
    IF cardinality(old_entries) > 0 THEN
        PERFORM draftline.delete_draft_order_entries(tenant, old_entries);
    END IF;
    BEGIN
        INSERT INTO draftline.draft_order_entry (tenant_id, user_id, collection, order_id, key, record_id)
        SELECT tenant, m.user_id, m.collection, m.order_id, m.key, m.record_id
        FROM unnest(moved.user_ids, moved.collections, moved.record_ids, moved.order_ids, moved.new_keys)
            AS m (user_id, collection, record_id, order_id, key)
        WHERE draftline.order_entry_fits(m.key, tenant || m.user_id || m.collection || m.record_id);
    EXCEPTION WHEN unique_violation THEN  -- a build has added one of them
        INSERT INTO draftline.draft_order_entry (tenant_id, user_id, collection, order_id, key, record_id)
        SELECT tenant, m.user_id, m.collection, m.order_id, m.key, m.record_id
        FROM unnest(moved.user_ids, moved.collections, moved.record_ids, moved.order_ids, moved.new_keys)
            AS m (user_id, collection, record_id, order_id, key)
        WHERE draftline.order_entry_fits(m.key, tenant || m.user_id || m.collection || m.record_id)
        ON CONFLICT DO NOTHING;
    END;
    RETURN true;
END $$;

CREATE FUNCTION draftline.move_order_entries(tenant text, collections text[], record_ids text[], order_ids bigint[], old_keys bytea[], new_keys bytea[]) RETURNS boolean
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
DECLARE
    old_entries tid[] := ARRAY(
        SELECT e.ctid
        FROM unnest(collections, record_ids, order_ids, old_keys) AS m (collection, record_id, order_id, key)
        CROSS JOIN LATERAL (
            SELECT e.ctid FROM draftline.order_entry AS e
            WHERE e.tenant_id = tenant AND e.collection = m.collection AND e.order_id = m.order_id AND e.key = m.key
              AND e.record_id = m.record_id
            OFFSET 0
        ) AS e
        WHERE m.key IS NOT NULL);
BEGIN
    IF cardinality(old_entries) > 0 THEN
        PERFORM draftline.delete_order_entries(tenant, old_entries);
    END IF;
    BEGIN
        INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
        SELECT tenant, m.collection, m.order_id, m.key, m.record_id
        FROM unnest(collections, record_ids, order_ids, new_keys) AS m (collection, record_id, order_id, key)
        WHERE draftline.order_entry_fits(m.key, tenant || m.collection || m.record_id);
    EXCEPTION WHEN unique_violation THEN  -- a build has added one of them
        INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
        SELECT tenant, m.collection, m.order_id, m.key, m.record_id
        FROM unnest(collections, record_ids, order_ids, new_keys) AS m (collection, record_id, order_id, key)
        WHERE draftline.order_entry_fits(m.key, tenant || m.collection || m.record_id)
        ON CONFLICT DO NOTHING;
    END;
    RETURN true;
END $$;

CREATE FUNCTION draftline.moved_relation_keys(old jsonb, new jsonb, keys jsonb) RETURNS TABLE(old_key bytea, new_key bytea)
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    path CONSTANT text[] := draftline.relation_path(keys);
    olds CONSTANT text[] := draftline.related_ids(old, path);
    news CONSTANT text[] := draftline.related_ids(new, path);
BEGIN
    IF olds IS DISTINCT FROM news THEN
        RETURN QUERY
            SELECT convert_to(o.id, 'UTF8'), NULL::bytea FROM unnest(olds) AS o (id) WHERE o.id <> ALL (news)
            UNION ALL
            SELECT NULL::bytea, convert_to(n.id, 'UTF8') FROM unnest(news) AS n (id) WHERE n.id <> ALL (olds);
    END IF;
END $$;

CREATE FUNCTION draftline.names(list jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN (list IS NOT NULL) THEN ARRAY(SELECT n.value FROM jsonb_array_elements_text(names.list) WITH ORDINALITY n(value, ordinality) ORDER BY n.ordinality) ELSE NULL::text[] END;

CREATE FUNCTION draftline.node(sets jsonb, removals text[], merges jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN sets <> '{}' THEN jsonb_build_object('s', sets) ELSE '{}' END
        || CASE WHEN removals <> '{}' THEN jsonb_build_object('r', removals) ELSE '{}' END
        || CASE WHEN merges <> '{}' THEN jsonb_build_object('m', merges) ELSE '{}' END
$$;

CREATE FUNCTION draftline.node(sets jsonb, removals text[], merges jsonb, transforms jsonb, is_object boolean) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT draftline.node(sets, removals, merges)
        || CASE WHEN transforms <> '{}' THEN jsonb_build_object('t', transforms) ELSE '{}' END
        || CASE WHEN is_object THEN jsonb_build_object('o', true) ELSE '{}' END
$$;

CREATE FUNCTION draftline.node_conflicts(node jsonb, base jsonb, content jsonb, at text[]) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    found jsonb;
    child record;
BEGIN
    found := coalesce((
        SELECT jsonb_agg(l.conflict ORDER BY l.key COLLATE "C")
        FROM (
            SELECT k, draftline.conflict('VALUE', at || k, base -> 's' -> k, node -> 's' -> k, content -> k)
            FROM draftline.leaf_keys(node) AS k
            WHERE draftline.differ(base -> 's' -> k, node -> 's' -> k, content -> k)
            UNION ALL
            SELECT t.key, draftline.conflict('VALUE', at || t.key, base -> 's' -> t.key,
                draftline.transform(t.value, content -> t.key), content -> t.key)
            FROM jsonb_each(node -> 't') AS t
            WHERE draftline.steps_differ(t.value, base -> 's' -> t.key, content -> t.key)
        ) AS l (key, conflict)), '[]');
    IF NOT node ? 'm' THEN
        RETURN found;
    END IF;
    FOR child IN SELECT key, value FROM jsonb_each(node -> 'm') ORDER BY key COLLATE "C" LOOP
        IF draftline.parent_differs(child.value, base -> 'm' -> child.key, content -> child.key) THEN
            found := found || draftline.conflict('VALUE', at || child.key,
                draftline.base_value(base -> 'm' -> child.key), draftline.apply_node(child.value, NULL),
                content -> child.key);
        ELSIF jsonb_typeof(content -> child.key) = 'object' OR draftline.puts(child.value) THEN
            found := found || draftline.node_conflicts(
                child.value, base -> 'm' -> child.key, content -> child.key, at || child.key);
        END IF;
    END LOOP;
    RETURN found;
END $$;

CREATE FUNCTION draftline.normal_steps(steps jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    step jsonb;
    name text;
    items jsonb;
    subtracted jsonb := '[]';
    added jsonb[] := '{}';
BEGIN
    FOR step IN SELECT s FROM jsonb_array_elements(steps) AS s LOOP
        name := (SELECT jsonb_object_keys(step));
        items := step -> name;
        IF name = 'subtract' THEN
            subtracted := draftline.array_union(subtracted, items);
            added := draftline.without_items(added, items);
        ELSE
            added := draftline.with_items(added, name, items);
        END IF;
    END LOOP;
    RETURN CASE WHEN subtracted <> '[]' OR added = '{}'
            THEN jsonb_build_array(jsonb_build_object('subtract', subtracted)) ELSE '[]' END
        || to_jsonb(added);
END $$;

CREATE FUNCTION draftline.order_entry_fits(key bytea, ids text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((octet_length(key) + octet_length(ids)) <= 2600);

CREATE FUNCTION draftline.order_fields(keys jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT array_agg(DISTINCT k.value -> 'path' ->> 0) FROM jsonb_array_elements(keys) AS k
$$;

CREATE FUNCTION draftline.order_key(content jsonb, keys jsonb) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    key jsonb;
    value jsonb;
    value_text text;
    type text;
    is_descending boolean;
    digits text;
    part bytea;
    result bytea;
BEGIN
    FOR index IN 0 .. jsonb_array_length(keys) - 1 LOOP
        key := keys -> index;
        value := content -> (key #>> '{path,0}');
        IF jsonb_array_length(key -> 'path') > 1 THEN
            FOR depth IN 1 .. jsonb_array_length(key -> 'path') - 1 LOOP
                value := value -> (key -> 'path' ->> depth);
            END LOOP;
        END IF;
        value_text := value #>> '{}';
        type := key ->> 'type';
        is_descending := coalesce(key -> 'descending' = 'true', false);
        IF value_text IS NULL THEN
            part := '\xff';
        ELSIF type = 'TEXT' AND NOT is_descending THEN
            part := CASE WHEN jsonb_typeof(value) = 'string' AND octet_length(value_text) <= 800
                THEN '\x10' || convert_to(value_text, 'UTF8') || '\x00' ELSE '\xff' END;
        ELSIF type = 'NUMBER' AND jsonb_typeof(value) = 'number' THEN
            digits := btrim(replace(replace(value_text, '-', ''), '.', ''), '0');
            part := CASE
                WHEN octet_length(value_text) > 100 OR octet_length(digits) > 11
                    THEN draftline.order_key_part(value, type, is_descending)
                WHEN digits = '' THEN CASE WHEN is_descending THEN '\x17'::bytea ELSE '\x18'::bytea END
                -- 0x0fff..., to invert all digits but the first, and 0x111111111111, to add one to each significant digit
                ELSE substr(int8send(
                    CASE WHEN is_descending <> starts_with(value_text, '-') THEN 1152921504606846975 ELSE 0 END
                    # (CAST(CAST('x19'
                            || to_hex(128 + octet_length(ltrim(replace(replace(value_text, '-', ''), '.', ''), '0'))
                                - CASE strpos(value_text, '.') WHEN 0 THEN 0
                                       ELSE octet_length(value_text) - strpos(value_text, '.') END)
                            || rpad(digits, 12, '0') AS bit(64)) AS bigint)
                        + ((18764998447377 >> (48 - 4 * octet_length(digits))) << (48 - 4 * octet_length(digits))))
                ), 1, octet_length(digits) / 2 + 3) END;
        ELSIF type = 'DATE' AND octet_length(value_text) = 10 AND value_text LIKE '____-__-__'
                AND octet_length(replace(value_text, '-', '')) = 8
                AND ltrim(replace(value_text, '-', ''), '0123456789') = ''
                AND left(value_text, 4) <> '0000' AND substr(value_text, 6, 2) COLLATE "C" BETWEEN '01' AND '12'
                AND right(value_text, 2) COLLATE "C" BETWEEN '01' AND '28' AND jsonb_typeof(value) = 'string' THEN
            part := int4send(CASE WHEN is_descending THEN 536870911 ELSE 536870912 END
                + CASE WHEN is_descending THEN -1 ELSE 1 END * (make_date(CAST(left(value_text, 4) AS int),
                    CAST(substr(value_text, 6, 2) AS int), CAST(right(value_text, 2) AS int)) - date '2000-01-01'));
        ELSE
            part := draftline.order_key_part(value, type, is_descending);
        END IF;
        result := CASE WHEN index = 0 THEN part ELSE result || part END;
    END LOOP;
    RETURN result;
END $$;

CREATE FUNCTION draftline.order_key_part(value jsonb, type text, is_descending boolean) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    digits CONSTANT text := '0123456789abcdef';
    inverted CONSTANT text := 'fedcba9876543210';
    number numeric;
    is_inverted boolean := is_descending;
    is_signed boolean := false;
    significant text;
    part text;
BEGIN
    CASE type
    WHEN 'TEXT' THEN
        part := '0' || encode(convert_to(draftline.indexed_text_at(value, '{}'), 'UTF8'), 'hex') || '00';
        IF is_inverted THEN
            part := '0' || translate(substr(part, 2), digits, inverted);
        END IF;
        is_inverted := false;
    WHEN 'NUMBER' THEN
        number := draftline.number_at(value, '{}');
        IF number = 0 THEN
            part := '8';
        ELSE
            part := trim_scale(abs(number))::text;
            significant := ltrim(replace(part, '.', ''), '0');
            -- The number is 0.significant * 10 ^ exponent.
            part := '9' || to_hex(128 + length(split_part(part, '.', 1))
                    - length(replace(part, '.', '')) + length(significant))
                || translate(rtrim(significant, '0'), '0123456789', '123456789a') || '0';
            part := part || CASE WHEN length(part) % 2 = 0 THEN '0' ELSE '' END;
            is_inverted := is_inverted <> (number < 0);
        END IF;
    WHEN 'BOOLEAN' THEN
        part := CASE draftline.boolean_at(value, '{}') WHEN true THEN '9' WHEN false THEN '6' END;
    WHEN 'DATE' THEN
        part := encode(date_send(draftline.date_at(value, '{}')), 'hex');
        is_signed := true;
    WHEN 'TIMESTAMP' THEN
        part := encode(timestamptz_send(draftline.instant_at(value, '{}')), 'hex');
        is_signed := true;
    END CASE;
    IF is_inverted THEN
        part := translate(part, digits, inverted);
    END IF;
    IF is_signed THEN
        part := translate(left(part, 1), 'f0', '12') || substr(part, 2);
    ELSE
        part := '1' || part;
    END IF;
    RETURN decode(coalesce(part, 'ff'), 'hex');
END $$;

CREATE FUNCTION draftline.overlong_text(content jsonb, indexed_text jsonb, max_text_bytes integer) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    path jsonb;
    value jsonb;
BEGIN
    FOR place IN 0 .. jsonb_array_length(indexed_text) - 1 LOOP
        path := indexed_text -> place;
        value := content;
        FOR depth IN 0 .. jsonb_array_length(path) - 1 LOOP
            value := value #> ARRAY[path ->> depth];  -- as indexed_text_at finds it: in arrays too
        END LOOP;
        IF jsonb_typeof(value) = 'string' AND octet_length(value #>> '{}') > max_text_bytes THEN
            RETURN draftline.pointer(ARRAY(SELECT jsonb_array_elements_text(path)));
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

CREATE FUNCTION draftline.own_attributes(parent_id text, "position" bigint) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT jsonb_build_object('parent_id', parent_id, 'position', "position")
$$;

CREATE FUNCTION draftline.parent_differs(child jsonb, base jsonb, theirs jsonb) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    RETURN jsonb_typeof(theirs) IS DISTINCT FROM 'object' AND draftline.puts(child)
        AND NOT (theirs IS NULL AND coalesce(base ? 'n', false));
END $$;

CREATE FUNCTION draftline.pointer(path text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT coalesce(string_agg('/' || replace(replace(token, '~', '~0'), '/', '~1'), '' ORDER BY place), '')
    FROM unnest(path) WITH ORDINALITY AS t(token, place)
$$;

CREATE FUNCTION draftline.present_at(content jsonb, path text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (jsonb_typeof((content #> path)) <> 'null'::text);

CREATE FUNCTION draftline.prune(edit jsonb, basis jsonb, content jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN edit -> 'v' = basis AND edit -> 'v' = content THEN '{}' WHEN edit ? 'v' THEN edit
                ELSE draftline.prune_node(edit, basis, content) END
$$;

CREATE FUNCTION draftline.prune_child(child jsonb, basis jsonb, content jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    pruned jsonb;
    inner_content jsonb := CASE WHEN jsonb_typeof(content) = 'object' THEN content ELSE '{}' END;
BEGIN
    IF jsonb_typeof(basis) <> 'object' THEN
        RETURN CASE WHEN draftline.puts(child) THEN jsonb_build_object('s', draftline.apply_node(child, NULL))
            ELSE '{}' END;
    END IF;
    pruned := draftline.prune_node(child, coalesce(basis, '{}'), inner_content);
    IF pruned <> '{}' THEN
        RETURN jsonb_build_object('m', pruned);
    ELSIF basis IS NULL AND jsonb_typeof(content) IS DISTINCT FROM 'object' AND draftline.puts(child) THEN
        RETURN '{"s": {}}';
    END IF;
    RETURN '{}';
END $$;

CREATE FUNCTION draftline.prune_node(node jsonb, basis jsonb, content jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    sets jsonb := '{}';
    removals text[] := '{}';
    merges jsonb := '{}';
    transforms jsonb := '{}';
    child record;
    pruned jsonb;
BEGIN
    IF node ? 's' THEN
        sets := (node -> 's') - ARRAY(
            SELECT key FROM jsonb_each(node -> 's') WHERE basis -> key = value AND content -> key = value);
    END IF;
    IF node ? 'r' THEN
        removals := ARRAY(SELECT k FROM jsonb_array_elements_text(node -> 'r') AS k WHERE basis ? k OR content ? k);
    END IF;
    IF node ? 't' THEN
        transforms := coalesce((
            SELECT jsonb_object_agg(p.key, p.steps)
            FROM (SELECT t.key, draftline.prune_steps(t.value, basis -> t.key, content -> t.key) AS steps
                  FROM jsonb_each(node -> 't') AS t OFFSET 0) AS p
            WHERE p.steps IS NOT NULL), '{}');
    END IF;
    IF NOT node ? 'm' THEN
        RETURN draftline.node(sets, removals, merges, transforms, false);
    END IF;
    FOR child IN SELECT m.key, m.value, basis -> m.key AS basis, content -> m.key AS content
        FROM jsonb_each(node -> 'm') AS m
    LOOP
        IF jsonb_typeof(child.basis) = 'object' AND jsonb_typeof(child.content) = 'object' THEN
            pruned := draftline.prune_node(child.value, child.basis, child.content);
            IF pruned <> '{}' THEN
                merges := merges || jsonb_build_object(child.key, pruned);
            END IF;
            CONTINUE;
        END IF;
        pruned := draftline.prune_child(child.value, child.basis, child.content);
        IF pruned ? 'm' THEN
            merges := merges || jsonb_build_object(child.key, pruned -> 'm');
        ELSIF pruned ? 's' THEN
            sets := sets || jsonb_build_object(child.key, pruned -> 's');
        END IF;
    END LOOP;
    RETURN draftline.node(sets, removals, merges, transforms, false);
END $$;

CREATE FUNCTION draftline.prune_steps(steps jsonb, basis jsonb, content jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    first jsonb := steps -> 0;
    kept jsonb := steps;
    absent jsonb;
BEGIN
    IF first ? 'increment' THEN
        RETURN CASE WHEN first -> 'increment' = '0' AND jsonb_typeof(basis) = 'number'
            AND jsonb_typeof(content) = 'number' THEN NULL ELSE steps END;
    ELSIF jsonb_typeof(basis) <> 'array' OR jsonb_typeof(content) <> 'array' THEN
        RETURN steps;
    END IF;
    IF first ? 'subtract' THEN
        absent := draftline.array_subtract(first -> 'subtract', coalesce(basis, '[]') || coalesce(content, '[]'));
        kept := jsonb_build_array(jsonb_build_object('subtract',
            draftline.array_subtract(first -> 'subtract', absent))) || (steps - 0);
    END IF;
    IF kept -> 0 = '{"subtract": []}' THEN
        kept := kept - 0;
    END IF;
    IF kept -> -1 = '{"union": []}' AND basis IS NOT NULL AND content IS NOT NULL THEN
        kept := kept - -1;
    END IF;
    RETURN nullif(kept, '[]');
END $$;

CREATE FUNCTION draftline.put_at(document jsonb, path text[], value jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN cardinality(path) = 0 THEN value ELSE jsonb_set(document, path, value) END
$$;

CREATE FUNCTION draftline.put_value(content jsonb, path text[], value jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE
        WHEN cardinality(path) = 0 THEN value
        WHEN jsonb_typeof(content) IS DISTINCT FROM 'object' AND value IS NULL THEN content
        WHEN cardinality(path) = 1 AND value IS NULL THEN content - path[1]
        WHEN cardinality(path) > 1 AND value IS NULL AND NOT content ? path[1] THEN content
        ELSE CASE WHEN jsonb_typeof(content) = 'object' THEN content ELSE '{}' END
            || jsonb_build_object(path[1], draftline.put_value(content -> path[1], path[2:], value))
    END
$$;

CREATE FUNCTION draftline.puts(node jsonb) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    RETURN node ?| '{s,o}'
        OR (node ? 't' AND EXISTS (SELECT FROM jsonb_each(node -> 't') AS t WHERE draftline.steps_put(t.value)))
        OR (node ? 'm' AND EXISTS (SELECT FROM jsonb_each(node -> 'm') AS m WHERE draftline.puts(m.value)));
END $$;

CREATE FUNCTION draftline.read_timestamp(value text) RETURNS timestamp with time zone
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $_$
DECLARE
    -- Counted from the end: Z is one character, +01:00 six.
    zone text := CASE WHEN value ~ '[Zz]$' COLLATE "C" THEN '' ELSE right(value, 6) END;
    direction int := CASE left(zone, 1) WHEN '-' THEN 1 ELSE -1 END;
    day date;
    moment timestamp;
BEGIN
    IF value !~ ('^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?'
        '([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$' COLLATE "C") THEN
        RETURN NULL;
    END IF;
    day := draftline.read_date(left(value, 10));
    IF day IS NULL THEN
        RETURN NULL;
    END IF;
    moment := day + make_time(substr(value, 12, 2)::int, substr(value, 15, 2)::int,
        left(left(substr(value, 18), -greatest(length(zone), 1)), 9)::double precision);
    IF zone <> '' THEN
        moment := moment + direction * make_interval(hours => substr(zone, 2, 2)::int, mins => right(zone, 2)::int);
        IF moment < make_timestamp(1, 1, 1, 0, 0, 0) OR moment >= make_timestamp(10000, 1, 1, 0, 0, 0) THEN
            RETURN NULL;
        END IF;
    END IF;
    RETURN moment AT TIME ZONE 'UTC';
END $_$;

CREATE FUNCTION draftline.rebase(edit jsonb, basis jsonb, content jsonb) RETURNS draftline.based_edit
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    pruned jsonb;
BEGIN
    IF edit - 's' <> '{}' OR edit = '{}' THEN
        pruned := draftline.prune(edit, basis, content);
        RETURN (pruned, draftline.inverse(pruned, basis))::draftline.based_edit;
    END IF;
    RETURN (SELECT (r.edit, r.base)::draftline.based_edit FROM draftline.rebase_sets(edit -> 's', basis, content) AS r);
END $$;

CREATE FUNCTION draftline.rebase_sets(sets jsonb, basis jsonb, content jsonb) RETURNS TABLE(edit jsonb, base jsonb, fields text[])
    LANGUAGE sql IMMUTABLE ROWS 1 PARALLEL SAFE
    AS $$
    SELECT CASE WHEN r.sets IS NULL THEN '{}' ELSE jsonb_build_object('s', r.sets) END,
        CASE WHEN r.absent IS NULL AND r.olds IS NOT NULL THEN jsonb_build_object('s', r.olds)
             ELSE draftline.node(coalesce(r.olds, '{}'), coalesce(r.absent, '{}'), '{}') END,
        coalesce(r.fields, '{}')
    FROM (
        SELECT jsonb_object_agg(e.key, e.value) AS sets,
            jsonb_object_agg(e.key, basis -> e.key) FILTER (WHERE basis ? e.key) AS olds,
            array_agg(e.key) FILTER (WHERE NOT basis ? e.key) AS absent,
            array_agg(e.key) FILTER (WHERE content -> e.key IS DISTINCT FROM e.value) AS fields
        FROM jsonb_each(sets) AS e
        WHERE basis -> e.key IS DISTINCT FROM e.value OR content -> e.key IS DISTINCT FROM e.value
    ) AS r
$$;

CREATE FUNCTION draftline.rebuilt_answer(tenant text, of_user text, of_request uuid, of_collection text, of_record text) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN (SELECT draftline.answer(r.collection, r.record_id, a.content, q.version,
            CASE WHEN p.attributes IS NULL THEN r.parent_id ELSE p.attributes -> 'parent_id' ->> 0 END,
            CASE WHEN s.attributes IS NULL THEN r.position ELSE (s.attributes -> 'position' ->> 0)::bigint END,
            r.created_at, r.created_by,
            coalesce(c.created_at, (q.answer ->> 'updated_at')::timestamptz),
            coalesce(c.user_id, q.answer ->> 'updated_by'),
            CASE WHEN c.kind = 'DELETE' THEN c.created_at END)
        || CASE WHEN c.source = 'PATCH_CONTENT' THEN jsonb_build_object('changed_fields',
                CASE WHEN c.kind <> 'UPDATE' THEN draftline.changed_fields('{}', coalesce(a.content, '{}'))
                     ELSE draftline.edited_fields(c.edit) END)
            ELSE '{}' END
    FROM draftline.request AS q
    JOIN draftline.record AS r ON r.tenant_id = tenant AND r.collection = of_collection
        AND r.record_id = coalesce(q.answer ->> 'record_id', of_record)
    LEFT JOIN draftline.change AS c ON c.tenant_id = tenant AND c.collection = r.collection AND c.record_id = r.record_id
        AND c.version = q.version AND c.kind <> 'DRAFT' AND c.request_id = q.request_id
    CROSS JOIN LATERAL (
        SELECT CASE WHEN r.version = q.version THEN r.content
            ELSE draftline.content_at(tenant, r.collection, r.record_id, q.version) END AS content
    ) AS a
    LEFT JOIN LATERAL (
        SELECT l.attributes FROM draftline.change AS l
        WHERE l.tenant_id = tenant AND l.collection = r.collection AND l.record_id = r.record_id
          AND l.version > q.version AND l.kind <> 'DRAFT' AND l.attributes ? 'parent_id'
        ORDER BY l.version LIMIT 1
    ) AS p ON true
    LEFT JOIN LATERAL (
        SELECT l.attributes FROM draftline.change AS l
        WHERE l.tenant_id = tenant AND l.collection = r.collection AND l.record_id = r.record_id
          AND l.version > q.version AND l.kind <> 'DRAFT' AND l.attributes ? 'position'
        ORDER BY l.version LIMIT 1
    ) AS s ON true
    WHERE q.tenant_id = tenant AND q.user_id = of_user AND q.request_id = of_request
      -- Versions start again at 1 after a purge: the request id or the time of creation identifies the record.
      AND (c.version IS NOT NULL OR r.created_at = (q.answer ->> 'created_at')::timestamptz));
END $$;

CREATE FUNCTION draftline.refresh_drafts(tenant text, collections text[], record_ids text[], contents jsonb[], olds jsonb[] DEFAULT NULL::jsonb[], operations jsonb[] DEFAULT NULL::jsonb[], steps_done jsonb[] DEFAULT NULL::jsonb[]) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
DECLARE
    refreshed record;
BEGIN
    WITH stale AS MATERIALIZED (
        SELECT d.*, p.content, p.old, p.operations, p.steps
        FROM (
            SELECT p.*
            FROM unnest(collections, record_ids, contents, olds, operations, steps_done)
                AS p (collection, record_id, content, old, operations, steps)
            ORDER BY p.collection COLLATE "C", p.record_id COLLATE "C"
        ) AS p
        CROSS JOIN LATERAL (
            SELECT d.* FROM draftline.draft AS d
            WHERE d.tenant_id = tenant AND d.collection = p.collection AND d.record_id = p.record_id
              AND d.kind <> 'CREATE'
            ORDER BY d.user_id
            FOR UPDATE
        ) AS d
    ), done AS MATERIALIZED (
        -- Once for each record, and only if a draft needs it.
        SELECT o.collection, o.record_id, draftline.steps_done_by(o.operations, o.old, o.content) AS steps
        FROM (
            SELECT DISTINCT ON (s.collection, s.record_id) s.collection, s.record_id, s.operations, s.old, s.content
            FROM stale AS s
            WHERE s.operations IS NOT NULL AND draftline.has_transforms(s.edit)
        ) AS o
    ), followed AS MATERIALIZED (
        SELECT s.*, draftline.apply_edit(s.edit, s.content) AS new_merged,
            draftline.follow(s.base, s.edit, coalesce(s.steps, o.steps)) AS new_base
        FROM stale AS s
        LEFT JOIN done AS o ON o.collection = s.collection AND o.record_id = s.record_id
    ), updated AS (
        -- Each draft is locked, so each row conflicts with it; unlike a join, this finds it by its key under any plan.
        INSERT INTO draftline.draft (tenant_id, user_id, collection, record_id, kind, edit, base, base_version, merged,
            attributes, version, session_id, change_reason, created_at, updated_at, definition_version)
        SELECT tenant, f.user_id, f.collection, f.record_id, f.kind, f.edit, f.new_base, f.base_version, f.new_merged,
            f.attributes, f.version, f.session_id, f.change_reason, f.created_at, f.updated_at, f.definition_version
        FROM followed AS f
        ON CONFLICT (tenant_id, user_id, collection, record_id) DO UPDATE
        SET merged = EXCLUDED.merged, base = EXCLUDED.base
    )
    SELECT count(*) AS count, array_agg(f.user_id) AS user_ids, array_agg(f.collection) AS collections,
        array_agg(f.record_id) AS record_ids, array_agg(f.kind) AS kinds, array_agg(f.merged) AS olds,
        array_agg(f.new_merged) AS news
    INTO refreshed
    FROM followed AS f;
    IF refreshed.count > 0 THEN
        PERFORM draftline.move_draft_order_entries(tenant, refreshed.user_ids, refreshed.collections,
            refreshed.record_ids, refreshed.olds, refreshed.news);
        IF EXISTS (SELECT FROM draftline.statistic AS q WHERE q.tenant_id = tenant
                AND q.collection = ANY (refreshed.collections) AND q.state IN ('BUILDING', 'READY')) THEN
            -- The write of the records tallies what they contribute.
            PERFORM draftline.tally_drafts(tenant, refreshed.user_ids, refreshed.collections, refreshed.kinds,
                refreshed.olds, refreshed.kinds, refreshed.news, array_fill(NULL::jsonb, ARRAY[refreshed.count::int]));
        END IF;
    END IF;
    RETURN refreshed.count;
END $$;

CREATE FUNCTION draftline.related_ids(content jsonb, path text[]) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY path LOOP
        content := content -> name;
    END LOOP;
    IF jsonb_typeof(content) = 'string' THEN
        RETURN CASE WHEN length(content #>> '{}') BETWEEN 1 AND 128 THEN ARRAY[content #>> '{}'] ELSE '{}' END;
    ELSIF coalesce(jsonb_typeof(content), 'null') <> 'array' THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(
        SELECT i.id
        FROM (
            SELECT e.value #>> '{}' AS id, min(e.index) AS index
            FROM jsonb_array_elements(content) WITH ORDINALITY AS e (value, index)
            WHERE jsonb_typeof(e.value) = 'string' AND length(e.value #>> '{}') BETWEEN 1 AND 128
            GROUP BY e.value #>> '{}'
        ) AS i
        ORDER BY i.index);
END $$;

CREATE FUNCTION draftline.relation_orders(relations jsonb) RETURNS SETOF jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT DISTINCT jsonb_build_array(jsonb_build_object('path', r.value -> 'path', 'type', 'ID', 'descending', false))
    FROM jsonb_array_elements(relations) AS r
    WHERE r.value ->> 'inverse' <> '' OR r.value ->> 'on_delete' = 'RESTRICT'
$$;

CREATE FUNCTION draftline.relation_path(keys jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(SELECT p.name FROM jsonb_array_elements_text((relation_path.keys #> '{0,path}'::text[])) WITH ORDINALITY p(name, index) ORDER BY p.index);

CREATE FUNCTION draftline.resolve(document jsonb, path text[]) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    token text;
BEGIN
    FOREACH token IN ARRAY path LOOP
        document := CASE jsonb_typeof(document)
            WHEN 'object' THEN document -> token
            WHEN 'array' THEN CASE WHEN draftline.is_index(token) THEN document -> token::int END
        END;
        EXIT WHEN document IS NULL;
    END LOOP;
    RETURN document;
END $$;

CREATE FUNCTION draftline.restore(base jsonb, content jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN base = '{}' THEN content ELSE coalesce(base -> 'v', draftline.restore_node(base, content)) END
$$;

CREATE FUNCTION draftline.restore_node(base jsonb, content jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    restored jsonb := CASE WHEN jsonb_typeof(content) = 'object' THEN content ELSE '{}' END;
    child record;
    inner_value jsonb;
BEGIN
    IF base ? 'r' THEN
        restored := restored - ARRAY(SELECT jsonb_array_elements_text(base -> 'r'));
    END IF;
    restored := restored || coalesce(base -> 's', '{}');
    IF base ? 'm' THEN
        FOR child IN SELECT key, value FROM jsonb_each(base -> 'm') LOOP
            inner_value := draftline.restore_node(child.value, restored -> child.key);
            restored := CASE WHEN inner_value IS NULL THEN restored - child.key
                ELSE restored || jsonb_build_object(child.key, inner_value) END;
        END LOOP;
    END IF;
    RETURN CASE WHEN base ? 'n' AND restored = '{}' THEN NULL ELSE restored END;
END $$;

CREATE FUNCTION draftline.revives(allow_deleted boolean, action text, is_deleted boolean, kind text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT allow_deleted AND is_deleted AND action <> 'DELETE' AND kind IS DISTINCT FROM 'CREATE'
        AND (action = 'CREATE' OR kind IS DISTINCT FROM 'DELETE')
$$;

CREATE FUNCTION draftline.seen_basis(step jsonb, edited jsonb, basis jsonb, content jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    result jsonb := CASE WHEN jsonb_typeof(basis) = 'object' THEN basis ELSE '{}' END;
    name text;
BEGIN
    IF step IS NULL THEN
        RETURN basis;
    ELSIF step ? 'v' OR edited IS NULL OR edited ? 'v' OR jsonb_typeof(content) IS DISTINCT FROM 'object' THEN
        RETURN content;
    END IF;
    FOR name IN
        SELECT jsonb_object_keys(step -> 's') UNION ALL SELECT jsonb_array_elements_text(step -> 'r')
        UNION ALL SELECT jsonb_object_keys(step -> 't')
    LOOP
        result := draftline.put_value(result, ARRAY[name], content -> name);
    END LOOP;
    FOR name IN SELECT jsonb_object_keys(step -> 'm') LOOP
        result := draftline.put_value(result, ARRAY[name], draftline.seen_basis(
            step -> 'm' -> name, edited -> 'm' -> name, basis -> name, content -> name));
    END LOOP;
    RETURN result;
END $$;

CREATE FUNCTION draftline.settle(edit jsonb, base jsonb, content jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE
        WHEN NOT edit ? 'v' THEN draftline.apply_node(draftline.settle_node(edit, base, content), content)
        WHEN draftline.differ(base -> 'v', edit -> 'v', content) THEN content
        ELSE edit -> 'v'
    END
$$;

CREATE FUNCTION draftline.settle_node(node jsonb, base jsonb, content jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    lost text[] := ARRAY(
        SELECT k FROM draftline.leaf_keys(node) AS k
        WHERE draftline.differ(base -> 's' -> k, node -> 's' -> k, content -> k)
        UNION ALL
        SELECT t.key FROM jsonb_each(node -> 't') AS t
        WHERE draftline.steps_differ(t.value, base -> 's' -> t.key, content -> t.key));
BEGIN
    RETURN draftline.node(
        coalesce(node -> 's', '{}') - lost,
        ARRAY(SELECT k FROM jsonb_array_elements_text(coalesce(node -> 'r', '[]')) AS k WHERE k <> ALL (lost)),
        coalesce((
            SELECT jsonb_object_agg(m.key,
                draftline.settle_node(m.value, base -> 'm' -> m.key, content -> m.key))
            FROM jsonb_each(node -> 'm') AS m
            WHERE NOT draftline.parent_differs(m.value, base -> 'm' -> m.key, content -> m.key)), '{}'),
        coalesce(node -> 't', '{}') - lost,
        false);
END $$;

CREATE FUNCTION draftline.steps_at(path text[], steps jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN cardinality(path) = 1 THEN jsonb_build_object('t', jsonb_build_object(path[1], steps))
        ELSE jsonb_build_object('m', jsonb_build_object(path[1], draftline.steps_at(path[2:], steps))) END
$$;

CREATE FUNCTION draftline.steps_differ(steps jsonb, base jsonb, theirs jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT base IS DISTINCT FROM theirs AND draftline.transform(steps, theirs) IS DISTINCT FROM theirs
$$;

CREATE FUNCTION draftline.steps_done(edit jsonb, old jsonb, new jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    steps jsonb;
    merges jsonb;
BEGIN
    IF NOT draftline.has_transforms(edit) THEN
        RETURN NULL;
    END IF;
    steps := (SELECT jsonb_object_agg(t.key, t.value) FROM jsonb_each(edit -> 't') AS t
              WHERE draftline.transform(t.value, old -> t.key) IS NOT DISTINCT FROM new -> t.key);
    merges := (SELECT jsonb_object_agg(m.key, m.done)
               FROM (SELECT m.key, draftline.steps_done(m.value, old -> m.key, new -> m.key) AS done
                     FROM jsonb_each(edit -> 'm') AS m OFFSET 0) AS m
               WHERE m.done IS NOT NULL);
    RETURN nullif(draftline.node('{}', '{}', coalesce(merges, '{}'), coalesce(steps, '{}'), false), '{}');
END $$;

CREATE FUNCTION draftline.steps_done_by(operations jsonb, old jsonb, new jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM jsonb_array_elements(operations) AS o WHERE draftline.is_transform(o))
        THEN draftline.steps_done((draftline.edit_of_operations(old, operations, 268435456, 10000)).content, old, new)
    END
$$;

CREATE FUNCTION draftline.steps_of(op text, value jsonb, target jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    items jsonb;
BEGIN
    IF op = 'increment' THEN
        RETURN CASE WHEN target IS NULL OR value <> '0'
            THEN jsonb_build_array(jsonb_build_object('increment', value)) END;
    END IF;
    items := draftline.array_union('[]', value);
    IF op = 'union' THEN
        items := draftline.array_subtract(items, coalesce(target, '[]'));
        RETURN CASE WHEN target IS NULL OR items <> '[]'
            THEN jsonb_build_array(jsonb_build_object('union', items)) END;
    END IF;
    items := draftline.array_subtract(items, draftline.array_subtract(items, coalesce(target, '[]')));
    RETURN CASE WHEN items <> '[]' THEN jsonb_build_array(jsonb_build_object('subtract', items)) END;
END $$;

CREATE FUNCTION draftline.steps_put(steps jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT NOT (steps -> -1) ? 'subtract'
$$;

CREATE FUNCTION draftline.sync_conflict(kind text, at text[], base jsonb, mine jsonb, theirs jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT draftline.conflict(kind, at, base, mine, theirs) || jsonb_build_object('at', to_jsonb(at))
$$;

CREATE FUNCTION draftline.sync_incoming(theirs jsonb, base jsonb, fields jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN fields IS NULL OR NOT fields @> '[{"direction": "PUSH"}]' THEN theirs
        ELSE draftline.sync_take(theirs, coalesce(base, '{}'), fields, 'PUSH') END
$$;

CREATE FUNCTION draftline.sync_is_applied(base jsonb, sent jsonb, theirs jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT draftline.apply_edit((draftline.difference(coalesce(base, '{}'), sent)).edit, theirs) = theirs
$$;

CREATE FUNCTION draftline.sync_is_older(version text, than text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $_$
    SELECT CASE WHEN version ~ '^[0-9]{1,100}$' AND than ~ '^[0-9]{1,100}$' THEN version::numeric < than::numeric
        ELSE version < than COLLATE "C" END
$_$;

CREATE FUNCTION draftline.sync_mapped(content jsonb, fields jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    IF fields IS NULL OR content IS NULL THEN
        RETURN content;
    END IF;
    RETURN draftline.sync_take('{}', content, fields, NULL);
END $$;

CREATE FUNCTION draftline.sync_merge(base jsonb, mine jsonb, theirs jsonb, policies jsonb, at text[]) RETURNS draftline.sync_merged
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    result draftline.sync_merged := (NULL, NULL, '[]', '[]');
    child draftline.sync_merged;
    name text;
BEGIN
    IF mine IS NOT DISTINCT FROM theirs THEN
        RETURN (mine, theirs, '[]', '[]')::draftline.sync_merged;
    ELSIF theirs IS NOT DISTINCT FROM base THEN
        RETURN (mine, base, '[]', '[]')::draftline.sync_merged;
    ELSIF mine IS NOT DISTINCT FROM base THEN
        RETURN (theirs, theirs, '[]', '[]')::draftline.sync_merged;
    ELSIF jsonb_typeof(mine) = 'object' AND jsonb_typeof(theirs) = 'object'
            AND coalesce(jsonb_typeof(base), 'object') = 'object' THEN
        result.value := '{}';
        result.base := '{}';
        FOR name IN
            SELECT k FROM jsonb_object_keys(coalesce(base, '{}') || mine || theirs) AS k ORDER BY k COLLATE "C"
        LOOP
            child := draftline.sync_merge(base -> name, mine -> name, theirs -> name, policies, at || name);
            IF child.value IS NOT NULL THEN
                result.value := result.value || jsonb_build_object(name, child.value);
            END IF;
            IF child.base IS NOT NULL THEN
                result.base := result.base || jsonb_build_object(name, child.base);
            END IF;
            result.conflicts := result.conflicts || child.conflicts;
            result.overruled := result.overruled || child.overruled;
        END LOOP;
        RETURN result;
    END IF;
    RETURN CASE draftline.sync_policy(at, policies)
        WHEN 'UPSTREAM_WINS' THEN (theirs, theirs, '[]',
            jsonb_build_array(draftline.sync_conflict('VALUE', at, base, mine, theirs)))::draftline.sync_merged
        WHEN 'LOCAL_WINS' THEN (mine, theirs, '[]', '[]')::draftline.sync_merged
        ELSE (mine, base, jsonb_build_array(draftline.sync_conflict('VALUE', at, base, mine, theirs)),
            '[]')::draftline.sync_merged
    END;
END $$;

CREATE FUNCTION draftline.sync_outgoing(mine jsonb, base jsonb, fields jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN fields IS NULL OR NOT fields @> '[{"direction": "PULL"}]' THEN mine
        ELSE draftline.sync_take(mine, coalesce(base, '{}'), fields, 'PULL') END
$$;

CREATE FUNCTION draftline.sync_policy(at text[], policies jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    chosen text := coalesce(policies ->> 'default', 'HOLD');
    chosen_length int := -1;
    rule jsonb;
    path text[];
    common int;
    below text[] := '{}';
BEGIN
    FOR rule IN SELECT r FROM jsonb_array_elements(coalesce(policies -> 'rules', '[]')) AS r LOOP
        path := ARRAY(SELECT jsonb_array_elements_text(rule -> 'path'));
        common := least(cardinality(path), cardinality(at));
        CONTINUE WHEN EXISTS (
            SELECT FROM generate_series(1, common) AS i
            WHERE path[i] <> at[i] AND (path[i] <> '*' OR rule -> 'exact' = 'true'));
        IF cardinality(path) > cardinality(at) THEN
            below := below || (rule ->> 'policy');
        ELSIF cardinality(path) > chosen_length THEN
            chosen := rule ->> 'policy';
            chosen_length := cardinality(path);
        END IF;
    END LOOP;
    RETURN CASE WHEN EXISTS (SELECT FROM unnest(below) AS b WHERE b <> chosen) THEN 'HOLD' ELSE chosen END;
END $$;

CREATE FUNCTION draftline.sync_put_side(document jsonb, conflicts jsonb, side text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    result jsonb := document;
    conflict jsonb;
BEGIN
    FOR conflict IN SELECT c FROM jsonb_array_elements(conflicts) AS c LOOP
        result := draftline.put_value(result, ARRAY(SELECT jsonb_array_elements_text(conflict -> 'at')), conflict -> side);
    END LOOP;
    RETURN result;
END $$;

CREATE FUNCTION draftline.sync_take(document jsonb, source jsonb, fields jsonb, of_direction text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    result jsonb := document;
    field jsonb;
    path text[];
    value jsonb;
BEGIN
    FOR field IN SELECT f FROM jsonb_array_elements(fields) AS f
        WHERE of_direction IS NULL OR f ->> 'direction' = of_direction
    LOOP
        path := ARRAY(SELECT jsonb_array_elements_text(field -> 'path'));
        value := draftline.member_at(source, path);
        IF value IS NOT NULL AND EXISTS (
            SELECT FROM generate_series(1, cardinality(path) - 1) AS i
            WHERE coalesce(jsonb_typeof(draftline.member_at(result, path[1:i])), 'object') <> 'object') THEN
            RETURN NULL;
        END IF;
        result := draftline.put_value(result, path, value);
    END LOOP;
    RETURN result;
END $$;

CREATE FUNCTION draftline.tally_drafts(tenant text, user_ids text[], collections text[], old_kinds text[], olds jsonb[], new_kinds text[], news jsonb[], lives jsonb[]) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
DECLARE
    changed record;
BEGIN
    SELECT array_agg(d.collection) AS collections, array_agg(d.user_id) AS user_ids,
        array_agg(CASE WHEN d.old_kind <> 'DELETE' THEN d.old END) AS olds,
        array_agg(CASE WHEN d.new_kind <> 'DELETE' THEN d.new END) AS news,
        array_agg(CASE WHEN coalesce(d.old_kind, 'CREATE') <> 'CREATE' THEN d.live END) AS shown_lives,
        array_agg(CASE WHEN coalesce(d.new_kind, 'CREATE') <> 'CREATE' THEN d.live END) AS hidden_lives,
        array_agg(1) AS signs, array_agg(-1) AS opposites
    INTO changed
    FROM unnest(user_ids, collections, old_kinds, olds, new_kinds, news, lives)
        AS d (user_id, collection, old_kind, old, new_kind, new, live);
    RETURN draftline.append_tally(tenant,
        changed.collections || changed.collections || changed.collections || changed.collections,
        changed.user_ids || changed.user_ids || changed.user_ids || changed.user_ids,
        changed.olds || changed.news || changed.shown_lives || changed.hidden_lives,
        changed.opposites || changed.signs || changed.signs || changed.opposites);
END $$;

CREATE FUNCTION draftline.tally_records(tenant text, collections text[], record_ids text[], befores jsonb[], afters jsonb[], excepts text[]) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
DECLARE
    changed record;
BEGIN
    WITH written AS (
        SELECT p.collection, p.record_id, p.before, p.after, p.except_id
        FROM unnest(collections, record_ids, befores, afters, excepts)
            AS p (collection, record_id, before, after, except_id)
    ), owners AS (
        SELECT w.collection, '' AS user_id, w.before, w.after, 1 AS sign FROM written AS w
        UNION ALL
        SELECT w.collection, d.user_id, w.before, w.after, -1
        FROM written AS w
        CROSS JOIN LATERAL (  -- a look-up by key for each record, whatever the planner knows of the table
            SELECT d.user_id FROM draftline.draft AS d
            WHERE d.tenant_id = tenant AND d.collection = w.collection AND d.record_id = w.record_id
              AND d.kind <> 'CREATE' AND d.user_id IS DISTINCT FROM w.except_id
            OFFSET 0
        ) AS d
    )
    SELECT array_agg(o.collection) AS collections, array_agg(o.user_id) AS user_ids,
        array_agg(o.before) AS befores, array_agg(o.after) AS afters, array_agg(o.sign) AS signs,
        array_agg(-o.sign) AS opposites
    INTO changed
    FROM owners AS o;
    RETURN draftline.append_tally(tenant, changed.collections || changed.collections,
        changed.user_ids || changed.user_ids, changed.befores || changed.afters, changed.opposites || changed.signs);
END $$;

CREATE FUNCTION draftline.timestamp_at(content jsonb, path text[]) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN draftline.read_timestamp(draftline.text_at(content, path));

CREATE FUNCTION draftline.too_large(what text, maximum integer) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT jsonb_build_object('reason', 'DOCUMENT_TOO_LARGE', 'what', what, 'limit', maximum)
$$;

CREATE FUNCTION draftline.touches(edit jsonb, path text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE
        WHEN edit IS NULL THEN false
        WHEN edit ? 'v' OR cardinality(path) = 0 THEN edit <> '{}'
        ELSE coalesce(edit -> 's' ? path[1], false) OR coalesce(edit -> 'r' ? path[1], false)
            OR draftline.touches(edit -> 'm' -> path[1], path[2:])
    END
$$;

CREATE FUNCTION draftline.transform(steps jsonb, target jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    step jsonb;
BEGIN
    FOR step IN SELECT s FROM jsonb_array_elements(steps) AS s LOOP
        IF step ? 'increment' THEN
            target := CASE WHEN jsonb_typeof(target) = 'number'
                THEN to_jsonb(target::numeric + (step -> 'increment')::numeric) ELSE step -> 'increment' END;
            CONTINUE;
        ELSIF jsonb_typeof(target) <> 'array' THEN
            target := '[]';
        END IF;
        target := CASE
            WHEN step ? 'union' THEN draftline.array_union(coalesce(target, '[]'), step -> 'union')
            WHEN step ? 'append' THEN coalesce(target, '[]') || (step -> 'append')
            WHEN target IS NOT NULL THEN draftline.array_subtract(target, step -> 'subtract')
        END;
    END LOOP;
    RETURN target;
END $$;

CREATE FUNCTION draftline.with_drafts(tenant text, collections text[], record_ids text[], indexes bigint[]) RETURNS bigint[]
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN ARRAY(
        SELECT p.index FROM unnest(collections, record_ids, indexes) AS p (collection, record_id, index)
        WHERE (SELECT true FROM draftline.draft AS d
            WHERE d.tenant_id = tenant AND d.collection = p.collection AND d.record_id = p.record_id AND d.kind <> 'CREATE'
            LIMIT 1));
END $$;

CREATE FUNCTION draftline.with_items(added jsonb[], name text, items jsonb) RETURNS jsonb[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    last int := cardinality(added);
    step jsonb;
BEGIN
    IF name = 'union' THEN
        items := draftline.array_union('[]', items);
        FOREACH step IN ARRAY added LOOP
            items := draftline.array_subtract(items, coalesce(step -> 'union', step -> 'append'));
        END LOOP;
    ELSIF items = '[]' THEN
        name := 'union';
    END IF;
    IF last = 0 OR added[last] = '{"union": []}' THEN
        RETURN added[:last - 1] || jsonb_build_object(name, items);
    ELSIF items = '[]' THEN
        RETURN added;
    ELSIF added[last] ? name THEN
        RETURN added[:last - 1] || jsonb_build_object(name, (added[last] -> name) || items);
    END IF;
    RETURN added || jsonb_build_object(name, items);
END $$;

CREATE FUNCTION draftline.with_key(node jsonb, key text, member text, value jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    found jsonb := node;
    name text;
BEGIN
    FOREACH name IN ARRAY '{s,r,m,t}'::text[] LOOP
        IF found -> name ? key THEN
            found := CASE WHEN (found -> name) - key IN ('{}', '[]') THEN found - name
                ELSE jsonb_set(found, ARRAY[name], (found -> name) - key) END;
        END IF;
    END LOOP;
    IF value IS NULL THEN
        RETURN found || jsonb_build_object('r', coalesce(found -> 'r', '[]') || to_jsonb(key));
    END IF;
    RETURN found || jsonb_build_object(member, coalesce(found -> member, '{}') || jsonb_build_object(key, value));
END $$;

CREATE FUNCTION draftline.without_items(added jsonb[], items jsonb) RETURNS jsonb[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    step jsonb;
    name text;
    kept jsonb[] := '{}';
BEGIN
    FOREACH step IN ARRAY added LOOP
        name := (SELECT jsonb_object_keys(step));
        kept := draftline.with_items(kept, name, draftline.array_subtract(step -> name, items));
    END LOOP;
    RETURN kept;
END $$;

CREATE FUNCTION draftline.without_values(edit jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT draftline.node(
        coalesce((SELECT jsonb_object_agg(k, 'null'::jsonb) FROM jsonb_object_keys(edit -> 's') AS k), '{}'),
        ARRAY(SELECT jsonb_array_elements_text(edit -> 'r')),
        coalesce((SELECT jsonb_object_agg(m.key, draftline.without_values(m.value))
                  FROM jsonb_each(edit -> 'm') AS m), '{}'))
$$;

CREATE TABLE draftline.alembic_version (
    version_num character varying(32) NOT NULL
);

COMMENT ON TABLE draftline.alembic_version IS 'revision 0031, for services of 0025 and later';

CREATE SEQUENCE draftline.change_id
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE draftline.change (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    log_xact bigint NOT NULL,
    change_id bigint DEFAULT nextval('draftline.change_id'::regclass) NOT NULL,
    collection text NOT NULL COLLATE pg_catalog."C",
    record_id text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    kind text NOT NULL,
    source text NOT NULL,
    edit jsonb,
    base jsonb,
    attributes jsonb,
    user_id text NOT NULL COLLATE pg_catalog."C",
    session_id text NOT NULL COLLATE pg_catalog."C",
    commit_id uuid,
    change_reason text NOT NULL,
    request_id uuid,
    created_at timestamp with time zone NOT NULL,
    snapshot jsonb,
    CONSTRAINT change_kind_check CHECK ((kind = ANY (ARRAY['CREATE'::text, 'UPDATE'::text, 'DELETE'::text, 'UNDELETE'::text, 'DRAFT'::text, 'PURGE'::text])))
)
PARTITION BY RANGE (created_at);

COMMENT ON TABLE draftline.change IS 'The log of all changes of records, with a notice of each draft saved or removed.';

COMMENT ON COLUMN draftline.change.log_xact IS 'the greatest transaction number of this and all earlier changes of its record';

COMMENT ON COLUMN draftline.change.version IS 'the version of the record after the change; 0 for a draft; 0 or less for a purge, one less each time, because versions start again at 1 after it';

COMMENT ON COLUMN draftline.change.kind IS 'DRAFT: a draft was saved or removed, which only its user may see. PURGE: the record and its changes were removed';

COMMENT ON COLUMN draftline.change.source IS 'the rpc that wrote it';

COMMENT ON COLUMN draftline.change.edit IS 'the edit that turns the content before into the content after; NULL for a creation, whose content is not stored twice';

COMMENT ON COLUMN draftline.change.base IS 'the edit that turns the content after into the content before; NULL: not stored';

COMMENT ON COLUMN draftline.change.attributes IS '{"parent_id": [old, new], "position": [old, new]}, without those that did not change';

COMMENT ON COLUMN draftline.change.session_id IS 'empty: none';

COMMENT ON COLUMN draftline.change.change_reason IS 'empty: none';

COMMENT ON COLUMN draftline.change.snapshot IS 'the whole content before the change, stored if draftline.keeps_snapshot(version)';

CREATE TABLE draftline.change_default (
    tenant_id text CONSTRAINT change_tenant_id_not_null NOT NULL COLLATE pg_catalog."C",
    log_xact bigint CONSTRAINT change_log_xact_not_null NOT NULL,
    change_id bigint DEFAULT nextval('draftline.change_id'::regclass) CONSTRAINT change_change_id_not_null NOT NULL,
    collection text CONSTRAINT change_collection_not_null NOT NULL COLLATE pg_catalog."C",
    record_id text CONSTRAINT change_record_id_not_null NOT NULL COLLATE pg_catalog."C",
    version bigint CONSTRAINT change_version_not_null NOT NULL,
    kind text CONSTRAINT change_kind_not_null NOT NULL,
    source text CONSTRAINT change_source_not_null NOT NULL,
    edit jsonb,
    base jsonb,
    attributes jsonb,
    user_id text CONSTRAINT change_user_id_not_null NOT NULL COLLATE pg_catalog."C",
    session_id text CONSTRAINT change_session_id_not_null NOT NULL COLLATE pg_catalog."C",
    commit_id uuid,
    change_reason text CONSTRAINT change_change_reason_not_null NOT NULL,
    request_id uuid,
    created_at timestamp with time zone CONSTRAINT change_created_at_not_null NOT NULL,
    snapshot jsonb,
    CONSTRAINT change_kind_check CHECK ((kind = ANY (ARRAY['CREATE'::text, 'UPDATE'::text, 'DELETE'::text, 'UNDELETE'::text, 'DRAFT'::text, 'PURGE'::text])))
);

CREATE TABLE draftline.change_log (
    only_row boolean DEFAULT true NOT NULL,
    dropped_xact bigint NOT NULL,
    dropped_id bigint NOT NULL,
    cluster bigint NOT NULL,
    horizon bigint NOT NULL,
    xact_offset bigint NOT NULL,
    CONSTRAINT change_log_only_row_check CHECK (only_row)
);

COMMENT ON TABLE draftline.change_log IS 'The state of the log as a whole; one row.';

COMMENT ON COLUMN draftline.change_log.dropped_xact IS 'with dropped_id: the log position of the last entry that was dropped';

COMMENT ON COLUMN draftline.change_log.cluster IS 'the system_identifier of PostgreSQL at the last maintenance of the log';

COMMENT ON COLUMN draftline.change_log.horizon IS 'draftline.log_horizon() at the last maintenance of the log';

COMMENT ON COLUMN draftline.change_log.xact_offset IS 'added to transaction numbers since the log moved to another cluster';

CREATE TABLE draftline.collection (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    collection text NOT NULL COLLATE pg_catalog."C",
    fields jsonb NOT NULL,
    orders jsonb NOT NULL,
    indexed_text jsonb NOT NULL,
    json_schema text NOT NULL,
    version bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    history text DEFAULT 'VALUES'::text NOT NULL,
    statistics jsonb DEFAULT '[]'::jsonb NOT NULL,
    relations jsonb DEFAULT '[]'::jsonb NOT NULL,
    upstream text COLLATE pg_catalog."C",
    CONSTRAINT collection_history_check CHECK ((history = ANY (ARRAY['VALUES'::text, 'PATHS'::text])))
);

COMMENT ON TABLE draftline.collection IS 'The collection specs; a collection works without one.';

COMMENT ON COLUMN draftline.collection.fields IS '[{"path": [tokens], "type": "TEXT"}], with "on_type_mismatch": "REFUSE" if the spec sets it';

COMMENT ON COLUMN draftline.collection.orders IS '[[{"path": [tokens], "descending": false}]]';

COMMENT ON COLUMN draftline.collection.indexed_text IS 'the checks of each write: {"path": [tokens], "type": "DATE"} for a field that rejects other types, [tokens] for the length of a TEXT field';

COMMENT ON COLUMN draftline.collection.json_schema IS 'empty: none';

COMMENT ON COLUMN draftline.collection.history IS 'VALUES or PATHS';

COMMENT ON COLUMN draftline.collection.statistics IS '[{"name": "by genre", "keys": [{"path": [names], "type": "TEXT"}], "measures": [[names]]}]';

COMMENT ON COLUMN draftline.collection.relations IS '[{"name": "author", "path": [names], "collection": "people", "inverse": "films", "integrity": "NONE", "on_delete": "NONE"}]';

COMMENT ON COLUMN draftline.collection.upstream IS 'the sync that the collection belongs to; NULL: none';

CREATE TABLE draftline.collection_order (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    collection text NOT NULL COLLATE pg_catalog."C",
    order_id bigint NOT NULL,
    keys jsonb NOT NULL,
    fields text[] NOT NULL,
    state text DEFAULT 'BUILDING'::text NOT NULL,
    record_filled_to text COLLATE pg_catalog."C",
    draft_filled_to text COLLATE pg_catalog."C",
    record_count bigint DEFAULT 0 NOT NULL,
    draft_count bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    ready_at timestamp with time zone,
    dropped_at timestamp with time zone,
    record_total bigint DEFAULT 0 NOT NULL,
    log_xact bigint,
    begun_to text COLLATE pg_catalog."C",
    CONSTRAINT collection_order_state_check CHECK ((state = ANY (ARRAY['BUILDING'::text, 'READY'::text, 'DROPPING'::text, 'DELETING'::text])))
);

COMMENT ON TABLE draftline.collection_order IS 'The orders of collections that are kept as entries.';

COMMENT ON COLUMN draftline.collection_order.order_id IS 'never reused, not even after the order is dropped';

COMMENT ON COLUMN draftline.collection_order.keys IS '[{"path": [names], "type": "TEXT", "descending": false}]; type ID: a relation, with an entry for each id that it names';

COMMENT ON COLUMN draftline.collection_order.fields IS 'the top-level fields of the content that the keys read';

COMMENT ON COLUMN draftline.collection_order.state IS 'BUILDING: writes keep its entries, earlier ones are being added; READY: its entries are complete; DROPPING: no longer declared, writes keep its entries while lists may read them; DELETING: its entries are being deleted';

COMMENT ON COLUMN draftline.collection_order.record_filled_to IS 'while BUILDING: the entries of live records up to this record_id exist; NULL: none yet';

COMMENT ON COLUMN draftline.collection_order.draft_filled_to IS 'while BUILDING: the entries of all live records, and of drafts of records up to this record_id, exist; NULL: not all of the records yet';

COMMENT ON COLUMN draftline.collection_order.record_count IS 'records that the background job has read so far';

COMMENT ON COLUMN draftline.collection_order.draft_count IS 'drafts that the background job has read so far';

COMMENT ON COLUMN draftline.collection_order.dropped_at IS 'when the collection spec stopped declaring it';

COMMENT ON COLUMN draftline.collection_order.record_total IS 'records that existed when the build began; 0: not counted';

COMMENT ON COLUMN draftline.collection_order.log_xact IS 'the log horizon when the order was declared: a record with a lower log_xact has not changed since; NULL: unknown, the build must lock the records';

COMMENT ON COLUMN draftline.collection_order.begun_to IS 'entries of records up to this record_id may have been added without locking the records, and are to be verified; NULL: none';

CREATE TABLE draftline.draft (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    collection text NOT NULL COLLATE pg_catalog."C",
    record_id text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL,
    edit jsonb NOT NULL,
    base jsonb NOT NULL,
    base_version bigint NOT NULL,
    merged jsonb NOT NULL,
    version bigint NOT NULL,
    session_id text NOT NULL COLLATE pg_catalog."C",
    change_reason text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    definition_version bigint,
    attributes jsonb,
    CONSTRAINT draft_kind_check CHECK ((kind = ANY (ARRAY['CHANGE'::text, 'CREATE'::text, 'DELETE'::text]))),
    CONSTRAINT draft_merged_check CHECK ((jsonb_typeof(merged) = 'object'::text)),
    CONSTRAINT draft_version_check CHECK ((version > 0))
)
WITH (fillfactor='90');
ALTER TABLE ONLY draftline.draft ALTER COLUMN tenant_id SET (n_distinct=1);
ALTER TABLE ONLY draftline.draft ALTER COLUMN user_id SET (n_distinct=2);
ALTER TABLE ONLY draftline.draft ALTER COLUMN collection SET (n_distinct=1);
ALTER TABLE ONLY draftline.draft ALTER COLUMN record_id SET (n_distinct=-1);

COMMENT ON TABLE draftline.draft IS 'One user''s pending edit of one record.';

COMMENT ON COLUMN draftline.draft.edit IS 'the edit; migrations/functions/edits.sql defines its format';

COMMENT ON COLUMN draftline.draft.base IS 'the edit that restores the values that the record had at the edited paths';

COMMENT ON COLUMN draftline.draft.base_version IS 'the version of the record when the draft was first saved; 0: there was no record';

COMMENT ON COLUMN draftline.draft.merged IS 'the edit applied to the current content of the record';

COMMENT ON COLUMN draftline.draft.session_id IS 'empty: none';

COMMENT ON COLUMN draftline.draft.change_reason IS 'empty: none';

COMMENT ON COLUMN draftline.draft.definition_version IS 'the version of the collection spec that validated the draft when it was saved; NULL: unknown';

COMMENT ON COLUMN draftline.draft.attributes IS 'the attributes that the draft sets, each with its base: {"parent_id": [base, mine]}; of a deletion the base alone: {"parent_id": [base]}; NULL: none';

CREATE TABLE draftline.draft_order_entry (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    collection text NOT NULL COLLATE pg_catalog."C",
    order_id bigint NOT NULL,
    key bytea NOT NULL,
    record_id text NOT NULL COLLATE pg_catalog."C"
);
ALTER TABLE ONLY draftline.draft_order_entry ALTER COLUMN tenant_id SET (n_distinct=1);
ALTER TABLE ONLY draftline.draft_order_entry ALTER COLUMN user_id SET (n_distinct=1);
ALTER TABLE ONLY draftline.draft_order_entry ALTER COLUMN collection SET (n_distinct=1);
ALTER TABLE ONLY draftline.draft_order_entry ALTER COLUMN order_id SET (n_distinct=1);
ALTER TABLE ONLY draftline.draft_order_entry ALTER COLUMN key SET (n_distinct=-1);
ALTER TABLE ONLY draftline.draft_order_entry ALTER COLUMN record_id SET (n_distinct=-1);

COMMENT ON TABLE draftline.draft_order_entry IS 'One row for each draft and each order of its collection, unless it is too long for order_entry_fits(); of a relation one for each id.';

COMMENT ON COLUMN draftline.draft_order_entry.key IS 'draftline.order_key() of the merged content and the order''s keys; of a relation an id, in UTF-8';

CREATE TABLE draftline.order_entry (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    collection text NOT NULL COLLATE pg_catalog."C",
    order_id bigint NOT NULL,
    key bytea NOT NULL,
    record_id text NOT NULL COLLATE pg_catalog."C"
);
ALTER TABLE ONLY draftline.order_entry ALTER COLUMN tenant_id SET (n_distinct=1);
ALTER TABLE ONLY draftline.order_entry ALTER COLUMN collection SET (n_distinct=1);
ALTER TABLE ONLY draftline.order_entry ALTER COLUMN order_id SET (n_distinct=1);
ALTER TABLE ONLY draftline.order_entry ALTER COLUMN key SET (n_distinct=-1);
ALTER TABLE ONLY draftline.order_entry ALTER COLUMN record_id SET (n_distinct=-1);

COMMENT ON TABLE draftline.order_entry IS 'One row for each live record and each order of its collection, unless it is too long for order_entry_fits(); of a relation one for each id.';

COMMENT ON COLUMN draftline.order_entry.key IS 'draftline.order_key() of the content and the order''s keys; of a relation an id, in UTF-8';

CREATE SEQUENCE draftline.order_id
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE draftline.order_id OWNED BY draftline.collection_order.order_id;

CREATE TABLE draftline.partition_switch (
    only_row boolean DEFAULT true NOT NULL,
    phase text NOT NULL,
    modulus integer NOT NULL,
    tenants text[] NOT NULL,
    positions jsonb DEFAULT '{}'::jsonb NOT NULL,
    copied jsonb DEFAULT '{}'::jsonb NOT NULL,
    copied_xact bigint,
    verified jsonb,
    verified_at timestamp with time zone,
    started_at timestamp with time zone NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT partition_switch_only_row_check CHECK (only_row),
    CONSTRAINT partition_switch_phase_check CHECK ((phase = ANY (ARRAY['CREATED'::text, 'SYNCED'::text, 'COPIED'::text, 'SWITCHED'::text, 'DROPPING_COPY'::text, 'DROPPING_OLD'::text, 'DONE'::text])))
);

COMMENT ON TABLE draftline.partition_switch IS 'The state of a switchover to partitioned tables; one row, none before it begins.';

COMMENT ON COLUMN draftline.partition_switch.phase IS 'what is done: see `draftline partitions status`';

COMMENT ON COLUMN draftline.partition_switch.modulus IS 'how many partitions the tenants share that have none of their own';

COMMENT ON COLUMN draftline.partition_switch.tenants IS 'the tenants that get partitions of their own';

COMMENT ON COLUMN draftline.partition_switch.positions IS 'by table: the key of the last row that is copied, as texts, or "done"';

COMMENT ON COLUMN draftline.partition_switch.copied IS 'by table: rows that are copied';

COMMENT ON COLUMN draftline.partition_switch.copied_xact IS 'the transaction that completed the copy';

COMMENT ON COLUMN draftline.partition_switch.verified IS 'rows and checksums by table at the last verification that succeeded; NULL: none in this phase';

CREATE TABLE draftline.partition_switch_log (
    logged_at timestamp with time zone NOT NULL,
    event text NOT NULL,
    detail jsonb NOT NULL
);

COMMENT ON TABLE draftline.partition_switch_log IS 'The steps of switchovers, with rows and checksums.';

CREATE TABLE draftline.record (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    collection text NOT NULL COLLATE pg_catalog."C",
    record_id text NOT NULL COLLATE pg_catalog."C",
    content jsonb NOT NULL,
    version bigint NOT NULL,
    parent_id text COLLATE pg_catalog."C",
    "position" bigint,
    created_at timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    updated_by text NOT NULL,
    deleted_at timestamp with time zone,
    log_xact bigint DEFAULT 0 NOT NULL,
    acked_version bigint,
    CONSTRAINT record_content_check CHECK ((jsonb_typeof(content) = 'object'::text)),
    CONSTRAINT record_version_check CHECK ((version > 0))
)
WITH (fillfactor='90');
ALTER TABLE ONLY draftline.record ALTER COLUMN tenant_id SET (n_distinct=1);
ALTER TABLE ONLY draftline.record ALTER COLUMN collection SET (n_distinct=1);
ALTER TABLE ONLY draftline.record ALTER COLUMN record_id SET (n_distinct=-1);

COMMENT ON TABLE draftline.record IS 'The baseline: one row a record.';

COMMENT ON COLUMN draftline.record.log_xact IS 'the greatest transaction number of its changes';

COMMENT ON COLUMN draftline.record.acked_version IS 'the newest version whose content the system of record is known to hold; NULL: none';

CREATE TABLE draftline.request (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C",
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    response bytea,
    answer jsonb,
    created_at timestamp with time zone NOT NULL,
    version bigint
);
ALTER TABLE ONLY draftline.request ALTER COLUMN tenant_id SET (n_distinct=1);
ALTER TABLE ONLY draftline.request ALTER COLUMN user_id SET (n_distinct=1);
ALTER TABLE ONLY draftline.request ALTER COLUMN request_id SET (n_distinct=-1);

COMMENT ON TABLE draftline.request IS 'The stored responses of requests with an id, written in the transaction of the request.';

COMMENT ON COLUMN draftline.request.fingerprint IS 'a hash of the request, which detects another request with the same id';

COMMENT ON COLUMN draftline.request.response IS 'the response as it was sent';

COMMENT ON COLUMN draftline.request.answer IS 'instead of the response: the record that was returned, or those parts of it that the log does not hold; or what an unfinished call has written so far';

COMMENT ON COLUMN draftline.request.version IS 'for a call on one record, the version that was returned: the rest is rebuilt from the record and the log';

CREATE TABLE draftline.secret (
    name text NOT NULL,
    value text NOT NULL
);

COMMENT ON TABLE draftline.secret IS 'Secrets that all processes of this database share, such as the key of page tokens.';

CREATE TABLE draftline.statistic (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    collection text NOT NULL COLLATE pg_catalog."C",
    statistic_id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    spec jsonb NOT NULL,
    fields text[] NOT NULL,
    k1_path text[] NOT NULL,
    k1_type text NOT NULL,
    k2_path text[],
    k2_type text,
    k3_path text[],
    k3_type text,
    m1_path text[],
    m2_path text[],
    m3_path text[],
    m4_path text[],
    state text DEFAULT 'BUILDING'::text NOT NULL,
    group_count bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    ready_at timestamp with time zone,
    folded_at timestamp with time zone,
    folded_before bigint DEFAULT 0 NOT NULL,
    unfolded_xacts bigint[] DEFAULT '{}'::bigint[] NOT NULL,
    CONSTRAINT statistic_state_check CHECK ((state = ANY (ARRAY['BUILDING'::text, 'READY'::text, 'INVALID'::text, 'DROPPING'::text])))
);

COMMENT ON TABLE draftline.statistic IS 'The statistics that collections declare.';

COMMENT ON COLUMN draftline.statistic.statistic_id IS 'never reused, not even after the statistic is dropped';

COMMENT ON COLUMN draftline.statistic.spec IS 'the entry of draftline.collection.statistics';

COMMENT ON COLUMN draftline.statistic.fields IS 'the top-level fields of the content that it reads';

COMMENT ON COLUMN draftline.statistic.k1_type IS 'TEXT, NUMBER, BOOLEAN, DATE, MONTH or YEAR; NUMBER_RANGE or DATE_RANGE: its groups are nodes, see group_nodes';

COMMENT ON COLUMN draftline.statistic.state IS 'BUILDING: writes append to its tally, and it is to be built; READY: its tally is complete; INVALID: it has too many groups, and no tally; DROPPING: no longer declared, its tally is to be deleted';

COMMENT ON COLUMN draftline.statistic.group_count IS 'groups of the baseline when it was built, without those of a range';

COMMENT ON COLUMN draftline.statistic.folded_at IS 'when its tally was folded last';

COMMENT ON COLUMN draftline.statistic.folded_before IS 'the rows that transactions before this log position appended to its tally are folded, but those of unfolded_xacts';

COMMENT ON COLUMN draftline.statistic.unfolded_xacts IS 'the log positions before folded_before of the transactions that were running at the last fold';

CREATE SEQUENCE draftline.statistic_id
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE draftline.statistic_id OWNED BY draftline.statistic.statistic_id;

CREATE TABLE draftline.sync_collection (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    collection text NOT NULL COLLATE pg_catalog."C",
    upstream text NOT NULL COLLATE pg_catalog."C",
    config jsonb NOT NULL,
    cursor text,
    pulled_at timestamp with time zone,
    snapshot_at timestamp with time zone,
    requested text,
    allowed_deletions integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE draftline.sync_collection IS 'The collections of syncs.';

COMMENT ON COLUMN draftline.sync_collection.config IS '{"resource": name at the upstream, "fields": see functions/sync.sql, "policies": see draftline.sync_policy}';

COMMENT ON COLUMN draftline.sync_collection.cursor IS 'of the upstream, after the last page of changes that was merged';

COMMENT ON COLUMN draftline.sync_collection.snapshot_at IS 'when a snapshot was last merged to its end; NULL: never';

COMMENT ON COLUMN draftline.sync_collection.requested IS 'CHANGES or SNAPSHOT: pull it now; NULL: when it is due';

COMMENT ON COLUMN draftline.sync_collection.allowed_deletions IS 'how many deletions the next snapshot may make above the limit';

CREATE TABLE draftline.sync_event (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    event_id bigint NOT NULL,
    upstream text NOT NULL COLLATE pg_catalog."C",
    collection text COLLATE pg_catalog."C",
    record_id text COLLATE pg_catalog."C",
    kind text NOT NULL,
    reason text,
    message text,
    detail jsonb,
    created_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE draftline.sync_event IS 'What happened to syncs and their records.';

CREATE SEQUENCE draftline.sync_event_id
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE draftline.sync_event_id OWNED BY draftline.sync_event.event_id;

CREATE SEQUENCE draftline.sync_mark
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE draftline.sync_record (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    collection text NOT NULL COLLATE pg_catalog."C",
    record_id text NOT NULL COLLATE pg_catalog."C",
    remote_id text COLLATE pg_catalog."C",
    remote_version text,
    is_there boolean DEFAULT false NOT NULL,
    shadow jsonb,
    state text DEFAULT 'IDLE'::text NOT NULL,
    conflicts jsonb DEFAULT '[]'::jsonb NOT NULL,
    error jsonb,
    tries integer DEFAULT 0 NOT NULL,
    next_at timestamp with time zone,
    due_since timestamp with time zone,
    recheck text,
    attempt_id uuid,
    op text,
    sent jsonb,
    seen_version bigint,
    if_match text,
    in_doubt boolean DEFAULT false NOT NULL,
    known_at bigint DEFAULT 0 NOT NULL,
    CONSTRAINT sync_record_op_check CHECK ((op = ANY (ARRAY['CREATE'::text, 'UPDATE'::text, 'DELETE'::text]))),
    CONSTRAINT sync_record_recheck_check CHECK ((recheck = ANY (ARRAY['RECORD'::text, 'ATTEMPT'::text]))),
    CONSTRAINT sync_record_state_check CHECK ((state = ANY (ARRAY['IDLE'::text, 'DUE'::text, 'SENDING'::text, 'HELD'::text, 'FAILED'::text])))
)
WITH (fillfactor='80');
ALTER TABLE ONLY draftline.sync_record ALTER COLUMN tenant_id SET (n_distinct=1);
ALTER TABLE ONLY draftline.sync_record ALTER COLUMN collection SET (n_distinct=1);
ALTER TABLE ONLY draftline.sync_record ALTER COLUMN record_id SET (n_distinct=-1);
ALTER TABLE ONLY draftline.sync_record ALTER COLUMN remote_id SET (n_distinct=-1);

COMMENT ON TABLE draftline.sync_record IS 'Records of bound collections, as the upstream is known to hold them, and what is pending.';

COMMENT ON COLUMN draftline.sync_record.is_there IS 'the upstream holds it';

COMMENT ON COLUMN draftline.sync_record.shadow IS 'the mapped fields that the upstream holds; NULL: those of the record at its acked_version';

COMMENT ON COLUMN draftline.sync_record.state IS 'IDLE: synced; DUE: to be sent; SENDING: an attempt is out; HELD: in conflict; FAILED: refused';

COMMENT ON COLUMN draftline.sync_record.conflicts IS 'as draftline.sync_conflict returns them';

COMMENT ON COLUMN draftline.sync_record.error IS '{"reason", "message", "field"}';

COMMENT ON COLUMN draftline.sync_record.next_at IS 'when a worker has to look at it; NULL: not before it changes';

COMMENT ON COLUMN draftline.sync_record.recheck IS 'RECORD: read it at the upstream, because a pull had to leave it; ATTEMPT: to learn what became of the attempt';

COMMENT ON COLUMN draftline.sync_record.attempt_id IS 'the key of the write that is out; written before it is sent';

COMMENT ON COLUMN draftline.sync_record.sent IS 'the mapped fields that the attempt leaves upstream';

COMMENT ON COLUMN draftline.sync_record.seen_version IS 'the version of the record that the attempt sends, or that was held or refused';

COMMENT ON COLUMN draftline.sync_record.if_match IS 'the remote_version that the attempt requires; NULL: any';

COMMENT ON COLUMN draftline.sync_record.in_doubt IS 'the attempt may have been applied';

COMMENT ON COLUMN draftline.sync_record.known_at IS 'sync_mark of the last write that ended, or read that was merged: reads that began before are out of date';

CREATE TABLE draftline.sync_upstream (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    upstream text NOT NULL COLLATE pg_catalog."C",
    endpoint text NOT NULL,
    config jsonb NOT NULL,
    version bigint NOT NULL,
    push_paused boolean DEFAULT false NOT NULL,
    pull_paused boolean DEFAULT false NOT NULL,
    suspended_reason text,
    suspended_message text,
    suspended_at timestamp with time zone,
    owner text,
    lease_until timestamp with time zone,
    log_xact bigint DEFAULT 0 NOT NULL,
    change_id bigint DEFAULT 0 NOT NULL,
    swept_at timestamp with time zone,
    failures integer DEFAULT 0 NOT NULL,
    open_until timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE draftline.sync_upstream IS 'The syncs of tenants: each of one system of record.';

COMMENT ON COLUMN draftline.sync_upstream.endpoint IS 'its name in the file of endpoints';

COMMENT ON COLUMN draftline.sync_upstream.suspended_reason IS 'why the service stopped the sync; NULL: it runs';

COMMENT ON COLUMN draftline.sync_upstream.owner IS 'the worker that holds the lease until lease_until';

COMMENT ON COLUMN draftline.sync_upstream.log_xact IS 'with change_id: how far the change log was read for new changes';

COMMENT ON COLUMN draftline.sync_upstream.swept_at IS 'when all records were last compared; NULL: do it now';

COMMENT ON COLUMN draftline.sync_upstream.failures IS 'requests in a row that did not reach the upstream';

COMMENT ON COLUMN draftline.sync_upstream.open_until IS 'until when only one request may try the upstream';

CREATE TABLE draftline.tally (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    statistic_id bigint NOT NULL,
    user_id text NOT NULL COLLATE pg_catalog."C",
    k1 text COLLATE pg_catalog."C",
    k2 text COLLATE pg_catalog."C",
    k3 text COLLATE pg_catalog."C",
    records bigint NOT NULL,
    c1 bigint,
    s1 numeric,
    c2 bigint,
    s2 numeric,
    c3 bigint,
    s3 numeric,
    c4 bigint,
    s4 numeric,
    is_folded boolean DEFAULT false NOT NULL,
    log_xact bigint DEFAULT draftline.log_xact() NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');
ALTER TABLE ONLY draftline.tally ALTER COLUMN tenant_id SET (n_distinct=1);
ALTER TABLE ONLY draftline.tally ALTER COLUMN statistic_id SET (n_distinct=1);
ALTER TABLE ONLY draftline.tally ALTER COLUMN user_id SET (n_distinct=1);
ALTER TABLE ONLY draftline.tally ALTER COLUMN is_folded SET (n_distinct=1);

COMMENT ON TABLE draftline.tally IS 'Contributions to the groups of statistics. A sum of rows is exact; see fold_tally.';

COMMENT ON COLUMN draftline.tally.user_id IS 'empty: the baseline; a user: what that user''s drafts add to it';

COMMENT ON COLUMN draftline.tally.records IS 'records, less those that no longer belong to the group';

COMMENT ON COLUMN draftline.tally.c1 IS 'how many of them have a number as the first measure';

COMMENT ON COLUMN draftline.tally.s1 IS 'the sum of these numbers';

COMMENT ON COLUMN draftline.tally.is_folded IS 'false: appended by a write, until the next fold; true: the sum of a group, or of a node of a range (group_nodes)';

COMMENT ON COLUMN draftline.tally.log_xact IS 'the log position of the transaction that appended the row; see statistic.folded_before';

CREATE TABLE draftline.tenant_quota (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    records bigint,
    bytes bigint,
    drafts bigint,
    changed_at timestamp with time zone NOT NULL,
    changed_by text NOT NULL,
    CONSTRAINT tenant_quota_limits_check CHECK ((LEAST(records, bytes, drafts) >= 0))
);

COMMENT ON TABLE draftline.tenant_quota IS 'The quotas of single tenants. NULL: that of the settings; 0: none.';

CREATE TABLE draftline.tenant_usage (
    tenant_id text NOT NULL COLLATE pg_catalog."C",
    collections bigint NOT NULL,
    records bigint NOT NULL,
    bytes bigint NOT NULL,
    drafts bigint NOT NULL,
    counted_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE draftline.tenant_usage IS 'The use of each tenant at its last count.';

COMMENT ON COLUMN draftline.tenant_usage.records IS 'including deleted ones that are not purged';

COMMENT ON COLUMN draftline.tenant_usage.bytes IS 'of the contents of records, as stored, after compression';

ALTER TABLE ONLY draftline.change ATTACH PARTITION draftline.change_default DEFAULT;

ALTER TABLE ONLY draftline.collection_order ALTER COLUMN order_id SET DEFAULT nextval('draftline.order_id'::regclass);

ALTER TABLE ONLY draftline.statistic ALTER COLUMN statistic_id SET DEFAULT nextval('draftline.statistic_id'::regclass);

ALTER TABLE ONLY draftline.sync_event ALTER COLUMN event_id SET DEFAULT nextval('draftline.sync_event_id'::regclass);

ALTER TABLE ONLY draftline.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY draftline.change
    ADD CONSTRAINT change_pkey PRIMARY KEY (tenant_id, log_xact, change_id, created_at);

ALTER TABLE ONLY draftline.change_default
    ADD CONSTRAINT change_default_pkey PRIMARY KEY (tenant_id, log_xact, change_id, created_at);

ALTER TABLE ONLY draftline.change_log
    ADD CONSTRAINT change_log_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY draftline.collection_order
    ADD CONSTRAINT collection_order_pkey PRIMARY KEY (tenant_id, collection, order_id);

ALTER TABLE ONLY draftline.collection
    ADD CONSTRAINT collection_pkey PRIMARY KEY (tenant_id, collection);

ALTER TABLE ONLY draftline.draft_order_entry
    ADD CONSTRAINT draft_order_entry_pkey PRIMARY KEY (tenant_id, user_id, collection, order_id, key, record_id);

ALTER TABLE ONLY draftline.draft
    ADD CONSTRAINT draft_pkey PRIMARY KEY (tenant_id, user_id, collection, record_id);

ALTER TABLE ONLY draftline.order_entry
    ADD CONSTRAINT order_entry_pkey PRIMARY KEY (tenant_id, collection, order_id, key, record_id);

ALTER TABLE ONLY draftline.partition_switch
    ADD CONSTRAINT partition_switch_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY draftline.record
    ADD CONSTRAINT record_pkey PRIMARY KEY (tenant_id, collection, record_id);

ALTER TABLE ONLY draftline.request
    ADD CONSTRAINT request_pkey PRIMARY KEY (tenant_id, user_id, request_id);

ALTER TABLE ONLY draftline.secret
    ADD CONSTRAINT secret_pkey PRIMARY KEY (name);

ALTER TABLE ONLY draftline.statistic
    ADD CONSTRAINT statistic_pkey PRIMARY KEY (tenant_id, collection, statistic_id);

ALTER TABLE ONLY draftline.sync_collection
    ADD CONSTRAINT sync_collection_pkey PRIMARY KEY (tenant_id, collection);

ALTER TABLE ONLY draftline.sync_event
    ADD CONSTRAINT sync_event_pkey PRIMARY KEY (tenant_id, event_id);

ALTER TABLE ONLY draftline.sync_record
    ADD CONSTRAINT sync_record_pkey PRIMARY KEY (tenant_id, collection, record_id);

ALTER TABLE ONLY draftline.sync_upstream
    ADD CONSTRAINT sync_upstream_pkey PRIMARY KEY (tenant_id, upstream);

ALTER TABLE ONLY draftline.tenant_quota
    ADD CONSTRAINT tenant_quota_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY draftline.tenant_usage
    ADD CONSTRAINT tenant_usage_pkey PRIMARY KEY (tenant_id);

CREATE INDEX change_collection_idx ON ONLY draftline.change USING btree (tenant_id, collection, log_xact, change_id) WHERE (kind <> 'DRAFT'::text);

CREATE INDEX change_commit_idx ON ONLY draftline.change USING btree (tenant_id, commit_id, log_xact, change_id) WHERE (commit_id IS NOT NULL);

CREATE INDEX change_default_tenant_id_collection_log_xact_change_id_idx ON draftline.change_default USING btree (tenant_id, collection, log_xact, change_id) WHERE (kind <> 'DRAFT'::text);

CREATE INDEX change_record_idx ON ONLY draftline.change USING btree (tenant_id, collection, record_id, version);

CREATE INDEX change_default_tenant_id_collection_record_id_version_idx ON draftline.change_default USING btree (tenant_id, collection, record_id, version);

CREATE INDEX change_default_tenant_id_commit_id_log_xact_change_id_idx ON draftline.change_default USING btree (tenant_id, commit_id, log_xact, change_id) WHERE (commit_id IS NOT NULL);

CREATE INDEX change_session_idx ON ONLY draftline.change USING btree (tenant_id, session_id, log_xact, change_id) WHERE ((session_id <> ''::text) AND (kind <> 'DRAFT'::text));

CREATE INDEX change_default_tenant_id_session_id_log_xact_change_id_idx ON draftline.change_default USING btree (tenant_id, session_id, log_xact, change_id) WHERE ((session_id <> ''::text) AND (kind <> 'DRAFT'::text));

CREATE INDEX change_user_idx ON ONLY draftline.change USING btree (tenant_id, user_id, log_xact, change_id) WHERE (kind <> 'DRAFT'::text);

CREATE INDEX change_default_tenant_id_user_id_log_xact_change_id_idx ON draftline.change_default USING btree (tenant_id, user_id, log_xact, change_id) WHERE (kind <> 'DRAFT'::text);

CREATE INDEX collection_order_unready_idx ON draftline.collection_order USING btree (tenant_id, collection, order_id) WHERE (state <> 'READY'::text);

CREATE INDEX collection_relations_idx ON draftline.collection USING btree (tenant_id, collection) WHERE (relations <> '[]'::jsonb);

CREATE INDEX draft_create_idx ON draftline.draft USING btree (tenant_id, user_id, collection, record_id) WHERE (kind = 'CREATE'::text);

CREATE INDEX draft_record_idx ON draftline.draft USING btree (tenant_id, collection, record_id);

CREATE INDEX record_children_idx ON draftline.record USING btree (tenant_id, collection, parent_id, "position", record_id) WHERE (parent_id IS NOT NULL);

CREATE INDEX record_deleted_idx ON draftline.record USING btree (tenant_id, collection, deleted_at, record_id) WHERE (deleted_at IS NOT NULL);

CREATE INDEX request_created_idx ON draftline.request USING btree (created_at);

CREATE INDEX sync_event_created_idx ON draftline.sync_event USING btree (tenant_id, created_at);

CREATE INDEX sync_record_next_idx ON draftline.sync_record USING btree (tenant_id, collection, next_at) WHERE (next_at IS NOT NULL);

CREATE UNIQUE INDEX sync_record_remote_idx ON draftline.sync_record USING btree (tenant_id, collection, remote_id) WHERE (remote_id IS NOT NULL);

CREATE INDEX sync_record_state_idx ON draftline.sync_record USING btree (tenant_id, collection, state, record_id) WHERE (state <> 'IDLE'::text);

CREATE INDEX tally_idx ON draftline.tally USING btree (tenant_id, statistic_id, is_folded, user_id, (
CASE
    WHEN is_folded THEN '0'::bigint
    ELSE log_xact
END), k1);

ALTER INDEX draftline.change_pkey ATTACH PARTITION draftline.change_default_pkey;

ALTER INDEX draftline.change_collection_idx ATTACH PARTITION draftline.change_default_tenant_id_collection_log_xact_change_id_idx;

ALTER INDEX draftline.change_record_idx ATTACH PARTITION draftline.change_default_tenant_id_collection_record_id_version_idx;

ALTER INDEX draftline.change_commit_idx ATTACH PARTITION draftline.change_default_tenant_id_commit_id_log_xact_change_id_idx;

ALTER INDEX draftline.change_session_idx ATTACH PARTITION draftline.change_default_tenant_id_session_id_log_xact_change_id_idx;

ALTER INDEX draftline.change_user_idx ATTACH PARTITION draftline.change_default_tenant_id_user_id_log_xact_change_id_idx;
