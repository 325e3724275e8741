-- Tallies keep their sums without the nodes of ranges, so statistics with a range are dropped, and their tallies.

UPDATE draftline.collection AS c
SET statistics = coalesce((SELECT jsonb_agg(s.value ORDER BY s.ordinality)
    FROM jsonb_array_elements(c.statistics) WITH ORDINALITY AS s
    WHERE s.value -> 'keys' -> 0 ->> 'type' NOT LIKE '%_RANGE'), '[]')
WHERE c.statistics <> '[]';
DELETE FROM draftline.tally AS t USING draftline.statistic AS q
WHERE q.k1_type LIKE '%_RANGE' AND t.tenant_id = q.tenant_id AND t.statistic_id = q.statistic_id;
DELETE FROM draftline.statistic WHERE k1_type LIKE '%_RANGE';

DROP INDEX draftline.tally_idx;
ALTER TABLE draftline.tally DROP COLUMN is_folded;
CREATE INDEX tally_idx ON draftline.tally (tenant_id, statistic_id, user_id, k1);
ALTER TABLE draftline.statistic DROP COLUMN folded_at;
COMMENT ON COLUMN draftline.statistic.k1_type IS 'TEXT, NUMBER, BOOLEAN, DATE, MONTH or YEAR';
COMMENT ON COLUMN draftline.statistic.group_count IS 'groups of the baseline when it was built';
DROP FUNCTION draftline.group_nodes;

-- Return the text of a group's key. NULL if the value is missing, null, of another type or too long. Equal values have equal
-- texts, and the texts of dates sort like the dates. type: TEXT, NUMBER, BOOLEAN, DATE, MONTH or YEAR.
CREATE OR REPLACE FUNCTION draftline.group_key(value jsonb, type text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    day date;
BEGIN
    CASE type
        WHEN 'TEXT' THEN RETURN draftline.indexed_text_at(value, '{}');
        WHEN 'NUMBER' THEN RETURN trim_scale(draftline.number_at(value, '{}'))::text;
        WHEN 'BOOLEAN' THEN RETURN draftline.boolean_at(value, '{}')::text;
        ELSE
            day := draftline.date_at(value, '{}');
            RETURN left(lpad(extract(year FROM day)::int::text, 4, '0') || '-'
                || lpad(extract(month FROM day)::int::text, 2, '0') || '-'
                || lpad(extract(day FROM day)::int::text, 2, '0'),
                CASE type WHEN 'YEAR' THEN 4 WHEN 'MONTH' THEN 7 ELSE 10 END);
    END CASE;
END $$;
