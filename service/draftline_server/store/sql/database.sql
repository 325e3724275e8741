-- name: revision
-- The revision that alembic brought the schema to; no row before the first migration.
SELECT version_num AS revision FROM draftline.alembic_version

-- name: secret
-- A secret that the servers of this database share.
SELECT value FROM draftline.secret WHERE name = :name

-- name: usable_connections
-- How many connections the server allows to users who are no superusers.
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true)::int, 0) AS usable
