-- Statistics of ranges.

-- Return the nodes that count a group, by the key that group_key returns. A range of values is the sum of few nodes: `a`
-- counts all values; `b`, `c` and `d` those whose sort keys start alike, of numbers with the sign, the exponent and 1, 3 or 5
-- digits, of dates in 4,096, 256 or 16 days; and `z` one value. Any other group is its own node.
-- draftline_server.store.statistics.ranges divides ranges into these nodes.
CREATE OR REPLACE FUNCTION draftline.group_nodes(key text, type text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE type
    WHEN 'NUMBER_RANGE' THEN ARRAY['a', 'b' || left(key, 5), 'c' || left(key, 7), 'd' || left(key, 9), 'z' || key]
    WHEN 'DATE_RANGE' THEN ARRAY['a', 'b' || left(key, 5), 'c' || left(key, 6), 'd' || left(key, 7), 'z' || key]
    ELSE ARRAY[key]
END;
