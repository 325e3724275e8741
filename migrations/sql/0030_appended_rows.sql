-- Reads of tallies that skip the appended rows which a fold has deleted and vacuum may not remove yet.

ALTER TABLE draftline.tally ADD COLUMN log_xact bigint NOT NULL DEFAULT draftline.log_xact();
-- Not the column alone: services of the version before do not set it in the rows that they fold.
DROP INDEX draftline.tally_idx;
CREATE INDEX tally_idx ON draftline.tally
    (tenant_id, statistic_id, is_folded, user_id, (CASE WHEN is_folded THEN BIGINT '0' ELSE log_xact END), k1);
COMMENT ON COLUMN draftline.tally.log_xact IS
    'the log position of the transaction that appended the row; see statistic.folded_before';

ALTER TABLE draftline.statistic
    ADD COLUMN folded_before bigint NOT NULL DEFAULT 0, ADD COLUMN unfolded_xacts bigint[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN draftline.statistic.folded_before IS
    'the rows that transactions before this log position appended to its tally are folded, but those of unfolded_xacts';
COMMENT ON COLUMN draftline.statistic.unfolded_xacts IS
    'the log positions before folded_before of the transactions that were running at the last fold';
