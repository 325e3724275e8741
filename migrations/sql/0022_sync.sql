-- Sync of collections with systems of record. docs/sync.md describes it; functions/sync.sql has the merge.

ALTER TABLE draftline.record ADD COLUMN acked_version bigint;
COMMENT ON COLUMN draftline.record.acked_version IS
    'the newest version whose content the system of record is known to hold; NULL: none';
ALTER TABLE draftline.collection ADD COLUMN upstream text COLLATE "C";
COMMENT ON COLUMN draftline.collection.upstream IS 'the sync that the collection belongs to; NULL: none';

CREATE TYPE draftline.sync_merged AS (value jsonb, base jsonb, conflicts jsonb, overruled jsonb);
CREATE SEQUENCE draftline.sync_mark;
CREATE SEQUENCE draftline.sync_event_id;

CREATE TABLE draftline.sync_upstream (
    tenant_id text COLLATE "C" NOT NULL,
    upstream text COLLATE "C" NOT NULL,
    endpoint text NOT NULL,
    config jsonb NOT NULL,
    version bigint NOT NULL,
    push_paused boolean NOT NULL DEFAULT false,
    pull_paused boolean NOT NULL DEFAULT false,
    suspended_reason text,
    suspended_message text,
    suspended_at timestamptz,
    owner text,
    lease_until timestamptz,
    log_xact bigint NOT NULL DEFAULT 0,
    change_id bigint NOT NULL DEFAULT 0,
    swept_at timestamptz,
    failures int NOT NULL DEFAULT 0,
    open_until timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, upstream)
);
COMMENT ON TABLE draftline.sync_upstream IS 'The syncs of tenants: each of one system of record.';
COMMENT ON COLUMN draftline.sync_upstream.endpoint IS 'its name in the file of endpoints';
COMMENT ON COLUMN draftline.sync_upstream.suspended_reason IS 'why the service stopped the sync; NULL: it runs';
COMMENT ON COLUMN draftline.sync_upstream.owner IS 'the worker that holds the lease until lease_until';
COMMENT ON COLUMN draftline.sync_upstream.log_xact IS 'with change_id: how far the change log was read for new changes';
COMMENT ON COLUMN draftline.sync_upstream.swept_at IS 'when all records were last compared; NULL: do it now';
COMMENT ON COLUMN draftline.sync_upstream.failures IS 'requests in a row that did not reach the upstream';
COMMENT ON COLUMN draftline.sync_upstream.open_until IS 'until when only one request may try the upstream';

CREATE TABLE draftline.sync_collection (
    tenant_id text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    upstream text COLLATE "C" NOT NULL,
    config jsonb NOT NULL,
    cursor text,
    pulled_at timestamptz,
    snapshot_at timestamptz,
    requested text,
    allowed_deletions int NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, collection)
);
COMMENT ON TABLE draftline.sync_collection IS 'The collections of syncs.';
COMMENT ON COLUMN draftline.sync_collection.config IS
    '{"resource": name at the upstream, "fields": see functions/sync.sql, "policies": see draftline.sync_policy}';
COMMENT ON COLUMN draftline.sync_collection.cursor IS 'of the upstream, after the last page of changes that was merged';
COMMENT ON COLUMN draftline.sync_collection.snapshot_at IS 'when a snapshot was last merged to its end; NULL: never';
COMMENT ON COLUMN draftline.sync_collection.requested IS 'CHANGES or SNAPSHOT: pull it now; NULL: when it is due';
COMMENT ON COLUMN draftline.sync_collection.allowed_deletions IS
    'how many deletions the next snapshot may make above the limit';

