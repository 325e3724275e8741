-- name: revision
-- The revision that alembic brought the schema to; no row before the first migration.
SELECT version_num AS revision FROM draftline.alembic_version

-- name: secret
-- A secret that the servers of this database share.
SELECT value FROM draftline.secret WHERE name = :name
