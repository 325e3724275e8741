"""Declared times that the version before could not read are in lists after its database was migrated, by an index."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import draftline
from draftline import DeclaredField
from draftline_server.ops import migrate, revisions
from support.polling import until
from support.servers import beside, cloned, run_sql, serving

OLD = "0004"
TIMES = {
    "a": "2016-12-31T23:59:60Z",
    "b": "2017-01-01T00:00:00.5Z",
    "c": "2026-11-20",
    "d": "2026-11-20 10:00:00z",
    "e": "2026-11-20T10:00:00",  # without an offset
    "f": None,
}
# As the version before named and made it.
OLD_INDEX = "record_order_53d4a1f2b0c94d2e8f6a7b1c2d3e4f50"
BEFORE = [
    """INSERT INTO draftline.collection
    VALUES ('t', 'films', '[{"path": ["at"], "type": "TIMESTAMP"}, {"path": ["name"], "type": "TEXT"}]', '[]',
        '[["name"]]', '', 3, '2026-01-01Z', '2026-01-02Z')""",
    f"""INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, parent_id, position,
        created_at, created_by, updated_at, updated_by, deleted_at)
    SELECT 't', 'films', t.key,
        jsonb_build_object('at', t.value, 'items', '[{{"sku": "x"}}, {{"sku": "y"}}]'::jsonb), 1, NULL, NULL,
        '2026-01-01Z', 'ada', '2026-01-02Z', 'bob', NULL
    FROM jsonb_each('{json.dumps(TIMES)}') AS t""",
    """INSERT INTO draftline.draft (tenant_id, user_id, collection, record_id, kind, edit, base, base_version, merged,
        version, session_id, change_reason, created_at, updated_at)
    VALUES ('t', 'ada', 'films', 'g', 'CREATE', '{"v": {"at": "2026-11-19"}}', '{}', 0, '{"at": "2026-11-19"}', 1, '',
        '', '2026-01-03Z', '2026-01-04Z')""",
    f"""CREATE INDEX {OLD_INDEX} ON draftline.record
        (tenant_id, draftline.timestamp_at(content, ARRAY['at']) ASC NULLS LAST, record_id)
        WHERE collection = 'films' AND deleted_at IS NULL""",
]
# A condition as the version before writes it.
HAS = '{"op": "has", "in": "content", "path": "{a}", "type": "NUMBER", "value": "1", "key": "1"}'
TABLES = ("collection", "record", "draft")


def look(url: str, query: str) -> list[Any]:
    async def run() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return [row[0] for row in await connection.fetch(query)]
        finally:
            await connection.close()

    found: list[Any] = beside(asyncio.run, run())
    return found


def stored(url: str) -> list[Any]:
    return [look(url, f"SELECT to_jsonb(t)::text FROM draftline.{name} AS t ORDER BY 1") for name in TABLES]


def index_definitions(url: str) -> list[str]:
    tables = "schemaname = 'draftline' AND tablename IN ('record', 'draft')"
    return look(url, f"SELECT indexdef FROM pg_indexes WHERE {tables} AND indexname ~ '_order_'")


def test_times_and_drafts_of_the_version_before_are_in_lists_and_indexes(postgres_url: str, template: str) -> None:
    with cloned(postgres_url, template) as url:
        beside(migrate.go_to, url, OLD)
        run_sql(url, *BEFORE)
        before = stored(url)
        assert beside(migrate.upgrade, url) == revisions.head()
        with serving(url) as server, draftline.Client(server.address, tenant_id="t", user="ada") as client:
            check_lists(client)
            client.put_collection(
                "films", fields=[DeclaredField("/at", "timestamp"), DeclaredField("/n", "date", "refuse")]
            )
            until(lambda: index_definitions(url) == [])
            check_lists(client)
        assert beside(migrate.go_to, url, OLD) == OLD
        assert stored(url)[1:] == before[1:]
        (declared,) = map(json.loads, stored(url)[0])
        assert declared["fields"] == [{"path": ["at"], "type": "TIMESTAMP"}, {"path": ["n"], "type": "DATE"}]
        assert declared["indexed_text"] == []
        assert look(url, f"SELECT draftline.matches('{{}}', '{{\"a\": [1]}}', '{HAS}')") == [True]


def check_lists(client: draftline.Client) -> None:
    def ids(**query: Any) -> list[str]:
        return [each.record_id for each in client.get_merged("films", **query)]

    assert ids(order_by="at") == ["a", "b", "g", "c", "d", "e", "f"]
    assert ids(order_by="at desc")[:5] == ["d", "c", "g", "b", "a"]
    assert ids(filter="at >= 2026-11-20", order_by="at") == ["c", "d"]
    assert ids(filter='at = "2016-12-31T23:59:60Z"') == ids(filter="at = 2017-01-01") == ["a"]
    assert ids(filter="record.mistyped = true") == ["e"]
    assert ids(filter="items.sku:y") == sorted(TIMES)
