"""The merge of what an upstream answers: each row of the truth tables, and an oracle."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from draftline.upstreams import RemoteRecord
from draftline_server.domain.content import Limits
from draftline_server.domain.drafts import ChangeByDelta, DraftEdit, edit_of_delta
from draftline_server.domain.edits import Strategy
from draftline_server.domain.sync import (
    BoundCollection,
    Effect,
    FieldDirection,
    MappedField,
    Policies,
    Policy,
    PolicyRule,
    Settlement,
    Verdict,
)
from draftline_server.store.database import Database
from draftline_server.sync.conversion import to_answer
from hypothesis import given, settings
from hypothesis import strategies as st
from support.soak_scale import IS_SOAK, examples
from support.sync_merge_oracle import ABSENT, merge
from support.sync_worlds import SyncWorld, answer
from support.tenant_stores import COLLECTION

from .test_order_entries import purge

BASE, OURS, THEIRS = "base", "ours", "theirs"

# base, ours, theirs -> (value, is in conflict, is pending) under HOLD, UPSTREAM_WINS, LOCAL_WINS; None is absent
PATHS: dict[str, tuple[str | None, str | None, str | None, Any]] = {
    "nothing_changed": (BASE, BASE, BASE, [(BASE, False, False)] * 3),
    "theirs_changed": (BASE, BASE, THEIRS, [(THEIRS, False, False)] * 3),
    "ours_changed": (BASE, OURS, BASE, [(OURS, False, True)] * 3),
    "both_changed_alike": (BASE, OURS, OURS, [(OURS, False, False)] * 3),
    "both_changed": (BASE, OURS, THEIRS, [(OURS, True, True), (THEIRS, False, False), (OURS, False, True)]),
    "ours_added": (None, OURS, None, [(OURS, False, True)] * 3),
    "both_added": (None, OURS, THEIRS, [(OURS, True, True), (THEIRS, False, False), (OURS, False, True)]),
    "theirs_added": (None, None, THEIRS, [(THEIRS, False, False)] * 3),
    "ours_removed": (BASE, None, BASE, [(None, False, True)] * 3),
    "ours_removed_theirs_changed": (
        BASE, None, THEIRS, [(None, True, True), (THEIRS, False, False), (None, False, True)],
    ),
    "ours_changed_theirs_removed": (
        BASE, OURS, None, [(OURS, True, True), (None, False, False), (OURS, False, True)],
    ),
    "theirs_removed": (BASE, BASE, None, [(None, False, False)] * 3),
    "both_removed": (BASE, None, None, [(None, False, False)] * 3),
}  # fmt: skip
POLICIES = (Policy.HOLD, Policy.UPSTREAM_WINS, Policy.LOCAL_WINS)


@pytest.fixture
async def world(database: Database, tenant_id: str) -> SyncWorld:
    opened = SyncWorld(database, tenant_id)
    await opened.bind()
    return opened


def of(value: str | None) -> dict[str, Any]:
    return {"kept": 1} if value is None else {"kept": 1, "x": value}


def delta_of(value: str | None) -> dict[str, Any]:
    return {"x": value}


async def linked(world: SyncWorld, base: dict[str, Any], mine: dict[str, Any] | None) -> None:
    """Make a record that the upstream holds with `base`, and change it here to `mine` (None: delete it)."""
    await world.merge(answer("r", base, 1))
    if mine is None:
        await world.delete("r")
    elif mine != base:
        await world.patch("r", mine, Strategy.REPLACE)


@pytest.mark.parametrize("over_draft", [False, True], ids=["plain", "over_draft"])
@pytest.mark.parametrize("row", PATHS)
async def test_merge_of_a_path_follows_its_row(world: SyncWorld, row: str, over_draft: bool) -> None:
    """Merge each row of the table of paths under each policy, also with a draft over the record."""
    base, ours, theirs, expected = PATHS[row]
    for index, policy in enumerate(POLICIES):
        remote_id = f"r{index}"
        world.bound = BoundCollection(COLLECTION, policies=Policies(policy))
        await world.merge(answer(remote_id, of(base), 1))
        if ours != base:
            await world.patch(remote_id, of(ours), Strategy.REPLACE)
        if over_draft:
            await world.save("ada", DraftEdit(remote_id, ChangeByDelta(edit_of_delta({"d": 1}, Strategy.SHALLOW, 0))))
        await world.merge(answer(remote_id, of(theirs), 2))

        value, is_conflict, is_pending = expected[index]
        state = await world.state(remote_id)
        assert await world.value(remote_id) == of(value)
        assert bool(json.loads(state["conflict_text"])) is is_conflict
        assert state["state"] == ("HELD" if is_conflict else "DUE" if is_pending else "IDLE")
        if over_draft:
            draft = await world.draft("ada", remote_id)
            assert draft is not None
            assert draft["merged"] == {**of(value), "d": 1}


async def test_conflict_is_settled_when_theirs_goes_back_or_agrees(world: SyncWorld) -> None:
    """Judge a held conflict again with each answer: theirs back to the base, and theirs equal to ours."""
    await linked(world, of(BASE), of(OURS))
    await world.merge(answer("r", of(THEIRS), 2))
    assert (await world.state("r"))["state"] == "HELD"
    await world.merge(answer("r", of(BASE), 3))
    assert (await world.state("r"))["state"] == "DUE"
    await world.merge(answer("r", of(THEIRS), 4))
    await world.merge(answer("r", of(OURS), 5))
    state = await world.state("r")
    assert (state["state"], state["conflict_text"]) == ("IDLE", "[]")


async def test_overruled_value_is_kept_in_an_event(world: SyncWorld) -> None:
    """Tell by an event what UPSTREAM_WINS has given up."""
    await linked(world, of(BASE), of(OURS))
    world.bound = BoundCollection(COLLECTION, policies=Policies(Policy.UPSTREAM_WINS))
    await world.merge(answer("r", of(THEIRS), 2))
    event = (await world.events())[-1]
    assert event["kind"] == "OVERRULED"
    assert json.loads(event["detail_text"])[0]["mine"] == OURS


async def test_purge_forgets_the_values_that_a_conflict_holds(world: SyncWorld) -> None:
    """Forget the purged values, and compare a record that is created again with the upstream."""
    await linked(world, of(BASE), of(OURS))
    await world.merge(answer("r", of(THEIRS), 2))
    await world.delete("r")
    await purge(world, "r")
    state = await world.state("r")
    assert (state["state"], OURS in state["conflict_text"]) == ("HELD", False)
    assert all(OURS not in (event["detail_text"] or "") for event in await world.events())
    await world.create("r", of("again"))
    await world.worker._attempts.sweep(COLLECTION)
    assert (await world.state("r"))["recheck"] == "RECORD"


async def test_record_created_again_is_sent_after_an_attempt_of_a_purged_one(world: SyncWorld) -> None:
    attempts = world.worker._attempts
    await world.create("r", of(BASE))
    await attempts.sweep(COLLECTION)
    (attempt,) = await attempts.prepare(world.bound, ["r"], 60.0)
    await world.delete("r")
    await purge(world, "r")
    await world.create("r", of(OURS))  # at the version that the attempt has sent
    applied = [Settlement("r", attempt.attempt_id, Effect.APPLIED, "x", "1")]
    await world.database.transact(lambda transaction: attempts.settle(transaction, COLLECTION, applied))
    assert (await world.state("r"))["state"] == "DUE"
    (attempt,) = await attempts.prepare(world.bound, ["r"], 60.0)
    assert (attempt.op, json.loads(attempt.sent or "")) == ("UPDATE", of(OURS))


WHOLE = {
    # here, upstream -> content here, state, is there
    "in_step_and_deleted": (of(BASE), None, None, "IDLE", False),
    "changed_and_deleted": (of(OURS), None, of(OURS), "HELD", True),
    "deleted_and_changed": (None, of(THEIRS), None, "HELD", True),
    "deleted_and_unchanged": (None, of(BASE), None, "DUE", True),
}


@pytest.mark.parametrize("row", WHOLE)
async def test_merge_of_a_record_follows_its_row(world: SyncWorld, row: str) -> None:
    """Merge each row of the table of whole records, with a draft over it where one is possible."""
    mine, theirs, content, state, is_there = WHOLE[row]
    await linked(world, of(BASE), mine)
    if mine is not None:
        await world.save("ada", DraftEdit("r", ChangeByDelta(edit_of_delta({"d": 1}, Strategy.SHALLOW, 0))))
    await world.merge(answer("r", theirs, 2))
    found = await world.state("r")
    assert (await world.value("r"), found["state"], found["is_there"]) == (content, state, is_there)


async def test_deleted_on_both_sides_is_in_step(world: SyncWorld) -> None:
    """Acknowledge a deletion that the upstream has made as well."""
    await linked(world, of(BASE), None)
    await world.merge(answer("r", None, 2))
    found = await world.state("r")
    assert (found["state"], found["is_there"], found["remote_id"]) == ("IDLE", False, None)


@pytest.mark.parametrize("policy", [Policy.UPSTREAM_WINS, Policy.LOCAL_WINS])
async def test_policy_decides_between_change_and_deletion(world: SyncWorld, policy: Policy) -> None:
    """Decide by the policy whether a change or a deletion stays, on both sides."""
    upstream_wins = policy is Policy.UPSTREAM_WINS
    world.bound = BoundCollection(COLLECTION, policies=Policies(policy))
    await linked(world, of(BASE), of(OURS))
    await world.merge(answer("r", None, 2))
    assert await world.value("r") == (None if upstream_wins else of(OURS))
    await world.merge(answer("q", of(BASE), 1))
    await world.delete("q")
    await world.merge(answer("q", of(THEIRS), 2))
    assert await world.value("q") == (of(THEIRS) if upstream_wins else None)
    states = await world.states()
    assert [states[key]["state"] for key in "rq"] == (["IDLE", "IDLE"] if upstream_wins else ["DUE", "DUE"])


async def test_record_of_both_sides_is_linked_and_merged(world: SyncWorld) -> None:
    """Link a record that was created on both sides with one id: equal paths settle, different ones conflict."""
    await world.create("same", {"x": 1})
    await world.create("other", {"x": 1, "y": 2})
    await world.merge(answer("same", {"x": 1}, 1), answer("other", {"x": 3, "y": 2}, 1))
    states = await world.states()
    assert states["same"]["state"] == "IDLE"
    assert [each["path"] for each in json.loads(states["other"]["conflict_text"])] == ["/x"]


async def test_unmapped_fields_stay_here(world: SyncWorld) -> None:
    """Neither clear nor send a field that is not mapped; obey the direction of those that are."""
    fields = (
        MappedField(("a",)),
        MappedField(("o", "p"), direction=FieldDirection.PUSH),
        MappedField(("q",), direction=FieldDirection.PULL),
    )
    world.bound = BoundCollection(COLLECTION, fields=fields)
    await world.create("r", {"a": 1, "o": {"p": 2, "local": 3}, "q": 4, "local": 5})
    await world.merge(answer("r", {"a": 1, "q": 6}, 1))
    assert await world.value("r") == {"a": 1, "o": {"p": 2, "local": 3}, "q": 6, "local": 5}
    world.bound = BoundCollection(COLLECTION, fields=fields, policies=Policies(Policy.UPSTREAM_WINS))
    await world.merge(answer("r", {"a": 7, "q": 6}, 2))
    assert await world.value("r") == {"a": 7, "o": {"p": 2, "local": 3}, "q": 6, "local": 5}


async def test_content_that_is_not_allowed_here_is_refused_alone(world: SyncWorld) -> None:
    """Refuse an answer that breaks the JSON Schema, and merge the others."""
    await world.declare(json.dumps({"type": "object", "properties": {"x": {"type": "number"}}}))
    results = await world.merge(answer("good", {"x": 1}, 1), answer("bad", {"x": "text"}, 1))
    assert {each.record_id: each.verdict for each in results} == {"bad": Verdict.REFUSE, "good": Verdict.CREATE}
    state = await world.state("bad")
    message = "the merged content violates the collection's JSON Schema"
    assert (state["state"], json.loads(state["error_text"])) == (
        "FAILED", {"reason": "INVALID_UPSTREAM", "message": message, "field": "/x"}
    )  # fmt: skip
    await world.merge(answer("bad", {"x": 2}, 2))
    assert await world.value("bad") == {"x": 2}


REFUSED: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "below a value": (
        {"o": {"p": {"q": 1}}}, "the value here is not an object, so a mapped field below it cannot be stored; "
        "make it an object, or remove it", "/o/p",
    ),
    "type": ({"day": "soon"}, "the field is declared as date and refuses other values", "/day"),
    "indexed text": ({"name": "x" * 801}, "the text is indexed and must be at most 800 bytes", "/name"),
    "size": ({"a": "x" * 10_000}, "the merged content must have at most 5000 bytes of JSON text", None),
    "depth": ({"a": {"b": {"c": {"d": {"e": {}}}}}}, "the merged content must have at most 5 levels of nesting", None),
    "values": ({"a": [0] * 60}, "the merged content must have at most 50 values", None),
    "unstorable": (
        {"a": "\0"}, "a value cannot be stored here, such as a NUL in a text or a number of more than 1,000 digits",
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_refused_answer_says_what_is_not_allowed(world: SyncWorld, case: str) -> None:
    """Name the field of the system that cannot be stored here, and say why, in the state and in the event."""
    document, message, field = REFUSED[case]
    fields = [{"path": ["day"], "type": "DATE"}, {"path": ["name"], "type": "TEXT"}]
    await world.declare(fields=json.dumps(fields), indexed_text=json.dumps([fields[0], ["name"]]))
    names: list[tuple[str, ...]] = [("a",), ("name",), ("day",), ("o", "p", "q")]
    world.bound = BoundCollection(COLLECTION, fields=tuple(map(MappedField, names)))
    world.worker._merges._limits = Limits(max_bytes=5_000, max_depth=5, max_nodes=50)
    await world.create("r", {"o": {"p": "text"}})
    await world.merge(to_answer(RemoteRecord(remote_id="r", document=document)))
    state = await world.state("r")
    assert (state["state"], json.loads(state["error_text"])) == (
        "FAILED", {"reason": "INVALID_UPSTREAM", "message": message, "field": field}
    )  # fmt: skip
    assert [(each["kind"], each["message"]) for each in await world.events()] == [("PULL_REFUSED", message)]


async def test_answer_of_a_read_that_began_too_early_is_left(world: SyncWorld) -> None:
    """Leave an answer to a request that began before something newer was known, and read the record again."""
    early = await world.worker._merges.mark()
    await world.merge(answer("r", {"x": 1}, 2), mark=await world.worker._merges.mark())
    results = await world.merge(answer("r", {"x": 0}, 1), mark=early)
    assert [each.deferral for each in results] == ["NEWER_KNOWN"]
    assert await world.value("r") == {"x": 1}
    assert (await world.state("r"))["recheck"] == "RECORD"


async def test_answer_of_a_write_leaves_a_record_to_be_read_again(world: SyncWorld) -> None:
    """Read a record again that a pull had to leave, although the answer of a write was merged since."""
    await world.merge(answer("r", {"x": 1}, 1), mark=await world.worker._merges.mark())
    early = await world.worker._merges.mark()
    await world.merge(answer("r", {"x": 2}, 2), mark=await world.worker._merges.mark())
    await world.merge(answer("r", {"x": 3}, 3), mark=early)
    later = await world.worker._merges.mark()
    written = replace(answer("r", {"x": 2}, 2), record_id="r")
    await world.merge(written, mark=later, keeps_recheck=True)
    assert (await world.state("r"))["recheck"] == "RECORD"
    await world.merge(replace(answer("r", {"x": 3}, 3), record_id="r"), mark=await world.worker._merges.mark())
    assert (await world.state("r"))["recheck"] is None


async def test_read_that_began_before_an_answer_was_left_is_left_too(world: SyncWorld) -> None:
    """Leave a read that may be older than an answer that was left, so that it does not take its place."""
    early = await world.worker._merges.mark()
    await world.merge(answer("r", {"x": 1}, 1), mark=await world.worker._merges.mark())
    between = await world.worker._merges.mark()
    await world.merge(answer("r", {"x": 3}, 3), mark=early)
    results = await world.merge(answer("r", {"x": 2}, 2), mark=between)
    assert [each.deferral for each in results] == ["NEWER_KNOWN"]


async def test_same_answer_twice_changes_nothing(world: SyncWorld) -> None:
    """Write nothing for an answer that is known."""
    await linked(world, of(BASE), of(OURS))
    await world.merge(answer("r", of(THEIRS), 2))
    before = await world.record("r")
    await world.merge(answer("r", of(THEIRS), 2))
    assert await world.record("r") == before


async def test_longest_rule_decides_and_an_undividable_conflict_is_held(world: SyncWorld) -> None:
    """Decide a conflict by the longest rule that covers its path, and hold it where rules below the path differ."""
    rules = (
        PolicyRule(("a",), Policy.UPSTREAM_WINS),
        PolicyRule(("a", "*", "c"), Policy.LOCAL_WINS),
        PolicyRule(("d", "e"), Policy.HOLD),
    )
    world.bound = BoundCollection(COLLECTION, policies=Policies(Policy.UPSTREAM_WINS, rules))
    await linked(world, {"a": {"b": {"c": 1, "f": 1}}, "d": 1}, {"a": {"b": {"c": 2, "f": 2}}, "d": 2})
    await world.merge(answer("r", {"a": {"b": {"c": 3, "f": 3}}, "d": 3}, 2))
    assert await world.value("r") == {"a": {"b": {"c": 2, "f": 3}}, "d": 2}
    assert [each["path"] for each in json.loads((await world.state("r"))["conflict_text"])] == ["/d"]


values = st.recursive(
    st.sampled_from([None, True, 0, 1, "a", "b", [1], []]),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.sampled_from("abc"), values, max_size=3)
rules = st.lists(
    st.fixed_dictionaries({
        "path": st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=2),
        "policy": st.sampled_from([str(each) for each in Policy]),
        "exact": st.booleans(),
    }),
    max_size=2,
)  # fmt: skip
CASES = st.tuples(objects, objects, objects, st.sampled_from([str(each) for each in Policy]), rules)
QUERY = """
SELECT (m).value::text AS value, (m).base::text AS base, (m).conflicts::text AS conflicts,
    (m).overruled::text AS overruled
