CREATE TABLE draftline.tenant_usage (
    tenant_id text COLLATE "C" NOT NULL,
    collections bigint NOT NULL,
    records bigint NOT NULL,
    bytes bigint NOT NULL,
    drafts bigint NOT NULL,
    counted_at timestamptz NOT NULL,
    CONSTRAINT tenant_usage_pkey PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE draftline.tenant_usage IS 'The use of each tenant at its last count.';
COMMENT ON COLUMN draftline.tenant_usage.records IS 'including deleted ones that are not purged';
COMMENT ON COLUMN draftline.tenant_usage.bytes IS 'of the contents of records, as stored, after compression';
