CREATE TABLE draftline.tenant_quota (
    tenant_id text COLLATE "C" NOT NULL,
    records bigint,
    bytes bigint,
    drafts bigint,
    changed_at timestamptz NOT NULL,
    changed_by text NOT NULL,
    CONSTRAINT tenant_quota_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT tenant_quota_limits_check CHECK (least(records, bytes, drafts) >= 0)
);
COMMENT ON TABLE draftline.tenant_quota IS 'The quotas of single tenants. NULL: that of the settings; 0: none.';
