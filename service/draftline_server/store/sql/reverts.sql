-- name: select_reverted
-- Return the records whose changes are to be reverted: that of one change, or those of a commit.
SELECT c.collection, c.record_id
FROM draftline.change AS c
WHERE c.tenant_id = :tenant_id AND c.commit_id = CAST(:commit_id AS uuid)
UNION ALL
SELECT c.collection, c.record_id
FROM draftline.change AS c
WHERE c.tenant_id = :tenant_id AND c.collection = CAST(:collection AS text) AND c.record_id = CAST(:record_id AS text)
  AND c.version = CAST(:version AS bigint) AND c.kind <> 'DRAFT'
LIMIT :limit

-- name: lock_reverted
-- Lock those of these records that exist, in primary-key order, and return them.
SELECT p.collection, r.record_id
FROM (
    SELECT p.* FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[])) AS p (collection, record_id)
    ORDER BY p.collection COLLATE "C", p.record_id COLLATE "C"
) AS p
CROSS JOIN LATERAL (
    SELECT r.record_id FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id
    FOR UPDATE
) AS r

-- name: revert_changes
-- Return the outcome of reverting changes whose records the transaction has locked: the conflicts, why the content may
-- not be stored, and the record afterwards. With `writes`, write it, except for the refused records. guarded: the collections of whose deleted
-- records the transaction checks that no other record names them; `is_unguarded`: it has to.
--
-- A creation and an undeletion are reverted by a deletion, a deletion by an undeletion, and any other change by its
-- base. A record that is already in its earlier state is not written.
WITH target AS MATERIALIZED (
    SELECT c.*
    FROM draftline.change AS c
    WHERE c.tenant_id = :tenant_id AND c.commit_id = CAST(:commit_id AS uuid)
    UNION ALL
    SELECT c.*
    FROM draftline.change AS c
    WHERE c.tenant_id = :tenant_id AND c.collection = CAST(:collection AS text)
      AND c.record_id = CAST(:record_id AS text) AND c.version = CAST(:version AS bigint) AND c.kind <> 'DRAFT'
), found AS MATERIALIZED (
    SELECT r.*, t.version AS change_version, t.kind, t.edit, t.base, r.deleted_at IS NOT NULL AS was_deleted,
        t.kind IN ('CREATE', 'UNDELETE') AS deletes, t.kind = 'UPDATE' AND r.deleted_at IS NOT NULL AS is_gone,
        CASE t.kind WHEN 'UPDATE' THEN false WHEN 'DELETE' THEN r.deleted_at IS NULL
             ELSE r.deleted_at IS NOT NULL END AS is_done,
        CASE WHEN t.kind <> 'CREATE' AND t.attributes ? 'parent_id'
            THEN t.attributes -> 'parent_id' ->> 0 ELSE r.parent_id END AS old_parent_id,
        CASE WHEN t.kind <> 'CREATE' AND t.attributes ? 'position'
            THEN CAST(t.attributes -> 'position' ->> 0 AS bigint) ELSE r.position END AS old_position,
        -- In the form of a draft: the values after the change are the base, those before it are mine. A record that is
        -- deleted again is compared with its attributes right after the change.
        CASE WHEN t.kind IN ('CREATE', 'UNDELETE')
            THEN draftline.attributes_since(:tenant_id, t.collection, t.record_id, t.version)
            ELSE draftline.attributes_back(t.attributes) END AS own_attributes,
        CASE WHEN t.base IS NULL THEN r.content ELSE draftline.apply_edit(t.base, r.content) END AS old_content,
        coalesce(c.version, 0) AS definition_version, coalesce(c.indexed_text, '[]') AS indexed_text, c.history
    FROM target AS t
    CROSS JOIN LATERAL (
        SELECT r.* FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = t.collection AND r.record_id = t.record_id
        OFFSET 0
    ) AS r
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = t.collection
    -- Not a record that another transaction has created since.
    WHERE (t.collection, t.record_id) IN (
        SELECT p.collection, p.record_id
        FROM unnest(CAST(:locked_collections AS text[]), CAST(:locked_ids AS text[])) AS p (collection, record_id))
), restored AS MATERIALIZED (
    SELECT f.*, f.base IS NULL AND f.kind <> 'CREATE' AND NOT f.is_done AS is_lost,
        (f.old_content, f.old_parent_id, f.old_position) IS DISTINCT FROM (f.content, f.parent_id, f.position)
            AS restores
    FROM found AS f
), compared AS MATERIALIZED (
    SELECT s.*, CASE
        WHEN s.is_done OR s.is_lost OR s.version = s.change_version OR (s.is_gone AND NOT s.restores) THEN '[]'
        WHEN s.deletes THEN draftline.attribute_conflicts('DELETE', s.own_attributes,
            draftline.own_attributes(s.parent_id, s.position)) || draftline.conflicts('DELETE', NULL, (
            SELECT CASE WHEN l.content IS NULL THEN '{}' ELSE jsonb_build_object('v', l.content) END
            FROM draftline.content_at(:tenant_id, s.collection, s.record_id, s.change_version) AS l (content)
        ), s.content, false)
        ELSE draftline.draft_conflicts('CHANGE', s.base, s.edit, s.own_attributes, s.content, s.parent_id, s.position,
            s.is_gone)
    END AS conflicts
    FROM restored AS s
), settled AS MATERIALIZED (
    SELECT p.*, p.is_done OR (:keep_theirs AND p.conflicts <> '[]' AND (p.deletes OR p.is_gone)) AS stays,
        CASE WHEN :keep_theirs AND p.conflicts <> '[]' THEN draftline.settle(p.base, p.edit, p.content)
             ELSE p.old_content END AS settled_content
    FROM compared AS p
), outcome AS MATERIALIZED (
    SELECT s.*, CASE WHEN s.stays THEN s.content ELSE s.settled_content END AS new_content,
        CASE WHEN s.stays OR (:keep_theirs AND draftline.has_conflict(s.conflicts, 'record.parent_id'))
            THEN s.parent_id ELSE s.old_parent_id END AS new_parent_id,
        CASE WHEN s.stays OR (:keep_theirs AND draftline.has_conflict(s.conflicts, 'record.position'))
            THEN s.position ELSE s.old_position END AS new_position,
        CASE WHEN s.stays THEN s.was_deleted ELSE s.deletes OR (s.is_gone AND NOT s.restores) END AS is_deleted
    FROM settled AS s
), checked AS MATERIALIZED (
    SELECT o.*, NOT o.is_deleted AND (o.was_deleted OR o.new_content <> o.content) AS needs_check,
        :writes AND (o.is_deleted, o.new_content, o.new_parent_id, o.new_position)
                IS DISTINCT FROM (o.was_deleted, o.content, o.parent_id, o.position)
            AND (o.collection, o.record_id) NOT IN (
                SELECT p.collection, p.record_id
                FROM unnest(CAST(:refused_collections AS text[]), CAST(:refused_ids AS text[]))
                    AS p (collection, record_id)) AS written,
        CASE WHEN :writes AND o.new_content <> o.content
            THEN draftline.difference(o.content, o.new_content) END AS difference
    FROM outcome AS o
), updated AS (
    -- The records are locked; see content.sql.
    INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, parent_id, position,
        created_at, created_by, updated_at, updated_by, deleted_at, log_xact)
    SELECT :tenant_id, k.collection, k.record_id, k.new_content, k.version + 1, k.new_parent_id, k.new_position,
        k.created_at, k.created_by, CAST(:now AS timestamptz), :user_id,
        CASE WHEN k.is_deleted THEN coalesce(k.deleted_at, CAST(:now AS timestamptz)) END,
        greatest(draftline.log_xact(), k.log_xact)
    FROM checked AS k
    WHERE k.written
    ON CONFLICT (tenant_id, collection, record_id) DO UPDATE
    SET content = EXCLUDED.content, version = EXCLUDED.version, parent_id = EXCLUDED.parent_id,
        position = EXCLUDED.position, updated_at = EXCLUDED.updated_at, updated_by = EXCLUDED.updated_by,
        deleted_at = EXCLUDED.deleted_at, log_xact = EXCLUDED.log_xact
), written AS (
    SELECT k.collection, k.record_id, k.version + 1 AS version,
        CASE WHEN k.is_deleted = k.was_deleted THEN 'UPDATE' WHEN k.is_deleted THEN 'DELETE' ELSE 'UNDELETE' END AS kind,
        'REVERT_CHANGE' AS source, greatest(draftline.log_xact(), k.log_xact) AS log_xact,
        (k.difference).edit AS edit, (k.difference).base AS base, draftline.edited_fields((k.difference).edit) AS changed_fields,
        k.content AS old_content, k.new_content, k.history,
        k.parent_id AS old_parent_id, k.new_parent_id AS parent_id,
        k.position AS old_position, k.new_position AS position, CAST(:user_id AS text) AS user_id, '' AS session_id,
        CAST(:new_commit_id AS uuid) AS commit_id, CAST(:change_reason AS text) AS change_reason,
        CAST(:request_id AS uuid) AS request_id
    FROM checked AS k
    WHERE k.written
    ORDER BY k.collection, k.record_id
),
-- include: write_tail.orders_of_written
,
-- include: write_tail.end_write
SELECT k.change_version, k.version AS seen_version, k.is_lost, k.conflicts::text AS conflicts, k.definition_version, k.needs_check, k.written,
    CASE WHEN k.needs_check THEN draftline.content_failure(k.new_content, k.indexed_text,
        :max_bytes, :max_depth, :max_indexed_text_bytes, :max_nodes)::text END AS failure,
    CASE WHEN (k.difference).edit IS NULL THEN '{}' ELSE draftline.edited_fields((k.difference).edit) END
        AS changed_fields,
    k.collection, k.record_id,
    CASE WHEN k.collection = ANY (CAST(:shown AS text[])) THEN k.new_content::text ELSE '' END AS content,
    k.version + k.written::int AS version, k.new_parent_id AS parent_id, k.new_position AS position,
    k.written AND k.is_deleted AND NOT k.collection = ANY (CAST(:guarded AS text[])) AND EXISTS (
        SELECT FROM draftline.collection AS s
        CROSS JOIN jsonb_array_elements(s.relations) AS x
        WHERE s.tenant_id = :tenant_id AND s.relations <> '[]' AND x.value ->> 'collection' = k.collection
          AND x.value ->> 'integrity' = 'CHECK') AS is_unguarded,
    k.created_at, k.created_by, CASE WHEN k.written THEN :now ELSE k.updated_at END AS updated_at,
    CASE WHEN k.written THEN :user_id ELSE k.updated_by END AS updated_by,
    CASE WHEN k.is_deleted THEN coalesce(k.deleted_at, CAST(:now AS timestamptz)) END AS deleted_at
FROM checked AS k
CROSS JOIN entries
ORDER BY k.collection, k.record_id
