-- The rows and the partitions that the migrations leave in a new database. With schema.sql, they make one without them.

INSERT INTO draftline.secret VALUES ('page_token', gen_random_uuid()::text || gen_random_uuid()::text);

INSERT INTO draftline.change_log (dropped_xact, dropped_id, cluster, horizon, xact_offset)
SELECT 0, 0, system_identifier, 0, 0 FROM pg_control_system();

SELECT draftline.add_change_partition((date_trunc('week', now() AT TIME ZONE 'UTC') + week * interval '7 days')::date)
FROM generate_series(0, 4) AS week;
