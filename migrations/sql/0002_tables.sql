CREATE TABLE draftline.draft (
    tenant_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    record_id text COLLATE "C" NOT NULL,
    kind text NOT NULL CONSTRAINT draft_kind_check CHECK (kind IN ('CHANGE', 'CREATE', 'DELETE')),
    edit jsonb NOT NULL,
    base jsonb NOT NULL,
    base_version bigint NOT NULL,
    merged jsonb NOT NULL CONSTRAINT draft_merged_check CHECK (jsonb_typeof(merged) = 'object'),
    version bigint NOT NULL CONSTRAINT draft_version_check CHECK (version > 0),
    session_id text COLLATE "C" NOT NULL,
    change_reason text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id, collection, record_id)
) WITH (fillfactor = 90);

-- Whose drafts a write of a record has to refresh.
CREATE INDEX draft_record_idx ON draftline.draft (tenant_id, collection, record_id);

-- As for records: a draft is looked up by its whole key.
ALTER TABLE draftline.draft
    ALTER COLUMN tenant_id SET (n_distinct = 1), ALTER COLUMN user_id SET (n_distinct = 1),
    ALTER COLUMN collection SET (n_distinct = 1), ALTER COLUMN record_id SET (n_distinct = -1);
INSERT INTO draftline.draft
SELECT '', '', '', g::text, 'DELETE', '{}', '{}', 1, '{}', 1, '', '', now(), now() FROM generate_series(1, 10) AS g;
ANALYZE draftline.draft;
DELETE FROM draftline.draft;

COMMENT ON TABLE draftline.draft IS 'One user''s pending edit of one record.';
COMMENT ON COLUMN draftline.draft.edit IS 'the edit, as 0002_drafts.sql defines it';
COMMENT ON COLUMN draftline.draft.base IS 'the edit that puts back what the baseline held at the edited paths';
COMMENT ON COLUMN draftline.draft.base_version IS 'the version of the record that the draft was first saved over; 0: none';
COMMENT ON COLUMN draftline.draft.merged IS 'always the edit applied to the content of the record';
COMMENT ON COLUMN draftline.draft.session_id IS 'empty: none';
COMMENT ON COLUMN draftline.draft.change_reason IS 'empty: none';
