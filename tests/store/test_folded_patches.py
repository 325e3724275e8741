"""Patches of one record that arrive together share a statement, and do what they would one after the other."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from draftline_server.background.patch_batcher import PatchBatcher
from draftline_server.domain.content import Limits, equal
from draftline_server.domain.edits import Operation, Strategy
from draftline_server.domain.errors import DraftlineError
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.records import Actor, Delta, NewRecord, Operations, Patch, PatchResult, Request
from draftline_server.store.database import Database
from draftline_server.store.in_place_patches import WAITING, InPlacePatches, PatchEntry, Terms
from draftline_server.store.patches import PatchStore
from draftline_server.store.statements import Statement
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.batched_patches import CONDITIONS, told
from support.edit_strategies import changes, contents, to_text
from support.soak_scale import examples
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, change

LIMITS = Limits(max_depth=6, max_indexed_text_bytes=12)
TABLES = ("record", "change", "draft", "request", "order_entry", "draft_order_entry")
# The columns that differ between tenants.
OWN = {"tenant_id", "log_xact", "change_id", "commit_id", "order_id", "created_at", "updated_at", "deleted_at"}

_tenants = itertools.count()


class Counted(InPlacePatches):
    """Keeps the sizes of the statements that fold."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.folded: list[int] = []

    async def rows(self, runner: Any, entries: Sequence[PatchEntry], terms: Terms = WAITING) -> Any:
        if terms.folded:
            self.folded.append(len(entries))
        return await super().rows(runner, entries, terms)


@dataclass(frozen=True)
class Sent:
    patch: Patch
    request: uuid.UUID | None = None


