-- Folding without reading whole tallies: rows that writes append are told apart from folded ones.

ALTER TABLE draftline.tally ADD COLUMN is_folded boolean NOT NULL DEFAULT false;
ALTER TABLE draftline.tally ALTER COLUMN is_folded SET (n_distinct = 1);
DROP INDEX draftline.tally_idx;
CREATE INDEX tally_idx ON draftline.tally (tenant_id, statistic_id, is_folded, user_id, k1);
COMMENT ON COLUMN draftline.tally.is_folded IS
    'false: appended by a write, until the next fold; true: the sum of a group, or of a node of a range (group_nodes)';

ALTER TABLE draftline.statistic ADD COLUMN folded_at timestamptz;
COMMENT ON COLUMN draftline.statistic.folded_at IS 'when its tally was folded last';
COMMENT ON COLUMN draftline.statistic.k1_type IS
    'TEXT, NUMBER, BOOLEAN, DATE, MONTH or YEAR; NUMBER_RANGE or DATE_RANGE: its groups are nodes, see group_nodes';
COMMENT ON COLUMN draftline.statistic.group_count IS 'groups of the baseline when it was built, without those of a range';
