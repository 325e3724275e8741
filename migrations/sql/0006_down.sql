-- Drafted transforms become sets of what they make by now; bases lose what tells of objects that were not there.
CREATE FUNCTION draftline.without_transforms(edit jsonb, merged jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    plain jsonb := edit;
    name text;
BEGIN
    FOR name IN SELECT jsonb_object_keys(edit -> 't') LOOP
        plain := draftline.with_key(plain, name, 's', merged -> name);
    END LOOP;
    FOR name IN SELECT jsonb_object_keys(edit -> 'm') LOOP
        plain := jsonb_set(plain, ARRAY['m', name], draftline.without_transforms(edit -> 'm' -> name, merged -> name));
    END LOOP;
    RETURN plain;
END $$;

CREATE FUNCTION draftline.without_marks(base jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN CASE WHEN base ? 'm' THEN base || jsonb_build_object('m', (
            SELECT jsonb_object_agg(m.key, draftline.without_marks(m.value)) FROM jsonb_each(base -> 'm') AS m))
        ELSE base END - 'n';
END $$;

UPDATE draftline.draft
SET edit = draftline.without_transforms(edit, merged), base = draftline.without_marks(base)
WHERE kind = 'CHANGE' AND (edit ? 'm' OR edit ? 't');

DROP FUNCTION draftline.without_transforms, draftline.without_marks;
DROP FUNCTION
    draftline.node(jsonb, text[], jsonb, jsonb, boolean),
    draftline.steps_put(jsonb),
    draftline.puts(jsonb),
    draftline.has_transforms(jsonb),
    draftline.transform(jsonb, jsonb),
    draftline.normal_steps(jsonb),
    draftline.with_items(jsonb[], text, jsonb),
    draftline.without_items(jsonb[], jsonb),
    draftline.chain(jsonb, jsonb),
    draftline.with_key(jsonb, text, text, jsonb),
    draftline.compose_merge(jsonb, text, jsonb),
    draftline.compose_steps(jsonb, text, jsonb),
    draftline.prune_steps(jsonb, jsonb, jsonb),
    draftline.prune_node(jsonb, jsonb, jsonb),
    draftline.prune_child(jsonb, jsonb, jsonb),
    draftline.prune(jsonb, jsonb, jsonb),
    draftline.rebase(jsonb, jsonb, jsonb),
    draftline.steps_differ(jsonb, jsonb, jsonb),
    draftline.parent_differs(jsonb, jsonb, jsonb),
    draftline.base_value(jsonb),
    draftline.is_member(jsonb, text[]),
    draftline.steps_at(text[], jsonb),
    draftline.edit_to(jsonb, jsonb, text[]),
    draftline.steps_of(text, jsonb, jsonb),
    draftline.is_transform(jsonb),
    draftline.edit_of_operation(jsonb, jsonb, jsonb),
    draftline.steps_done(jsonb, jsonb, jsonb),
    draftline.steps_done_by(jsonb, jsonb, jsonb),
    draftline.commute(jsonb, jsonb),
    draftline.follow(jsonb, jsonb, jsonb),
    draftline.refresh_drafts(text, text[], text[], jsonb[], jsonb[], jsonb[]);
