"""Saves and commits have two ways each: the usual one does what the general one does, or leaves it to that."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import pytest
from draftline_server.domain.content import Limits, equal
from draftline_server.domain.drafts import (
    ChangeByDelta,
    ConflictPolicy,
    Creation,
    DraftEdit,
    Selection,
    edit_of_delta,
)
from draftline_server.domain.edits import Strategy
from draftline_server.domain.errors import ConflictError, DraftlineError
from draftline_server.domain.records import Delta, NewRecord, Patch
from draftline_server.store.commits import CommitStore
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.edit_strategies import contents, deltas, operation_lists, scalars, to_text
from support.races import Races
from support.soak_scale import examples
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, all_or_none, change, creation, deletion, operate

LIMITS = Limits(max_depth=6, max_indexed_text_bytes=12)
IDS = ("1", "😀")
USERS = ("ada", "ada", "bob")
TABLES = ("record", "change", "draft", "order_entry", "draft_order_entry", "tally")
# A tally is compared by its sums: a service over the same database may fold the rows of one tenant meanwhile.
SUMS = """
    SELECT jsonb_build_object('user_id', user_id, 'key', k1, 'records', sum(records), 'count', coalesce(sum(c1), 0),
        'sum', coalesce(trim_scale(sum(s1)), 0))::text AS row
    FROM draftline.tally WHERE tenant_id = $1 GROUP BY user_id, k1
    HAVING sum(records) <> 0 OR coalesce(sum(c1), 0) <> 0 OR coalesce(sum(s1), 0) <> 0
