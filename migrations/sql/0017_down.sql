COMMENT ON TABLE draftline.change IS 'The log of all changes of records, and a notice of every draft saved or dropped.';
COMMENT ON COLUMN draftline.change.version IS
    'the record''s since the change; 0 for a draft; 0 or less for a purge, one less each time, for versions '
    'begin anew after it';
COMMENT ON COLUMN draftline.change.kind IS
    'DRAFT: only that a draft was saved or dropped; nothing for anyone but its user. PURGE: the record and '
    'its changes were removed';
COMMENT ON COLUMN draftline.change.edit IS
    'makes the content after of the content before, as 0002_drafts.sql defines edits; NULL for a creation, '
    'whose content is not written twice';
COMMENT ON COLUMN draftline.change.base IS
    'makes the content before of the content after; NULL: the values were not kept';
COMMENT ON COLUMN draftline.change.snapshot IS
    'the whole content before the change, kept where draftline.keeps_snapshot(version)';
COMMENT ON COLUMN draftline.change.attributes IS
    '{"parent_id": [old, new], "position": [old, new]}, those that changed';
COMMENT ON COLUMN draftline.change_log.dropped_xact IS
    'with dropped_id: the last place in the order of the log that was dropped';
COMMENT ON COLUMN draftline.change_log.cluster IS 'system_identifier of the PostgreSQL that the log was last kept in';
COMMENT ON COLUMN draftline.change_log.horizon IS 'draftline.log_horizon() when the log was last kept';
COMMENT ON COLUMN draftline.change_log.xact_offset IS
    'what is added to transaction numbers since the log moved to another cluster';
COMMENT ON TABLE draftline.collection IS
    'What was declared of a collection; a collection without a row works all the same.';
COMMENT ON COLUMN draftline.collection.fields IS
    '[{"path": [tokens], "type": "TEXT"}], with "on_type_mismatch": "REFUSE" where that was declared';
COMMENT ON COLUMN draftline.collection.indexed_text IS
    'what writes are checked for: {"path": [tokens], "type": "DATE"} of fields that refuse, [tokens] of TEXT '
    'fields';
COMMENT ON COLUMN draftline.collection_order.order_id IS 'never used again, for no other order and after no drop';
COMMENT ON COLUMN draftline.collection_order.dropped_at IS 'since when it is no longer declared';
COMMENT ON COLUMN draftline.draft.edit IS 'the edit, as 0002_drafts.sql defines it';
COMMENT ON COLUMN draftline.draft.base IS 'the edit that puts back what the baseline held at the edited paths';
COMMENT ON COLUMN draftline.draft.base_version IS
    'the version of the record that the draft was first saved over; 0: none';
COMMENT ON COLUMN draftline.draft.merged IS 'always the edit applied to the content of the record';
COMMENT ON COLUMN draftline.draft.definition_version IS
    'the version of the declaration that it was checked by when it was saved; NULL: not known';
COMMENT ON TABLE draftline.request IS 'What was answered to requests that carry an id, written with what they wrote.';
COMMENT ON COLUMN draftline.request.fingerprint IS 'tells the request from another one with the same id';
COMMENT ON COLUMN draftline.request.response IS 'the answer as it was sent';
COMMENT ON COLUMN draftline.request.answer IS
    'or what the log does not tell of the record that was answered, or all of it; or what a call has written '
    'that is not over';
COMMENT ON COLUMN draftline.request.version IS
    'for a call of one record, the version that it answered: the rest is rebuilt from the record and the log';
COMMENT ON TABLE draftline.secret IS 'What the servers of this database share; page tokens are sealed with it.';
COMMENT ON COLUMN draftline.statistic.statistic_id IS 'never used again, for no other statistic and after no drop';

CREATE OR REPLACE FUNCTION draftline.apply_operations(
    document jsonb, operations jsonb, max_bytes int, max_depth int) RETURNS draftline.edit_outcome
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    operation jsonb;
    step record;
    place int := 0;
BEGIN
    FOR operation IN SELECT o FROM jsonb_array_elements(operations) AS o LOOP
        step := draftline.apply_operation(document, operation);
        IF step.document IS NULL THEN
            RETURN (NULL, jsonb_build_object('reason', step.reason, 'operation', place,
                'path', draftline.pointer(step.at), 'message', step.problem))::draftline.edit_outcome;
        END IF;
        document := step.document;
        -- Copies can double a document a thousand times over, and each step can put a value where the
        -- last one ended: stop while it is small and flat.
        IF pg_column_size(document) > 4 * max_bytes THEN
            RETURN (NULL, draftline.too_large('size', max_bytes))::draftline.edit_outcome;
        ELSIF (CASE WHEN operation ->> 'op' IN ('copy', 'move') THEN draftline.is_deeper(document, max_depth)
                    WHEN operation ->> 'op' IN ('add', 'replace', 'increment', 'union')
                    THEN jsonb_array_length(operation -> 'path') > max_depth END) THEN
            RETURN (NULL, draftline.too_large('depth', max_depth))::draftline.edit_outcome;
        END IF;
        place := place + 1;
    END LOOP;
    IF jsonb_typeof(document) <> 'object' THEN
        RETURN (NULL, jsonb_build_object('reason', 'INVALID_OPERATION', 'path', '',
            'message', 'would be left with a value that is no object'))::draftline.edit_outcome;
    END IF;
    RETURN (document, NULL)::draftline.edit_outcome;
END $$;
