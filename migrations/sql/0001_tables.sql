CREATE TABLE draftline.record (
    tenant_id text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    record_id text COLLATE "C" NOT NULL,
    content jsonb NOT NULL CONSTRAINT record_content_check CHECK (jsonb_typeof(content) = 'object'),
    version bigint NOT NULL CONSTRAINT record_version_check CHECK (version > 0),
    parent_id text COLLATE "C",
    position bigint,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by text NOT NULL,
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, collection, record_id)
) WITH (fillfactor = 90);  -- room for the next version of a row on its own page

CREATE TABLE draftline.collection (
    tenant_id text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    fields jsonb NOT NULL,
    orders jsonb NOT NULL,
    indexed_text jsonb NOT NULL,
    json_schema text NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, collection)
);

-- To the planner a tenant and a collection may be all there is. It then looks records up by their
-- whole key, whatever its statistics know of a tenant that came after they were made.
ALTER TABLE draftline.record
    ALTER COLUMN tenant_id SET (n_distinct = 1), ALTER COLUMN collection SET (n_distinct = 1),
    ALTER COLUMN record_id SET (n_distinct = -1);
-- Known from the start, and not only once there are statistics of something.
INSERT INTO draftline.record
SELECT '', '', g::text, '{}', 1, NULL, NULL, now(), '', now(), '', NULL FROM generate_series(1, 10) AS g;
ANALYZE draftline.record;
DELETE FROM draftline.record;

COMMENT ON TABLE draftline.record IS 'The baseline: one row a record.';
COMMENT ON TABLE draftline.collection
    IS 'What was declared of a collection; a collection without a row works all the same.';
COMMENT ON COLUMN draftline.collection.fields IS '[{"path": [tokens], "type": "TEXT"}]';
COMMENT ON COLUMN draftline.collection.orders IS '[[{"path": [tokens], "descending": false}]]';
COMMENT ON COLUMN draftline.collection.indexed_text IS 'the paths of the TEXT fields: [[tokens]]';
COMMENT ON COLUMN draftline.collection.json_schema IS 'empty: none';

-- A record's own attributes, as filters name them.
CREATE FUNCTION draftline.attributes(record_id text, version bigint, parent_id text, "position" bigint,
    created_at timestamptz, created_by text, updated_at timestamptz, updated_by text) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object('record_id', record_id, 'version', version, 'parent_id', parent_id,
        'position', "position", 'create_time', created_at, 'created_by', created_by,
        'update_time', updated_at, 'updated_by', updated_by)
$$;

-- What all servers of this database share and nobody else may know: it seals page tokens.
CREATE TABLE draftline.secret (
    name text NOT NULL PRIMARY KEY,
    value text NOT NULL
);
COMMENT ON TABLE draftline.secret IS 'What the servers of this database share; page tokens are sealed with it.';
INSERT INTO draftline.secret VALUES ('page_token', gen_random_uuid()::text || gen_random_uuid()::text);
