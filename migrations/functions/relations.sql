-- The ids that relations read, and the entries by which the records that name an id are found.

-- Return the ids that the value at a path names: a text, or the texts of an array, each once, in their order. Other values,
-- and texts that cannot be the id of a record, name none. The path leads through objects only.
CREATE OR REPLACE FUNCTION draftline.related_ids(content jsonb, path text[]) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY path LOOP
        content := content -> name;
    END LOOP;
    IF jsonb_typeof(content) = 'string' THEN
        RETURN CASE WHEN length(content #>> '{}') BETWEEN 1 AND 128 THEN ARRAY[content #>> '{}'] ELSE '{}' END;
    ELSIF coalesce(jsonb_typeof(content), 'null') <> 'array' THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(
        SELECT i.id
        FROM (
            SELECT e.value #>> '{}' AS id, min(e.index) AS index
            FROM jsonb_array_elements(content) WITH ORDINALITY AS e (value, index)
            WHERE jsonb_typeof(e.value) = 'string' AND length(e.value #>> '{}') BETWEEN 1 AND 128
            GROUP BY e.value #>> '{}'
        ) AS i
        ORDER BY i.index);
END $$;

-- Return the path of a relation as text[], from the keys of its order: [{"path": [names], "type": "ID", "descending": false}].
CREATE OR REPLACE FUNCTION draftline.relation_path(keys jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY(SELECT p.name FROM jsonb_array_elements_text(keys #> '{0,path}') WITH ORDINALITY AS p (name, index) ORDER BY p.index);

-- Return the keys of the entries that a content has in an order: of a relation one for each id, else one.
CREATE OR REPLACE FUNCTION draftline.entry_keys(content jsonb, keys jsonb) RETURNS SETOF bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF keys #>> '{0,type}' = 'ID' THEN
        RETURN QUERY SELECT convert_to(i.id, 'UTF8')
            FROM unnest(draftline.related_ids(content, draftline.relation_path(keys))) AS i (id);
    ELSE
        RETURN NEXT draftline.order_key(content, keys);
    END IF;
END $$;

-- Return the entries of a relation that differ between two contents: a row with old_key for each that goes, and one with
-- new_key for each that comes. NULL: there was or will be no content.
CREATE OR REPLACE FUNCTION draftline.moved_relation_keys(old jsonb, new jsonb, keys jsonb)
RETURNS TABLE (old_key bytea, new_key bytea)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    path CONSTANT text[] := draftline.relation_path(keys);
    olds CONSTANT text[] := draftline.related_ids(old, path);
    news CONSTANT text[] := draftline.related_ids(new, path);
BEGIN
    IF olds IS DISTINCT FROM news THEN
        RETURN QUERY
            SELECT convert_to(o.id, 'UTF8'), NULL::bytea FROM unnest(olds) AS o (id) WHERE o.id <> ALL (news)
            UNION ALL
            SELECT NULL::bytea, convert_to(n.id, 'UTF8') FROM unnest(news) AS n (id) WHERE n.id <> ALL (olds);
    END IF;
END $$;

-- Return the orders, as draftline.collection_order.keys has them, whose entries a collection's relations require: those of
-- relations with an inverse, or which restrict deletions. Argument: draftline.collection.relations.
CREATE OR REPLACE FUNCTION draftline.relation_orders(relations jsonb) RETURNS SETOF jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT DISTINCT jsonb_build_array(jsonb_build_object('path', r.value -> 'path', 'type', 'ID', 'descending', false))
    FROM jsonb_array_elements(relations) AS r
    WHERE r.value ->> 'inverse' <> '' OR r.value ->> 'on_delete' = 'RESTRICT'
$$;
