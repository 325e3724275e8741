DO $$
BEGIN
    IF EXISTS (SELECT FROM draftline.partition_switch WHERE phase <> 'DONE') THEN
        RAISE EXCEPTION 'a switchover to partitioned tables is under way: run draftline partitions rollback, if it has switched, and draftline partitions cleanup';
    END IF;
END $$;
DROP TABLE draftline.partition_switch_log;
DROP TABLE draftline.partition_switch;
