DROP TABLE draftline.tenant_usage;