FROM unnest($1::jsonb[], $2::jsonb[], $3::jsonb[], $4::jsonb[])
    WITH ORDINALITY AS c (base, mine, theirs, policies, index)
CROSS JOIN LATERAL (SELECT draftline.sync_merge(c.base, c.mine, c.theirs, c.policies, '{}') AS m) AS l
ORDER BY c.index
"""


@given(cases=st.lists(CASES, min_size=40 if IS_SOAK else 1, max_size=60))
@settings(max_examples=250 if IS_SOAK else examples(8))  # at least 10,000 cases in a soak run
def test_merge_equals_the_oracle(cases: list[Any], sync_connection: Any) -> None:
    """Compare the merge in SQL with the oracle, and check its laws."""
    policies = [{"default": default, "rules": found} for *_, default, found in cases]
    columns = [[json.dumps(case[index]) for case in cases] for index in range(3)]
    rows = sync_connection(QUERY, *columns, [json.dumps(each) for each in policies])
    for (base, mine, theirs, *_), policy, row in zip(cases, policies, rows, strict=True):
        expected = merge(base, mine, theirs, policy)
        assert expected.value is not ABSENT
        assert json.loads(row["value"]) == expected.value
        assert json.loads(row["base"]) == expected.base
        assert [tuple(each["at"]) for each in json.loads(row["conflicts"])] == expected.conflicts
        assert [tuple(each["at"]) for each in json.loads(row["overruled"])] == expected.overruled
        again = merge(expected.base, expected.value, theirs, policy)
        assert again.value == expected.value, "the same answer twice changes nothing"
        assert merge(expected.value, expected.value, expected.value, policy).conflicts == []


@pytest.fixture(scope="session")
def sync_connection(server: Any) -> Iterator[Any]:
    """Run one query: `sync_connection(query, *values)`."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    connection = asyncio.run_coroutine_threadsafe(asyncpg.connect(server.url), loop).result()
    yield lambda query, *given: asyncio.run_coroutine_threadsafe(connection.fetch(query, *given), loop).result()
    asyncio.run_coroutine_threadsafe(connection.close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
