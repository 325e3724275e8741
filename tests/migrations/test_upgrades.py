"""Data survives changes of the schema and can be used afterwards."""

from __future__ import annotations

import itertools
import json
from typing import Any

import asyncpg
from alembic.script import ScriptDirectory
from draftline_server.domain.drafts import ConflictPolicy
from draftline_server.domain.edits import Operation, Strategy
from draftline_server.domain.records import Actor, Delta, Patch, Request
from draftline_server.ops import migrate, revisions
from draftline_server.store.idempotency import Requests
from support.servers import beside, cloned, run_sql
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, change, connected, operate

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
        assert beside(migrate.upgrade, url) == revisions.head()
        after = await rows(url)
        assert [row.pop("log_xact") for row in after["record"]] == [0, 0]
        assert [row.pop("history") for row in after["collection"]] == ["VALUES"]
        assert [row.pop("statistics") for row in after["collection"]] == [[]]
        assert [row.pop("relations") for row in after["collection"]] == [[]]
        assert [row.pop("upstream") for row in after["collection"]] == [None]
        assert [row.pop("acked_version") for row in after["record"]] == [None, None]
        assert [row.pop("definition_version") for row in after["draft"]] == [None, None]
        assert [row.pop("attributes") for row in after["draft"]] == [None, None]
        assert after == before
        await check_going_on(url)
        written = await rows(url)
        assert beside(migrate.go_to, url, "0002") == "0002"
        back = await rows(url)
        for row in itertools.chain(*written.values()):
            for added in (
                "log_xact", "history", "statistics", "relations", "definition_version", "attributes", "upstream",
                "acked_version",
            ):  # fmt: skip
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


# Drafts as they were before transforms: one that makes an object, one below an object that is gone, one that sets.
OLD_DRAFTS = [
    """INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by,
        updated_at, updated_by)
    VALUES ('t', 'films', 'makes', '{"n": 1}', 1, '2026-01-01Z', 'ada', '2026-01-02Z', 'bob'),
        ('t', 'films', 'gone', '{"n": 1}', 2, '2026-01-01Z', 'ada', '2026-01-02Z', 'bob'),
        ('t', 'films', 'sets', '{"n": 1}', 1, '2026-01-01Z', 'ada', '2026-01-02Z', 'bob')""",
    """INSERT INTO draftline.draft (tenant_id, user_id, collection, record_id, kind, edit, base, base_version, merged,
        version, session_id, change_reason, created_at, updated_at)
    VALUES ('t', 'ada', 'films', 'makes', 'CHANGE', '{"m": {"o": {"m": {"p": {"s": {"x": 1}}}}}}',
            '{"m": {"o": {"m": {"p": {"r": ["x"]}}}}}', 1, '{"n": 1, "o": {"p": {"x": 1}}}', 1, '', '', '2026-01-03Z',
            '2026-01-04Z'),
        ('t', 'ada', 'films', 'gone', 'CHANGE', '{"m": {"o": {"r": ["x"]}}}', '{"m": {"o": {"s": {"x": 1}}}}', 1,
            '{"n": 1, "o": {}}', 1, '', '', '2026-01-03Z', '2026-01-04Z'),
        ('t', 'ada', 'films', 'sets', 'CHANGE', '{"s": {"n": 2}}', '{"s": {"n": 1}}', 1, '{"n": 2}', 1, '', '',
            '2026-01-03Z', '2026-01-04Z')""",
]


async def test_drafts_from_before_transforms_are_kept_and_go_on(postgres_url: str, template: str) -> None:
    with cloned(postgres_url, template) as url:
        beside(migrate.go_to, url, "0004")
        run_sql(url, *OLD_DRAFTS)
        beside(migrate.upgrade, url)
        async with connected(url) as database:
            world = LoggedWorld(database, "t")
            assert await world.differences() == []
            merged = {row["record_id"]: row["merged"] for row in await world.stored("draft")}
            assert merged == {"makes": {"n": 1, "o": {"p": {"x": 1}}}, "gone": {"n": 1}, "sets": {"n": 2}}
            await world.patch("makes", {"n": 3})  # what the draft makes is not in conflict with that there is none
            results = await world.commit("ada")
            assert [(each.record_id, each.conflicts, each.written) for each in results] == [
                ("gone", [], False), ("makes", [], True), ("sets", [], True)
            ]  # fmt: skip
            assert json.loads((await world.record("makes")).content) == {"n": 3, "o": {"p": {"x": 1}}}


