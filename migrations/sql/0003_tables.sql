-- What the change log keeps of a collection: the values at the edited paths, or the paths alone.
ALTER TABLE draftline.collection ADD COLUMN history text NOT NULL DEFAULT 'VALUES'
    CONSTRAINT collection_history_check CHECK (history IN ('VALUES', 'PATHS'));

-- The order of the log. A change may be shown when every transaction up to its log_xact is over: then it is
-- known that none will come before it. For that, log_xact is the number of the change's transaction or of an
-- earlier one's of the same record, whichever is greater, so that (log_xact, change_id) has a record's changes in
-- the order of its versions, although transactions end in another order than they drew their numbers in.
ALTER TABLE draftline.record ADD COLUMN log_xact bigint NOT NULL DEFAULT 0;

-- What a draft was checked by when it was saved, so that a commit need not check it again.
ALTER TABLE draftline.draft ADD COLUMN definition_version bigint;
COMMENT ON COLUMN draftline.draft.definition_version
    IS 'the version of the declaration that it was checked by when it was saved; NULL: not known';

CREATE SEQUENCE draftline.change_id;

CREATE TABLE draftline.change (
    tenant_id text COLLATE "C" NOT NULL,
    log_xact bigint NOT NULL,
    change_id bigint NOT NULL DEFAULT nextval('draftline.change_id'),
    collection text COLLATE "C" NOT NULL,
    record_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    kind text NOT NULL CONSTRAINT change_kind_check
        CHECK (kind IN ('CREATE', 'UPDATE', 'DELETE', 'UNDELETE', 'DRAFT')),
    source text NOT NULL,
    edit jsonb,
    base jsonb,
    attributes jsonb,
    user_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    commit_id uuid,
    change_reason text NOT NULL,
    request_id uuid,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, log_xact, change_id, created_at)
) PARTITION BY RANGE (created_at);

CREATE INDEX change_record_idx ON draftline.change (tenant_id, collection, record_id, version);
-- Without the notices of drafts: there may be any number of them between two changes.
CREATE INDEX change_user_idx ON draftline.change (tenant_id, user_id, log_xact, change_id) WHERE kind <> 'DRAFT';
CREATE INDEX change_session_idx ON draftline.change (tenant_id, session_id, log_xact, change_id)
    WHERE session_id <> '' AND kind <> 'DRAFT';
CREATE INDEX change_commit_idx ON draftline.change (tenant_id, commit_id, log_xact, change_id)
    WHERE commit_id IS NOT NULL;

COMMENT ON TABLE draftline.change IS 'The log of all changes of records, and a notice of every draft saved or dropped.';
COMMENT ON COLUMN draftline.change.log_xact IS 'the greatest transaction number of this and all earlier changes of its record';
COMMENT ON COLUMN draftline.change.version IS 'the record''s since the change; 0 for a draft';
COMMENT ON COLUMN draftline.change.kind IS 'DRAFT: only that a draft was saved or dropped; nothing for anyone but its user';
COMMENT ON COLUMN draftline.change.source IS 'the rpc that wrote it';
COMMENT ON COLUMN draftline.change.edit IS
    'makes the content after of the content before, as 0002_drafts.sql defines edits; NULL for a creation, whose content is not written twice';
COMMENT ON COLUMN draftline.change.base IS 'makes the content before of the content after; NULL: the values were not kept';
COMMENT ON COLUMN draftline.change.attributes IS '{"parent_id": [old, new], "position": [old, new]}, those that changed';
COMMENT ON COLUMN draftline.change.session_id IS 'empty: none';
COMMENT ON COLUMN draftline.change.change_reason IS 'empty: none';
COMMENT ON COLUMN draftline.record.log_xact IS 'the greatest transaction number of its changes';
COMMENT ON COLUMN draftline.collection.history IS 'VALUES or PATHS';

-- The state of the log as a whole; one row.
CREATE TABLE draftline.change_log (
    only_row boolean NOT NULL PRIMARY KEY DEFAULT true CONSTRAINT change_log_only_row_check CHECK (only_row),
    dropped_xact bigint NOT NULL,
    dropped_id bigint NOT NULL,
    cluster bigint NOT NULL,
    horizon bigint NOT NULL,
    xact_offset bigint NOT NULL
);
COMMENT ON TABLE draftline.change_log IS 'The state of the log as a whole; one row.';
COMMENT ON COLUMN draftline.change_log.dropped_xact IS 'with dropped_id: the last place in the order of the log that was dropped';
COMMENT ON COLUMN draftline.change_log.cluster IS 'system_identifier of the PostgreSQL that the log was last kept in';
COMMENT ON COLUMN draftline.change_log.horizon IS 'draftline.log_horizon() when the log was last kept';
COMMENT ON COLUMN draftline.change_log.xact_offset IS 'what is added to transaction numbers since the log moved to another cluster';
INSERT INTO draftline.change_log (dropped_xact, dropped_id, cluster, horizon, xact_offset)
SELECT 0, 0, system_identifier, 0, 0 FROM pg_control_system();

-- Requests that are over, for as long as they may be sent again.
CREATE TABLE draftline.request (
    tenant_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    response bytea,
    answer jsonb,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id, request_id)
);
CREATE INDEX request_created_idx ON draftline.request (created_at);
COMMENT ON TABLE draftline.request IS 'What was answered to requests that carry an id, written with what they wrote.';
COMMENT ON COLUMN draftline.request.fingerprint IS 'tells the request from another one with the same id';
COMMENT ON COLUMN draftline.request.response IS 'the answer as it was sent';
COMMENT ON COLUMN draftline.request.answer IS 'or the record and its changed_fields, for a call of one; or what a call has written that is not over';
