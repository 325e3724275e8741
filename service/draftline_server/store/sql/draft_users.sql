-- name: list_draft_users
-- The users after one that have drafts in the tenant, in one collection or (:collection is empty) in all. The primary key
-- has the order of the groups, so a page reads the drafts of its users only. With a collection, it also passes over the index
-- entries of all drafts in other collections, of the users of the page and of those in between.
SELECT d.user_id, count(*) AS drafts, count(DISTINCT d.collection) AS collections, min(d.created_at) AS oldest,
    max(d.updated_at) AS newest
FROM draftline.draft AS d
WHERE d.tenant_id = :tenant_id AND d.user_id > :after
  AND (CAST(:collection AS text) = '' OR d.collection = :collection)
GROUP BY d.user_id
ORDER BY d.user_id
LIMIT :limit
