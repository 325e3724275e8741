-- The records to which relations lead from their targets, the ids that they start from. Drafts of the caller count as in merged
-- lists: `with_drafts`, `session_id` (empty: of all sessions) and `show_deleted`. For each target one row is returned: its
-- number, and the ids of its first `related_limit` records as one text, a line each. Those with a draft that counts are in
-- `draft_ids`, the others in `record_ids`; NULL: none.

-- fragment: lines
string_agg(u.record_id, E'\n') FILTER (WHERE NOT u.is_draft) AS record_ids,
string_agg(u.record_id, E'\n') FILTER (WHERE u.is_draft) AS draft_ids

-- fragment: has_drafts
-- The caller has any draft in the collection: without one, no record is looked up among them. Comparisons of rows are served
-- by the primary key only; with equalities, the drafts of all users might be read.
CAST(:with_drafts AS boolean) AND (
    SELECT EXISTS (
        SELECT FROM draftline.draft AS o
        WHERE o.tenant_id = :tenant_id
          AND (o.user_id, o.collection) >= (CAST(:user_id AS text), CAST(:collection AS text))
          AND (o.user_id, o.collection) <= (CAST(:user_id AS text), CAST(:collection AS text)))
)

-- fragment: has_own_draft
-- The caller has a draft of the record `e`, whose merged values count instead.
-- include: relations.has_drafts
AND EXISTS (
    SELECT FROM draftline.draft AS o
    WHERE o.tenant_id = :tenant_id
      AND (o.user_id, o.collection, o.record_id) >= (CAST(:user_id AS text), CAST(:collection AS text), e.record_id)
      AND (o.user_id, o.collection, o.record_id) <= (CAST(:user_id AS text), CAST(:collection AS text), e.record_id)
      AND (CAST(:session_id AS text) = '' OR o.session_id = CAST(:session_id AS text)))

-- fragment: own_draft
-- Conditions for the drafts `d` that count.
CAST(:with_drafts AS boolean) AND d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection
    AND (CAST(:session_id AS text) = '' OR d.session_id = CAST(:session_id AS text))
    AND (CAST(:show_deleted AS boolean) OR d.kind <> 'DELETE')

-- fragment: named_by_live
-- The live records, and the caller's drafts, whose field names the target `t`, by the entries of the relation.
(SELECT e.record_id, false AS is_draft
 FROM draftline.order_entry AS e
 WHERE e.tenant_id = :tenant_id AND e.collection = :collection AND e.order_id = :order_id
   AND e.key = convert_to(t.target, 'UTF8') AND NOT (
   -- include: relations.has_own_draft
   )
 ORDER BY e.record_id
 LIMIT CAST(:related_limit AS bigint))
UNION ALL
(SELECT e.record_id, true AS is_draft
 FROM draftline.draft_order_entry AS e
 WHERE e.tenant_id = :tenant_id AND e.user_id = :user_id AND e.collection = :collection AND e.order_id = :order_id
   AND e.key = convert_to(t.target, 'UTF8') AND
   -- include: relations.has_drafts
   AND (  -- not a join, which would read all entries of the target and sort them
       SELECT true
       FROM draftline.draft AS d
       WHERE d.tenant_id = :tenant_id
         AND (d.user_id, d.collection, d.record_id) >= (CAST(:user_id AS text), CAST(:collection AS text), e.record_id)
         AND (d.user_id, d.collection, d.record_id) <= (CAST(:user_id AS text), CAST(:collection AS text), e.record_id)
         AND
         -- include: relations.own_draft
       LIMIT 1)
 ORDER BY e.record_id
 LIMIT CAST(:related_limit AS bigint))

-- fragment: named
-- The records with the ids `targets`, one each, which may have line breaks; whether they exist is not known yet.
SELECT u.number, CASE WHEN NOT u.is_draft THEN u.record_id END AS record_ids,
    CASE WHEN u.is_draft THEN u.record_id END AS draft_ids