"""
# The columns that differ between tenants.
OWN = {
    "tenant_id", "log_xact", "change_id", "commit_id", "order_id", "statistic_id", "created_at", "updated_at",
    "deleted_at",
}  # fmt: skip
FIELDS = '[{"path": ["a"], "type": "TEXT"}, {"path": ["b"], "type": "NUMBER"}]'
ORDERS = '[[{"path": ["b"], "descending": true}, {"path": ["a"], "descending": false}]]'
STATISTICS = '[{"name": "by_b", "keys": [{"path": ["b"], "type": "NUMBER"}], "measures": [["b"]]}]'
RELATIONS = '[{"name": "some", "path": ["c"], "collection": "films", "inverse": "somes"}]'

_tenants = itertools.count()


class GeneralCommits(CommitStore):
    """Commits as if no draft were plain."""

    def _may_be_plain(self, tenant_id: str, collection: str) -> bool:
        return False


class Side(LoggedWorld):
    """A tenant whose saves and commits go the usual way, or the general one."""

    def __init__(self, database: Database, *, is_usual: bool) -> None:
        super().__init__(database, f"drafts-{next(_tenants)}", LIMITS)
        self.is_usual = is_usual
        if not is_usual:
            self.commits = GeneralCommits(self.specs, LIMITS)

    async def run_save(self, user: str, edits: Sequence[DraftEdit], options: dict[str, Any], *, partial: bool) -> Any:
        results = await all_or_none(
            self.transactions,
            self.actor(user),
            lambda transaction: self.drafts.save(
                transaction, self.actor(user), COLLECTION, edits, again=not self.is_usual, **options
            ),
            partial=partial,
        )
        return [_told(result.merged) if result.error is None else repr(result.error) for result in results]

    async def run_commit(self, user: str, selection: Selection, policy: ConflictPolicy, **options: bool) -> Any:
        try:
            return [_told(result) for result in await self.commit(user, selection, policy, **options)]
        except DraftlineError as error:
            return repr(error)

    async def run_patch(self, record_id: str, delta: Any) -> Any:
        text = to_text(delta if isinstance(delta, dict) else {})
        patch = Patch(COLLECTION, record_id, Delta(text, Strategy.DEEP))
        try:
            return _told(await self.patches.patch(self.actor("sys"), patch, change_reason="", validate_only=False))
        except DraftlineError as error:
            return repr(error)

    async def left(self) -> dict[str, list[Any]]:
        """Return every row that the tenant has, without the columns that differ between tenants."""
        found: dict[str, list[Any]] = {}
        for table in TABLES:
            sql = SUMS
            if table != "tally":
                sql = f"SELECT to_jsonb(t)::text AS row FROM draftline.{table} AS t WHERE tenant_id = $1"
            rows = await self.database.fetch(Statement("left", sql, ("tenant_id",)), {"tenant_id": self.tenant_id})
            kept = [json.loads(row["row"], parse_float=Decimal) for row in rows]
            found[table] = sorted(
                ({name: row[name] for name in sorted(row) if name not in OWN} for row in kept), key=str
            )
        return found


def _told(value: Any) -> Any:
    """Return a value of the domain without its times."""
    if isinstance(value, list | tuple):
        return list(map(_told, value))
    if isinstance(value, Exception):
        return repr(value)
    if not hasattr(value, "__dataclass_fields__"):
        return value
    return {each.name: _told(getattr(value, each.name)) for each in fields(value) if not each.name.endswith("_at")}


few = st.dictionaries(st.sampled_from("ab"), scalars, min_size=1, max_size=2)  # so that saves and patches meet


@st.composite
def edits(draw: st.DrawFn, stored: dict[str, Any], record_id: str) -> DraftEdit:
    content = stored.get(record_id, {})
    match draw(st.sampled_from([*["delta"] * 5, "operations", "create", "delete"])):
        case "delete":
            edit = deletion(record_id)
        case "create":
            edit = DraftEdit(record_id, Creation(to_text(draw(contents))))
        case "operations":
            edit = operate(record_id, *(step for step in draw(operation_lists(content, 3)) if step.op != "test"))
        case _:
            delta = draw(few | deltas(content))
            strategy = draw(st.sampled_from([Strategy.SHALLOW, Strategy.SHALLOW, *Strategy]))
            edit = DraftEdit(
                record_id, ChangeByDelta(edit_of_delta(delta if isinstance(delta, dict) else {}, strategy))
            )
    rarely = st.sampled_from([*[False] * 9, True])
    return replace(
        edit,
        expected_draft_version=draw(st.sampled_from([*[None] * 12, 0, 1])),
        base_version=draw(st.sampled_from([*[None] * 12, 0, 1, 2])),
        replace=draw(rarely),
        attributes=draw(st.sampled_from([*[{}] * 9, {"parent_id": "p"}, {"position": 1}, {"parent_id": None}])),
        allow_deleted=draw(rarely),
    )


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    match draw(st.integers(0, 7)):
        case 0:
            return Selection(session_id=draw(st.sampled_from(["", "s"])))
        case 1:
            names = draw(st.lists(st.sampled_from([*IDS, "new"]), min_size=1, max_size=3, unique=True))
            return Selection({name: draw(st.sampled_from([None, None, 1, 2])) for name in names})
    return Selection()


@settings(
    max_examples=examples(60),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
async def test_both_ways_do_the_same(database: Database, data: st.DataObject) -> None:
    sides = Side(database, is_usual=True), Side(database, is_usual=False)
    stored = {record_id: data.draw(contents) for record_id in IDS}
    deleted = data.draw(st.sampled_from([*[None] * 5, *IDS]))
    declared = data.draw(st.sampled_from([True, True, True, False]))
    for side in sides:
        if declared:
            await side.declare(
                fields=FIELDS, orders=ORDERS, relations=RELATIONS, indexed_text='[["a"]]', statistics=STATISTICS
            )
        for record_id, content in stored.items():
            new = NewRecord(COLLECTION, record_id, to_text(content))
            await side.content.create(side.actor("sys"), new, change_reason="", validate_only=False)
        if deleted in stored:
            await side.delete(deleted)
    for _ in range(data.draw(st.integers(5, 9))):
        user = data.draw(st.sampled_from(USERS))
        match data.draw(st.sampled_from(["save", "save", "save", "commit", "commit", "discard", "patch", "patch"])):
            case "save":
                ids = data.draw(st.sampled_from([IDS[:1], IDS[:1], IDS, IDS[1:], ("new",), (*IDS, "new")]))
                saved = [data.draw(edits(stored, record_id)) for record_id in ids]
                options = {
                    "session_id": data.draw(st.sampled_from(["", "", "s"])),
                    "change_reason": data.draw(st.sampled_from(["", "why"])),
                    "omit_content": data.draw(st.booleans()),
                    "move_to_session": data.draw(st.booleans()),
                }
                partial = data.draw(st.booleans())
                told = [await side.run_save(user, saved, options, partial=partial) for side in sides]
            case "commit":
                selection, policy = data.draw(selections()), data.draw(st.sampled_from(ConflictPolicy))
                flags = {"allow_partial": data.draw(st.booleans()), "validate_only": data.draw(st.booleans())}
                told = [await side.run_commit(user, selection, policy, **flags) for side in sides]
            case "discard":
                told = [[_told(each) for each in await side.discard(user)] for side in sides]
            case _:
                patched = data.draw(
                    st.sampled_from([record_id for record_id in stored if record_id != deleted] or [""])
                )
                if not patched:
                    continue
                delta = data.draw(few | deltas(stored[patched]))
                told = [await side.run_patch(patched, delta) for side in sides]
        assert equal(*told), told
        left, right = [await side.left() for side in sides]
        for table in TABLES:
            assert equal(left[table], right[table]), (table, left[table], right[table])
    assert await sides[0].differences() == []


async def test_plain_creation_waits_for_another_one(races: Races) -> None:
    await races.world.save("ada", creation("1", {"by": "ada"}))
    other = Patch(COLLECTION, "1", Delta('{"by": "bob"}', Strategy.SHALLOW), allow_missing=True)
    async with races.behind(races.holding.patch_all([other])):
        commit = await races.waiting(races.world.commit("ada"))
    with pytest.raises(ConflictError):
        await commit
    assert [row["content"] for row in await races.world.stored("record")] == [{"by": "bob"}]


async def test_plain_commit_writes_what_was_saved_while_it_waited(races: Races) -> None:
    await races.world.create("1", {"n": 1})
    await races.world.save("ada", change("1", {"n": 2}))
    async with races.behind(races.holding.save("ada", change("1", {"n": 3}))):
        commit = await races.waiting(races.world.commit("ada"))
    assert [result.changed_fields for result in await commit] == [["n"]]
    assert [row["content"] for row in await races.world.stored("record")] == [{"n": 3}]
    assert await races.world.stored("draft") == []
