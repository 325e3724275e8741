DROP TABLE draftline.draft;
DROP FUNCTION draftline.node, draftline.apply_node, draftline.apply_edit, draftline.compose, draftline.compose_nodes, draftline.rebase, draftline.modified_fields,
    draftline.inverse_node, draftline.inverse, draftline.restore_node, draftline.restore,
    draftline.prune_node, draftline.prune, draftline.conflict, draftline.differ, draftline.leaf_keys,
    draftline.node_conflicts, draftline.conflicts, draftline.settle_node, draftline.settle,
    draftline.edit_at, draftline.edit_of_operations, draftline.refresh_drafts;
DROP TYPE draftline.based_edit;
