-- What drafts set of parents and positions is lost: the version before has no place for it.
ALTER TABLE draftline.draft DROP COLUMN attributes;
DROP FUNCTION draftline.own_attributes, draftline.drafted_parent_id, draftline.drafted_position,
    draftline.draft_attributes, draftline.modified_attributes, draftline.attribute_conflicts, draftline.draft_conflicts,
    draftline.has_path, draftline.touches, draftline.decided, draftline.put_value, draftline.decided_attributes, draftline.revives,
    draftline.attributes_back, draftline.attributes_since, draftline.has_conflict, draftline.seen_basis;