async def test_drafted_transforms_become_sets_on_the_way_back(postgres_url: str, template: str) -> None:
    with cloned(postgres_url, template) as url:
        beside(migrate.upgrade, url)
        async with connected(url) as database:
            world = LoggedWorld(database, "t")
            await world.create("1", {"n": 1, "o": {"l": [1], "gone": {"x": 1}}})
            await world.save("ada", operate("1", Operation("increment", ("n",), value=1)))
            await world.save("ada", operate("1", Operation("add", ("o", "l", "-"), value=2)))
            await world.save("ada", change("1", {"made": {"x": 1}, "o": {"gone": {"x": None}}}, Strategy.MERGE_PATCH))
            await world.patch("1", {"o": {"gone": None}}, Strategy.MERGE_PATCH)
        beside(migrate.go_to, url, "0004")
        (draft,) = (await rows(url))["draft"]
        assert draft["merged"] == {"n": 2, "o": {"l": [1, 2], "gone": {}}, "made": {"x": 1}}
        assert draft["edit"] == {
            "s": {"n": 2},
            "m": {"o": {"s": {"l": [1, 2]}, "m": {"gone": {"r": ["x"]}}}, "made": {"s": {"x": 1}}},
        }
        assert draft["base"] == {
            "s": {"n": 1},
            "m": {"o": {"s": {"l": [1]}, "m": {"gone": {"s": {"x": 1}}}}, "made": {"r": ["x"]}},
        }
        beside(migrate.upgrade, url)
        async with connected(url) as database:
            world = LoggedWorld(database, "t")
            assert await world.differences() == []
            await world.commit("ada", policy=ConflictPolicy.KEEP_MINE)
            merged = {"n": 2, "o": {"l": [1, 2]}, "made": {"x": 1}}
            assert json.loads((await world.record("1")).content) == merged


REQUEST = """INSERT INTO draftline.request (tenant_id, user_id, request_id, fingerprint, answer, created_at)
    VALUES ('t', 'ada', '00000000-0000-0000-0000-000000000001', '1', draftline.answer('films', '1', '{"a": 1}', 7,
        'p', 2, '2026-01-01Z', 'ada', '2026-01-02Z', 'bob', NULL) || '{"changed_fields": ["a"]}', now())"""
NUMBERS = "SELECT right(request_id::text, 1), answer - 'created_at' - 'updated_at' FROM draftline.request"


def asking(number: int) -> Actor:
    return Actor("t", "ada", Request(f"00000000-0000-0000-0000-00000000000{number}", Hashed()))


class Hashed:
    def digest(self) -> bytes:
        return b"1"


async def test_kept_answers_are_those_of_both_releases_after_a_step_on_and_one_back(
    postgres_url: str, template: str
) -> None:
    with cloned(postgres_url, template) as url:
        before = ScriptDirectory(str(revisions.FOLDER)).get_revision("0010").down_revision
        beside(migrate.go_to, url, before)
        run_sql(url, *BEFORE, REQUEST)
        beside(migrate.upgrade, url)
        async with connected(url) as database:
            world = LoggedWorld(database, "t")
            for number, delta in ((2, {"a": 2}), (3, {"a": 2}), (4, {"a": 4})):
                patch = Patch(COLLECTION, "1", Delta(json.dumps(delta), Strategy.SHALLOW))
                await world.patches.patch(asking(number), patch, change_reason="", validate_only=False)
            requests = Requests(database)
            recalled = {each: await requests.recall(asking(each), COLLECTION, "1") for each in (1, 2, 3, 4)}
        contents = {
            each: found.record and json.loads(found.record.content) for each, found in recalled.items() if found
        }
        n = {"n": 1.5}
        assert contents == {1: {"a": 1}, 2: {"a": 2, **n}, 3: {"a": 2, **n}, 4: {"a": 4, **n}}
        beside(migrate.go_to, url, before)
        connection = await asyncpg.connect(url)
        kept = {int(row[0]): json.loads(row[1]) for row in await connection.fetch(NUMBERS)}
        await connection.close()
        assert [kept[each]["version"] for each in (1, 2, 3, 4)] == [7, 8, 8, 9]
        assert {each: kept[each]["content"] for each in (1, 2, 3, 4)} == contents
        assert [kept[each].get("changed_fields") for each in (1, 2, 4)] == [["a"]] * 3
