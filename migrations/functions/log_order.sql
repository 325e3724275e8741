-- The order of the change log. keep_log_order replaces log_xact and log_horizon at run time: a migration that includes
-- this file must call keep_log_order() afterwards.

-- Return the log position of this transaction; see change.log_xact.
CREATE OR REPLACE FUNCTION draftline.log_xact() RETURNS bigint
LANGUAGE sql STABLE AS $$ SELECT pg_current_xact_id()::text::bigint + 0 $$;

-- Return the position below which the log is complete: changes that are written later come after it.
CREATE OR REPLACE FUNCTION draftline.log_horizon() RETURNS bigint
LANGUAGE sql STABLE AS $$ SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + 0 $$;

-- Keep the log in order after the database was restored into another cluster, whose transaction ids are different.
-- Return whether that was the case. It must run before anything is written there.
CREATE OR REPLACE FUNCTION draftline.keep_log_order() RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    log draftline.change_log;
    here bigint := (SELECT system_identifier FROM pg_control_system());
    ahead bigint;
    moved boolean;
BEGIN
    SELECT * INTO log FROM draftline.change_log FOR UPDATE;
    ahead := log.horizon - draftline.log_horizon();
    moved := log.cluster <> here OR ahead > 0;
    IF moved THEN
        -- Further than any number can be that was drawn after the log was last kept.
        log.xact_offset := log.xact_offset + greatest(ahead, 0) + 4294967296;
        EXECUTE format('CREATE OR REPLACE FUNCTION draftline.log_xact() RETURNS bigint LANGUAGE sql STABLE AS
            $f$ SELECT pg_current_xact_id()::text::bigint + %s $f$', log.xact_offset);
        EXECUTE format('CREATE OR REPLACE FUNCTION draftline.log_horizon() RETURNS bigint LANGUAGE sql STABLE AS
            $f$ SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %s $f$', log.xact_offset);
    END IF;
    UPDATE draftline.change_log
    SET cluster = here, xact_offset = log.xact_offset, horizon = draftline.log_horizon();
    RETURN moved;
END $$;
