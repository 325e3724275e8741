"""What is in the database when the schema changes is there afterwards, and goes on."""

from __future__ import annotations

import itertools
import json
from typing import Any

import asyncpg
from change_world import LoggedWorld
from draft_world import COLLECTION, change, connected
from draftline_server.ops import migrate
from stand import beside, cloned, run_sql

# A film and a draft of it, a deleted one, and one that is only drafted, from before there was a log.
BEFORE = [
    """INSERT INTO draftline.collection VALUES ('t', 'films', '[{"path": ["n"], "type": "NUMBER"}]', '[]', '[]', '', 3,
        '2026-01-01Z', '2026-01-02Z')""",
    """INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, parent_id, position,
        created_at, created_by, updated_at, updated_by, deleted_at)
    VALUES ('t', 'films', '1', '{"a": 1, "n": 1.50}', 7, 'p', 2, '2026-01-01Z', 'ada', '2026-01-02Z', 'bob', NULL),
        ('t', 'films', '2', '{}', 2, NULL, NULL, '2026-01-01Z', 'ada', '2026-01-02Z', 'ada', '2026-01-02Z')""",
    """INSERT INTO draftline.draft (tenant_id, user_id, collection, record_id, kind, edit, base, base_version, merged,
        version, session_id, change_reason, created_at, updated_at)
    VALUES ('t', 'ada', 'films', '1', 'CHANGE', '{"s": {"a": 2}}', '{"s": {"a": 1}}', 7, '{"a": 2, "n": 1.50}', 4, 's',
            'why', '2026-01-03Z', '2026-01-04Z'),
        ('t', 'ada', 'films', '3', 'CREATE', '{"v": {"a": 3}}', '{}', 0, '{"a": 3}', 1, '', '', '2026-01-03Z',
            '2026-01-04Z')""",
]
TABLES = ("collection", "record", "draft")


async def rows(url: str) -> dict[str, list[Any]]:
    connection = await asyncpg.connect(url)
    try:
        found = {
            name: await connection.fetch(f"SELECT to_jsonb(t)::text FROM draftline.{name} AS t") for name in TABLES
        }
        return {name: sorted((json.loads(row[0]) for row in found[name]), key=json.dumps) for name in TABLES}
    finally:
        await connection.close()


async def test_records_and_drafts_from_before_the_log_are_kept_and_go_on(postgres_url: str, template: str) -> None:
    with cloned(postgres_url, template) as url:
        beside(migrate.go_to, url, "0002")
        run_sql(url, *BEFORE)
        before = await rows(url)
        assert beside(migrate.upgrade, url) == migrate.head()
        after = await rows(url)
        assert [row.pop("log_xact") for row in after["record"]] == [0, 0]
        assert [row.pop("history") for row in after["collection"]] == ["VALUES"]
        assert [row.pop("definition_version") for row in after["draft"]] == [None, None]
        assert after == before
        await check_going_on(url)
        written = await rows(url)
        assert beside(migrate.go_to, url, "0002") == "0002"
        back = await rows(url)
        for row in itertools.chain(*written.values()):
            for added in ("log_xact", "history", "definition_version"):
                row.pop(added, None)
        assert back == written


async def check_going_on(url: str) -> None:
    """Its first change is the next version; what was before that is not in the log."""
    async with connected(url) as database:
        world = LoggedWorld(database, "t")
        assert await world.history("1") == []
        await world.commit("ada")
        assert (await world.record("1")).version == 8
        (committed,) = await world.history("1")
        assert (committed.version, [each.path for each in committed.paths]) == (8, ["/a"])
        await world.undelete("2")
        await world.save("bob", change("1", {"b": 1}))
        await world.revert_version("1", 8)
        assert json.loads((await world.record("1")).content) == {"a": 1, "n": 1.5}
        assert await world.differences() == []
        assert {each.record_id for each in await world.all(collection=COLLECTION)} == {"1", "2", "3"}
