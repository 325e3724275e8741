-- Tallies without the positions of their appended rows.

DROP INDEX draftline.tally_idx;
CREATE INDEX tally_idx ON draftline.tally (tenant_id, statistic_id, is_folded, user_id, k1);
ALTER TABLE draftline.tally DROP COLUMN log_xact;
ALTER TABLE draftline.statistic DROP COLUMN folded_before, DROP COLUMN unfolded_xacts;
