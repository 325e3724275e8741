-- name: look_at_server
-- Return the server's version, encoding and role, whether sessions run no triggers, and its time.
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_number,
    current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS is_standby,
    current_setting('session_replication_role') = 'replica' AS has_triggers_disabled, clock_timestamp() AS moment

-- name: is_read_only
-- Return whether the transactions of a new connection may not write, as the database or the role is configured.
SELECT CAST(current_setting('default_transaction_read_only') AS boolean) AS read_only

-- name: use_little_memory
-- Have the statements of the transaction use temporary files, in the default tablespace, for more than 64 KiB.
SELECT set_config('work_mem', '64kB', true), set_config('temp_tablespaces', '', true)

-- name: fill_temporary_file
-- Write a temporary file of about 16 MiB, which PostgreSQL removes at the end of the statement.
SELECT count(*) AS rows FROM generate_series(1, 600000)

-- name: invalid_indexes
-- Return the indexes of the service's tables that PostgreSQL does not use, except those of collection specs.
SELECT i.relname AS name
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid
WHERE i.relnamespace = CAST('draftline' AS regnamespace) AND NOT (x.indisvalid AND x.indisready)
  AND i.relname !~ '^(record|draft)_order_'
ORDER BY i.relname

-- name: functions
-- Return the name of each function of the schema, and the MD5 of its body.
SELECT proname::text AS name, md5(prosrc) AS body
FROM pg_proc
WHERE pronamespace = CAST('draftline' AS regnamespace)

-- name: is_served
-- Return whether a process of the service is connected to this database.
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'draftline watch') AS served

-- name: may_keep_log
-- Return whether the user may do what requires ownership: create and drop the partitions of the log.
SELECT bool_and(pg_has_role(relowner, 'USAGE')) AS may, current_user AS name
FROM pg_class WHERE relnamespace = CAST('draftline' AS regnamespace) AND relname IN ('record', 'draft', 'change')

-- name: every_definition
-- Return every collection spec that has a field, with its tenant.
SELECT tenant_id, collection, fields::text AS fields, orders::text AS orders, json_schema, version, created_at,
    updated_at, history
FROM draftline.collection
WHERE fields <> '[]'
ORDER BY tenant_id, collection
