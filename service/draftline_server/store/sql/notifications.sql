-- name: notify
-- Notify listeners that the logs of some tenants have grown. Never in the transaction of a write, because all commits
-- would then wait for one another.
SELECT pg_notify(:channel, t.tenant_id) FROM unnest(CAST(:tenant_ids AS text[])) AS t (tenant_id)