CREATE TABLE draftline.sync_record (
    tenant_id text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    record_id text COLLATE "C" NOT NULL,
    remote_id text COLLATE "C",
    remote_version text,
    is_there boolean NOT NULL DEFAULT false,
    shadow jsonb,
    state text NOT NULL DEFAULT 'IDLE'
        CONSTRAINT sync_record_state_check CHECK (state IN ('IDLE', 'DUE', 'SENDING', 'HELD', 'FAILED')),
    conflicts jsonb NOT NULL DEFAULT '[]',
    error jsonb,
    tries int NOT NULL DEFAULT 0,
    next_at timestamptz,
    due_since timestamptz,
    recheck text CONSTRAINT sync_record_recheck_check CHECK (recheck IN ('RECORD', 'ATTEMPT')),
    attempt_id uuid,
    op text CONSTRAINT sync_record_op_check CHECK (op IN ('CREATE', 'UPDATE', 'DELETE')),
    sent jsonb,
    seen_version bigint,
    if_match text,
    in_doubt boolean NOT NULL DEFAULT false,
    known_at bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, collection, record_id)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX sync_record_remote_idx ON draftline.sync_record (tenant_id, collection, remote_id)
    WHERE remote_id IS NOT NULL;
CREATE INDEX sync_record_next_idx ON draftline.sync_record (tenant_id, collection, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX sync_record_state_idx ON draftline.sync_record (tenant_id, collection, state, record_id)
    WHERE state <> 'IDLE';
COMMENT ON TABLE draftline.sync_record IS
    'Records of bound collections, as the upstream is known to hold them, and what is pending.';
COMMENT ON COLUMN draftline.sync_record.is_there IS 'the upstream holds it';
COMMENT ON COLUMN draftline.sync_record.shadow IS
    'the mapped fields that the upstream holds; NULL: those of the record at its acked_version';
COMMENT ON COLUMN draftline.sync_record.state IS
    'IDLE: synced; DUE: to be sent; SENDING: an attempt is out; HELD: in conflict; FAILED: refused';
COMMENT ON COLUMN draftline.sync_record.conflicts IS 'as draftline.sync_conflict returns them';
COMMENT ON COLUMN draftline.sync_record.error IS '{"reason", "message", "field"}';
COMMENT ON COLUMN draftline.sync_record.next_at IS 'when a worker has to look at it; NULL: not before it changes';
COMMENT ON COLUMN draftline.sync_record.recheck IS
    'RECORD: read it at the upstream, because a pull had to leave it; ATTEMPT: to learn what became of the attempt';
COMMENT ON COLUMN draftline.sync_record.attempt_id IS 'the key of the write that is out; written before it is sent';
COMMENT ON COLUMN draftline.sync_record.sent IS 'the mapped fields that the attempt leaves upstream';
COMMENT ON COLUMN draftline.sync_record.seen_version IS
    'the version of the record that the attempt sends, or that was held or refused';
COMMENT ON COLUMN draftline.sync_record.if_match IS 'the remote_version that the attempt requires; NULL: any';
COMMENT ON COLUMN draftline.sync_record.in_doubt IS 'the attempt may have been applied';
COMMENT ON COLUMN draftline.sync_record.known_at IS
    'sync_mark of the last write that ended, or read that was merged: reads that began before are out of date';

CREATE TABLE draftline.sync_event (
    tenant_id text COLLATE "C" NOT NULL,
    event_id bigint NOT NULL DEFAULT nextval('draftline.sync_event_id'),
    upstream text COLLATE "C" NOT NULL,
    collection text COLLATE "C",
    record_id text COLLATE "C",
    kind text NOT NULL,
    reason text,
    message text,
    detail jsonb,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, event_id)
);
ALTER SEQUENCE draftline.sync_event_id OWNED BY draftline.sync_event.event_id;
CREATE INDEX sync_event_created_idx ON draftline.sync_event (tenant_id, created_at);
COMMENT ON TABLE draftline.sync_event IS 'What happened to syncs and their records.';

-- As for records: the planner may not conclude from its statistics that a tenant or a collection has few rows.
ALTER TABLE draftline.sync_record
    ALTER COLUMN tenant_id SET (n_distinct = 1), ALTER COLUMN collection SET (n_distinct = 1),
    ALTER COLUMN record_id SET (n_distinct = -1), ALTER COLUMN remote_id SET (n_distinct = -1);
INSERT INTO draftline.sync_record (tenant_id, collection, record_id, remote_id, next_at)
SELECT '', g, g, g, 'epoch' FROM generate_series(1, 10) AS g;
ANALYZE draftline.sync_record;
DELETE FROM draftline.sync_record;
