-- The statistics of collections, and their tallies. functions/statistics.sql describes what a tally contains.

ALTER TABLE draftline.collection ADD COLUMN statistics jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN draftline.collection.statistics IS
    '[{"name": "by genre", "keys": [{"path": [names], "type": "TEXT"}], "measures": [[names]]}]';

CREATE SEQUENCE draftline.statistic_id;
CREATE TABLE draftline.statistic (
    tenant_id text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    statistic_id bigint NOT NULL DEFAULT nextval('draftline.statistic_id'),
    name text COLLATE "C" NOT NULL,
    spec jsonb NOT NULL,
    fields text[] NOT NULL,
    k1_path text[] NOT NULL,
    k1_type text NOT NULL,
    k2_path text[],
    k2_type text,
    k3_path text[],
    k3_type text,
    m1_path text[],
    m2_path text[],
    m3_path text[],
    m4_path text[],
    state text NOT NULL DEFAULT 'BUILDING'
        CONSTRAINT statistic_state_check CHECK (state IN ('BUILDING', 'READY', 'INVALID', 'DROPPING')),
    group_count bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    ready_at timestamptz,
    PRIMARY KEY (tenant_id, collection, statistic_id)
);
ALTER SEQUENCE draftline.statistic_id OWNED BY draftline.statistic.statistic_id;

CREATE TABLE draftline.tally (
    tenant_id text COLLATE "C" NOT NULL,
    statistic_id bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    k1 text COLLATE "C",
    k2 text COLLATE "C",
    k3 text COLLATE "C",
    records bigint NOT NULL,
    c1 bigint,
    s1 numeric,
    c2 bigint,
    s2 numeric,
    c3 bigint,
    s3 numeric,
    c4 bigint,
    s4 numeric
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX tally_idx ON draftline.tally (tenant_id, statistic_id, user_id, k1);

-- As for records: the planner may not conclude from its statistics that a tenant or a statistic has few rows.
ALTER TABLE draftline.tally
    ALTER COLUMN tenant_id SET (n_distinct = 1), ALTER COLUMN statistic_id SET (n_distinct = 1),
    ALTER COLUMN user_id SET (n_distinct = 1);
INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, records)
SELECT '', 0, '', g FROM generate_series(1, 10) AS g;
ANALYZE draftline.tally;
DELETE FROM draftline.tally;

-- For the drafts that create a record, which others may have created since.
CREATE INDEX draft_create_idx ON draftline.draft (tenant_id, user_id, collection, record_id) WHERE kind = 'CREATE';

COMMENT ON TABLE draftline.statistic IS 'The statistics that collections declare.';
COMMENT ON COLUMN draftline.statistic.statistic_id IS 'never used again, for no other statistic and after no drop';
COMMENT ON COLUMN draftline.statistic.spec IS 'the entry of draftline.collection.statistics';
COMMENT ON COLUMN draftline.statistic.fields IS 'the top-level fields of the content that it reads';
COMMENT ON COLUMN draftline.statistic.k1_type IS 'TEXT, NUMBER, BOOLEAN, DATE, MONTH or YEAR';
COMMENT ON COLUMN draftline.statistic.state IS
    'BUILDING: writes append to its tally, and it is to be built; READY: its tally is complete; INVALID: it has too many '
    'groups, and no tally; DROPPING: no longer declared, its tally is to be deleted';
COMMENT ON COLUMN draftline.statistic.group_count IS 'groups of the baseline when it was built';
COMMENT ON TABLE draftline.tally IS 'Contributions to the groups of statistics. A sum of rows is exact; see fold_tally.';
COMMENT ON COLUMN draftline.tally.user_id IS 'empty: the baseline; a user: what that user''s drafts add to it';
COMMENT ON COLUMN draftline.tally.records IS 'records, less those that no longer belong to the group';
COMMENT ON COLUMN draftline.tally.c1 IS 'how many of them have a number as the first measure';
COMMENT ON COLUMN draftline.tally.s1 IS 'the sum of these numbers';
