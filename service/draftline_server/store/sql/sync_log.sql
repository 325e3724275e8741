-- How far the workers of syncs have read the change log.

-- name: log_ahead
-- Return whether the change log of a tenant has entries after a position, and the position that everything before is visible at.
-- One entry is read, whatever the planner knows of the table.
SELECT draftline.log_horizon() AS horizon, (
    SELECT c.change_id FROM draftline.change AS c
    WHERE c.tenant_id = :tenant_id AND (c.log_xact, c.change_id) > (CAST(:log_xact AS bigint), CAST(:change_id AS bigint))
    ORDER BY c.log_xact, c.change_id
    LIMIT 1) IS NOT NULL AS has_entries
