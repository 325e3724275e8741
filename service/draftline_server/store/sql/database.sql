-- name: revision
-- Return the schema's revision in alembic; no row before the first migration.
SELECT version_num AS revision FROM draftline.alembic_version

-- name: secret
-- Return a secret that the servers of this database share.
SELECT value FROM draftline.secret WHERE name = :name

-- name: usable_connections
-- Return how many connections the server allows to users that are not superusers.
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true)::int, 0) AS usable
