-- Statistics: what records and drafts contribute to the groups of a collection's statistics. A contribution is a content
-- with a sign; the sum of all contributions to a group is exact. Nothing in draftline.tally is updated, so no write waits
-- for another one that changes the same group.
--
-- The rows of user '' are the baseline: its live records. The rows of a user are what the merged view adds to it: the
-- merged contents of the user's drafts (kind CREATE or CHANGE), less the live records under the drafts that change or delete
-- them. Records under a draft that creates one are not tallied, because there may be no record to lock; the read does that.

-- Return the value at a path, through objects only.
CREATE OR REPLACE FUNCTION draftline.member_at(content jsonb, path text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN path[2] IS NULL THEN content -> path[1] ELSE draftline.value_at(content, path) END;

-- Return the text of a group's key. NULL if the value is missing, null, of another type or too long. Equal values have equal
-- texts, and the texts of dates sort like the dates. type: TEXT, NUMBER, BOOLEAN, DATE, MONTH or
-- YEAR; NUMBER_RANGE or DATE_RANGE: the sort key of the value in hex, also of a value that is missing.
CREATE OR REPLACE FUNCTION draftline.group_key(value jsonb, type text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
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

-- Append contributions, in parallel arrays, to the statistics of their collections, summed by group. Groups that stay as
-- they were get no row. The text is the same as in append_tally of write_tail.sql, which imports use.
CREATE OR REPLACE FUNCTION draftline.append_tally(tenant text, collections text[], user_ids text[], contents jsonb[],
    signs int[]) RETURNS boolean
LANGUAGE plpgsql AS $$
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

-- Tally the change of records, which the transaction has locked or created: for the baseline, and with the opposite sign for
-- the users whose drafts change or delete them. A content is NULL where the record is not live. excepts: users whose draft of
-- the record the statement deletes; it tallies them itself. A draft of a locked record can be neither saved nor discarded
-- meanwhile, so the function sees all of them; it is VOLATILE to take a snapshot after the locks.
CREATE OR REPLACE FUNCTION draftline.tally_records(tenant text, collections text[], record_ids text[], befores jsonb[],
    afters jsonb[], excepts text[]) RETURNS boolean
LANGUAGE plpgsql AS $$
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

-- Tally the change of drafts: their kinds and merged contents before and after, NULL where there is no draft, and the
-- content of the live record under each, NULL if there is none. The record is locked, unless the draft creates it.
CREATE OR REPLACE FUNCTION draftline.tally_drafts(tenant text, user_ids text[], collections text[], old_kinds text[],
    olds jsonb[], new_kinds text[], news jsonb[], lives jsonb[]) RETURNS boolean
LANGUAGE plpgsql AS $$
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

-- Return a JSON array of names as an array of texts. NULL without an array.
CREATE OR REPLACE FUNCTION draftline.names(list jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN list IS NOT NULL THEN ARRAY(
    SELECT n.value FROM jsonb_array_elements_text(list) WITH ORDINALITY AS n ORDER BY n.ordinality) END;
