DROP TABLE draftline.tenant_quota;