class Hot(LoggedWorld):
    """A tenant with one record, whose patches are sent all at once, or one after the other."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, f"hot-{next(_tenants)}", LIMITS)
        self.applier = Counted(self.specs, LIMITS)
        self.groups = PatchStore(database, self.specs, PatchBatcher(self.applier))

    async def send(self, sent: Sent) -> Any:
        stated = None
        if sent.request is not None:
            stated = Request(str(sent.request), hashlib.sha256(sent.request.bytes))
        try:
            actor = Actor(self.tenant_id, "ada", stated)
            return told(await self.groups.patch(actor, sent.patch, change_reason="why", validate_only=False))
        except DraftlineError as error:
            return told(PatchResult(error=error))

    async def send_at_once(self, sent: Sequence[Sent]) -> list[Any]:
        return list(await asyncio.gather(*map(self.send, sent)))

    async def send_in_turn(self, sent: Sequence[Sent]) -> list[Any]:
        return [await self.send(each) for each in sent]

    async def left(self) -> dict[str, list[Any]]:
        """Return every row that the tenant has, in order, without the columns that differ between tenants."""
        found: dict[str, list[Any]] = {}
        for table in TABLES:
            order = "log_xact, change_id" if table == "change" else "to_jsonb(t) - 'tenant_id'"
            sql = f"SELECT to_jsonb(t)::text AS row FROM draftline.{table} AS t WHERE tenant_id = $1 ORDER BY {order}"
            rows = await self.database.fetch(Statement("left", sql, ("tenant_id",)), {"tenant_id": self.tenant_id})
            found[table] = [_without_own(json.loads(row["row"], parse_float=Decimal)) for row in rows]
            if table != "change":
                found[table].sort(key=str)
        return found


def _without_own(row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in sorted(row.items()) if name not in OWN}
    if isinstance(kept.get("answer"), dict):  # a stored response, which has times as well
        kept["answer"] = _without_own(kept["answer"])
    return kept


@st.composite
def patches(draw: st.DrawFn, content: Any) -> Sent:
    condition = draw(st.sampled_from([None, None, None, *CONDITIONS]))
    patch = Patch(
        COLLECTION,
        "1",
        change=draw(changes(content)),
        expected_version=draw(st.sampled_from([None, None, None, 1, 2, 3])),
        condition=None if condition is None else parse_filter(condition),
        allow_missing=draw(st.booleans()),
        position=draw(st.sampled_from([None] * 12 + [1])),
    )
    return Sent(patch, draw(st.none() | st.just(uuid.UUID(int=0))))


async def _prepare(side: Hot, content: Any, history: str, draft: Any, *, deleted: bool) -> None:
    if history == "PATHS":
        await side.keep_paths_only()
    else:
        await side.declare(
            fields='[{"path": ["a"], "type": "TEXT"}]',
            orders='[[{"path": ["a"], "descending": true}]]',
            indexed_text='[["a"]]',
        )
    new = NewRecord(COLLECTION, "1", to_text(content))
    await side.content.create(side.actor("sys"), new, change_reason="", validate_only=False)
    if draft is not None:
        await side.save("bob", change("1", draft))
    if deleted:
        await side.delete("1")


@settings(
    max_examples=examples(50),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
async def test_folded_patches_do_what_they_do_one_after_the_other(database: Database, data: st.DataObject) -> None:
    at_once, in_turn = Hot(database), Hot(database)
    content, draft = data.draw(contents), data.draw(st.none() | st.none() | contents)
    history = data.draw(st.sampled_from(["VALUES", "VALUES", "PATHS"]))
    deleted = data.draw(st.sampled_from([False] * 9 + [True]))
    for side in (at_once, in_turn):
        await _prepare(side, content, history, draft, deleted=deleted)
    drawn = data.draw(st.lists(patches(content), min_size=3, max_size=12))
    sent = [each if each.request is None else Sent(each.patch, uuid.UUID(int=n)) for n, each in enumerate(drawn)]
    async with database.connections.acquire() as connection:  # else calls that ask for the time may overtake each other
        await database.clock.read(connection)
    left, right = await at_once.send_at_once(sent), await in_turn.send_in_turn(sent)
    assert equal(left, right), (left, right)
    left, right = await at_once.left(), await in_turn.left()
    for table in TABLES:
        assert equal(left[table], right[table]), (table, left[table], right[table])
    assert await at_once.differences() == []


@pytest.fixture
async def hot(database: Database) -> Hot:
    made = Hot(database)
    await made.declare(fields='[{"path": ["n"], "type": "NUMBER"}]')
    await made.load({"1": {"n": 0}})
    return made


def counting(**rest: Any) -> Sent:
    return Sent(Patch(COLLECTION, "1", Operations([Operation("increment", ("n",), value=1)]), **rest), uuid.uuid4())


async def test_hot_record_is_patched_in_few_statements(hot: Hot) -> None:
    results = await hot.send_at_once([counting() for _ in range(100)])
    assert [result["record"][2] for result in results] == list(range(2, 102))
    assert [result["content"] for result in results] == [{"n": n} for n in range(1, 101)]
    assert hot.applier.folded == [64, 35]  # the first was sent at once
    assert [entry.version for entry in await hot.history("1")] == list(range(1, 102))


async def test_two_servers_fold_patches_of_one_record(hot: Hot) -> None:
    other = Hot(hot.database)
    other.tenant_id = hot.tenant_id
    sides = [each.send_at_once([counting() for _ in range(40)]) for each in (hot, other)]
    results = [result for side in await asyncio.gather(*sides) for result in side]
    assert sorted(result["record"][2] for result in results) == list(range(2, 82))
    assert (await hot.record("1")).content == '{"n": 80}'
    assert [entry.version for entry in await hot.history("1")] == list(range(1, 82))


async def test_patch_that_fails_leaves_those_folded_with_it(hot: Hot) -> None:
    bad = Sent(Patch(COLLECTION, "1", Operations([Operation("test", ("n",), value=77)])))
    stale = counting(expected_version=1)
    results = await hot.send_at_once([counting(), counting(), bad, counting(), stale, counting(expected_version=4)])
    assert [result.get("reason") for result in results] == [None, None, "TEST_FAILED", None, "VERSION_MISMATCH", None]
    assert hot.applier.folded == [5]


async def test_folded_patches_refresh_drafts_with_the_last_content(hot: Hot) -> None:
    await hot.save("bob", change("1", {"mine": True}))
    deltas = [Sent(Patch(COLLECTION, "1", Delta(json.dumps({"n": n}), Strategy.DEEP))) for n in range(10)]
    await hot.send_at_once(deltas)
    assert hot.applier.folded == [9]
    assert (await hot.draft("bob", "1") or {})["merged"] == {"n": 9, "mine": True}


async def test_folded_operations_leave_a_record_with_drafts(hot: Hot) -> None:
    await hot.save("bob", change("1", {"mine": True}))
    results = await hot.send_at_once([counting() for _ in range(6)])
    assert [result["content"] for result in results] == [{"n": n} for n in range(1, 7)]
    assert (await hot.draft("bob", "1") or {})["merged"] == {"n": 6, "mine": True}


async def test_patch_whose_call_is_cancelled_is_not_folded(hot: Hot) -> None:
    tasks = [asyncio.create_task(hot.send(counting())) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, BaseException) for result in results] == [False, False, True, False, False]
    assert (await hot.record("1")).content == '{"n": 4}'


async def test_database_error_in_a_fold_fails_only_the_patch_at_fault(hot: Hot) -> None:
    huge = Sent(Patch(COLLECTION, "1", Operations([Operation("increment", ("n",), value=Decimal("1E+131071"))])))
    results = await hot.send_at_once([counting(), counting(), huge, counting()])
    assert [result.get("content", {}).get("n") for index, result in enumerate(results) if index != 2] == [1, 2, 3]
