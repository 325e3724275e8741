COMMENT ON TABLE draftline.change IS 'The log of all changes of records, with a notice of each draft saved or removed.';
COMMENT ON COLUMN draftline.change.version IS
    'the version of the record after the change; 0 for a draft; 0 or less for a purge, one less each time, '
    'because versions start again at 1 after it';
COMMENT ON COLUMN draftline.change.kind IS
    'DRAFT: a draft was saved or removed, which only its user may see. PURGE: the record and its changes '
    'were removed';
COMMENT ON COLUMN draftline.change.edit IS
    'the edit that turns the content before into the content after; NULL for a creation, whose content is '
    'not stored twice';
COMMENT ON COLUMN draftline.change.base IS
    'the edit that turns the content after into the content before; NULL: not stored';
COMMENT ON COLUMN draftline.change.snapshot IS
    'the whole content before the change, stored if draftline.keeps_snapshot(version)';
COMMENT ON COLUMN draftline.change.attributes IS
    '{"parent_id": [old, new], "position": [old, new]}, without those that did not change';
COMMENT ON COLUMN draftline.change_log.dropped_xact IS
    'with dropped_id: the log position of the last entry that was dropped';
COMMENT ON COLUMN draftline.change_log.cluster IS
    'the system_identifier of PostgreSQL at the last maintenance of the log';
COMMENT ON COLUMN draftline.change_log.horizon IS 'draftline.log_horizon() at the last maintenance of the log';
COMMENT ON COLUMN draftline.change_log.xact_offset IS
    'added to transaction numbers since the log moved to another cluster';
COMMENT ON TABLE draftline.collection IS 'The collection specs; a collection works without one.';
COMMENT ON COLUMN draftline.collection.fields IS
    '[{"path": [tokens], "type": "TEXT"}], with "on_type_mismatch": "REFUSE" if the spec sets it';
COMMENT ON COLUMN draftline.collection.indexed_text IS
    'the checks of each write: {"path": [tokens], "type": "DATE"} for a field that rejects other types, '
    '[tokens] for the length of a TEXT field';
COMMENT ON COLUMN draftline.collection_order.order_id IS 'never reused, not even after the order is dropped';
COMMENT ON COLUMN draftline.collection_order.dropped_at IS 'when the collection spec stopped declaring it';
COMMENT ON COLUMN draftline.draft.edit IS 'the edit; migrations/functions/edits.sql defines its format';
COMMENT ON COLUMN draftline.draft.base IS 'the edit that restores the values that the record had at the edited paths';
COMMENT ON COLUMN draftline.draft.base_version IS
    'the version of the record when the draft was first saved; 0: there was no record';
COMMENT ON COLUMN draftline.draft.merged IS 'the edit applied to the current content of the record';
COMMENT ON COLUMN draftline.draft.definition_version IS
    'the version of the collection spec that validated the draft when it was saved; NULL: unknown';
COMMENT ON TABLE draftline.request IS
    'The stored responses of requests with an id, written in the transaction of the request.';
COMMENT ON COLUMN draftline.request.fingerprint IS
    'a hash of the request, which detects another request with the same id';
COMMENT ON COLUMN draftline.request.response IS 'the response as it was sent';
COMMENT ON COLUMN draftline.request.answer IS
    'instead of the response: the record that was returned, or those parts of it that the log does not hold; '
    'or what an unfinished call has written so far';
COMMENT ON COLUMN draftline.request.version IS
    'for a call on one record, the version that was returned: the rest is rebuilt from the record and the '
    'log';
COMMENT ON TABLE draftline.secret IS
    'Secrets that all processes of this database share, such as the key of page tokens.';
COMMENT ON COLUMN draftline.statistic.statistic_id IS 'never reused, not even after the statistic is dropped';
