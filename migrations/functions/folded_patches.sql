-- Folded patches; see store/sql/folded_patches.sql.

-- Apply patches of one record in order, each to the result of the one before; one that fails leaves it as it is. Arguments:
-- the record, its collection spec, and the patches in parallel arrays as patch_content has them. `old_content`,
-- `new_content` and `version` are those of the patch; `edit`, `base` and `fields`: their difference; NULL: there is none.
CREATE OR REPLACE FUNCTION draftline.fold_patches(content jsonb, record_version bigint, record_id text, parent_id text,
    "position" bigint, created_at timestamptz, created_by text, record_updated_at timestamptz, record_updated_by text,
    deleted_at timestamptz, indexed_text jsonb, definition_version bigint, kinds text[], edits jsonb[], depths int[],
    expected_versions bigint[], conditions jsonb[], definition_versions bigint[], user_ids text[], now timestamptz,
    max_bytes int, max_depth int, max_indexed_text_bytes int, max_nodes int)
RETURNS TABLE (index bigint, failure jsonb, old_content jsonb, new_content jsonb, version bigint, changes boolean,
    edit jsonb, base jsonb, fields text[], updated_at timestamptz, updated_by text)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
#variable_conflict use_column
DECLARE
    outcome draftline.edit_outcome;
BEGIN
    old_content := content;
    version := record_version;
    updated_at := record_updated_at;
    updated_by := record_updated_by;
    FOR step IN 1 .. cardinality(kinds) LOOP
        index := step;
        new_content := NULL;
        changes := false;
        edit := NULL;
        base := NULL;
        fields := NULL;
        failure := CASE
            WHEN deleted_at IS NOT NULL THEN '{"reason": "RECORD_DELETED"}'
            WHEN definition_versions[step] <> definition_version THEN '{"reason": "STALE_DEFINITION"}'
            WHEN expected_versions[step] <> version
                THEN jsonb_build_object('reason', 'VERSION_MISMATCH', 'current_version', version)
            WHEN conditions[step] IS NOT NULL AND NOT draftline.matches(draftline.attributes(record_id, version,
                    parent_id, "position", created_at, created_by, updated_at, updated_by), old_content, conditions[step])
                THEN '{"reason": "CONDITION_NOT_MET"}'
        END;
        IF failure IS NULL THEN
            outcome := draftline.edit(old_content, kinds[step], edits[step], depths[step], max_bytes, max_depth);
            failure := outcome.failure;
            new_content := outcome.content;
            changes := coalesce(new_content <> old_content, false);
        END IF;
        IF changes THEN
            failure := draftline.content_failure(new_content, indexed_text, max_bytes,
                CASE WHEN kinds[step] = 'OPERATIONS' THEN max_depth END, max_indexed_text_bytes, max_nodes);
            changes := failure IS NULL;
        END IF;
        IF changes THEN
            SELECT d.edit, d.base, d.fields INTO edit, base, fields
            FROM draftline.difference_at(old_content, new_content, CASE
                WHEN kinds[step] IN ('SHALLOW', 'DEEP', 'MERGE_PATCH') THEN edits[step]
                ELSE old_content || new_content END) AS d;
            version := version + 1;
            updated_at := now;
            updated_by := user_ids[step];
        END IF;
        RETURN NEXT;
        IF changes THEN
            old_content := new_content;
        END IF;
    END LOOP;
END $$;
