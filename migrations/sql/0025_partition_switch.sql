CREATE TABLE draftline.partition_switch (
    only_row boolean DEFAULT true NOT NULL,
    phase text NOT NULL,
    modulus integer NOT NULL,
    tenants text[] NOT NULL,
    positions jsonb DEFAULT '{}' NOT NULL,
    copied jsonb DEFAULT '{}' NOT NULL,
    copied_xact bigint,
    verified jsonb,
    verified_at timestamptz,
    started_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT partition_switch_pkey PRIMARY KEY (only_row),
    CONSTRAINT partition_switch_only_row_check CHECK (only_row),
    CONSTRAINT partition_switch_phase_check CHECK (phase IN
        ('CREATED', 'SYNCED', 'COPIED', 'SWITCHED', 'DROPPING_COPY', 'DROPPING_OLD', 'DONE'))
);
COMMENT ON TABLE draftline.partition_switch IS 'The state of a switchover to partitioned tables; one row, none before it begins.';
COMMENT ON COLUMN draftline.partition_switch.phase IS 'what is done: see `draftline partitions status`';
COMMENT ON COLUMN draftline.partition_switch.modulus IS 'how many partitions the tenants share that have none of their own';
COMMENT ON COLUMN draftline.partition_switch.tenants IS 'the tenants that get partitions of their own';
COMMENT ON COLUMN draftline.partition_switch.positions IS 'by table: the key of the last row that is copied, as texts, or "done"';
COMMENT ON COLUMN draftline.partition_switch.copied IS 'by table: rows that are copied';
COMMENT ON COLUMN draftline.partition_switch.copied_xact IS 'the transaction that completed the copy';
COMMENT ON COLUMN draftline.partition_switch.verified IS 'rows and checksums by table at the last verification that succeeded; NULL: none in this phase';
CREATE TABLE draftline.partition_switch_log (
    logged_at timestamptz NOT NULL,
    event text NOT NULL,
    detail jsonb NOT NULL
);
COMMENT ON TABLE draftline.partition_switch_log IS 'The steps of switchovers, with rows and checksums.';