FROM (
    SELECT e.number, e.record_id, (
        -- include: relations.has_own_draft
        ) AS is_draft
    FROM unnest(CAST(:targets AS text[])) WITH ORDINALITY AS e (record_id, number)
    OFFSET 0  -- each draft is looked up once
) AS u

-- fragment: inverse
-- The records whose field names a target, sorted by id.
SELECT t.number, k.record_ids, k.draft_ids
FROM unnest(CAST(:targets AS text[])) WITH ORDINALITY AS t (target, number)
CROSS JOIN LATERAL (
    SELECT
        -- include: relations.lines
    FROM (
        -- include: relations.named_by_live
        ORDER BY record_id
        LIMIT CAST(:related_limit AS bigint)
    ) AS u
) AS k

-- fragment: inverse_with_deleted
-- The same with deleted records. They have no entries, so all deleted records of the collection are read.
WITH deleted AS MATERIALIZED (
    SELECT i.id AS target, e.record_id
    FROM draftline.record AS e
    CROSS JOIN LATERAL unnest(draftline.related_ids(e.content, CAST(:path AS text[]))) AS i (id)
    WHERE e.tenant_id = :tenant_id AND e.collection = :collection AND e.deleted_at IS NOT NULL
      AND i.id = ANY (CAST(:targets AS text[])) AND NOT (
      -- include: relations.has_own_draft
      )
)
SELECT t.number, k.record_ids, k.draft_ids
FROM unnest(CAST(:targets AS text[])) WITH ORDINALITY AS t (target, number)
CROSS JOIN LATERAL (
    SELECT
        -- include: relations.lines
    FROM (
        -- include: relations.named_by_live
        UNION ALL
        SELECT x.record_id, false FROM deleted AS x WHERE x.target = t.target
        ORDER BY record_id
        LIMIT CAST(:related_limit AS bigint)
    ) AS u
) AS k

-- fragment: children
-- The records whose parent is a target, sorted by position and id. All drafts of the caller in the collection are read,
-- because a draft without a parent has that of its record.
WITH drafted AS MATERIALIZED (
    SELECT d.record_id, draftline.drafted_parent_id(d.attributes, CASE WHEN k.is_kept THEN r.parent_id END) AS parent_id,
        draftline.drafted_position(d.attributes, CASE WHEN k.is_kept THEN r.position END) AS position
    FROM draftline.draft AS d
    LEFT JOIN LATERAL (
        SELECT b.parent_id, b.position, b.deleted_at
        FROM draftline.record AS b
        WHERE b.tenant_id = :tenant_id AND b.collection = :collection AND b.record_id = d.record_id
        LIMIT 1
    ) AS r ON true
    -- A draft that restores a deleted record starts without its attributes.
    CROSS JOIN LATERAL (SELECT d.kind <> 'CREATE' OR r.deleted_at IS NULL AS is_kept) AS k
    WHERE
      -- include: relations.own_draft
)
SELECT t.number, k.record_ids, k.draft_ids
FROM unnest(CAST(:targets AS text[])) WITH ORDINALITY AS t (target, number)
CROSS JOIN LATERAL (
    SELECT
        -- include: relations.lines
    FROM (
        (SELECT e.record_id, e.position, false AS is_draft
         FROM draftline.record AS e
         WHERE e.tenant_id = :tenant_id AND e.collection = :collection AND e.parent_id = t.target
           AND (CAST(:show_deleted AS boolean) OR e.deleted_at IS NULL) AND NOT (
           -- include: relations.has_own_draft
           )
         ORDER BY e.position, e.record_id
         LIMIT CAST(:related_limit AS bigint))
        UNION ALL
        (SELECT d.record_id, d.position, true AS is_draft
         FROM drafted AS d
         WHERE d.parent_id = t.target
         ORDER BY d.position, d.record_id
         LIMIT CAST(:related_limit AS bigint))
        ORDER BY position, record_id
        LIMIT CAST(:related_limit AS bigint)
    ) AS u
) AS k
