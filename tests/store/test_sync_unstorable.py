"""Records of a system of record that cannot be stored here, and connectors that fail: the others go on."""

from __future__ import annotations

import json
import random
import string
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from draftline.upstreams import Applied, Exists, FieldMapping, Page, Refused, RemoteRecord, UnreachableError
from draftline_server.domain.errors import InvalidFieldError
from draftline_server.store.sync.decisions import SyncDecisions
from draftline_server.store.sync.previews import SyncPreviews
from draftline_server.sync.conversion import to_settlement
from draftline_server.sync.push import Push
from draftline_server.upstreams.field_mapping import FieldTranslator
from support.log_capture import logged
from support.sync_worlds import UPSTREAM, SyncWorld
from support.tenant_stores import COLLECTION, connected
from support.upstream_toy import ToyUpstream

UNSTORABLE = {
    "NUL in a text": {"n": "a\0b"},
    "NUL in a key": {"a\0b": 1},
    "lone surrogate": {"n": "\ud800"},
    "NaN": {"n": Decimal("NaN")},
    "infinity": {"n": float("inf")},
    "number over the limit": {"n": Decimal("1E+200000")},
    "integer over the limit": {"n": 10**2000},
    "too deep": {"n": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]},
    "not JSON": {"n": b"bytes"},
}


@pytest.mark.parametrize("schema", ["", '{"type": "object"}'], ids=["no schema", "schema"])
async def test_record_that_cannot_be_stored_is_refused_and_others_are_pulled(database_url: str, schema: str) -> None:
    async with connected(database_url) as database:
        world = SyncWorld(database, "acme")
        await world.bind()
        if schema:
            await world.declare(schema)
        for index, document in enumerate(UNSTORABLE.values()):
            world.system.insert(document, f"bad-{index}")
        world.system.insert({"n": 1}, "good")
        await world.pull(snapshot=True)
        assert await world.value("good") == {"n": 1}
        states = await world.states()
        bad = {each: states[each]["state"] for each in states if each != "good"}
        assert bad == {f"bad-{index}": "FAILED" for index in range(len(UNSTORABLE))}
        events = await world.events()
        assert {each["record_id"] for each in events if each["kind"] == "PULL_REFUSED"} == bad.keys()
        world.system.edit("bad-0", n=2)
        await world.pull()
        assert (await world.value("bad-0"), (await world.state("bad-0"))["state"]) == ({"n": 2}, "IDLE")


async def test_remote_id_that_no_call_could_name_gets_a_record_with_another_id(database_url: str) -> None:
    async with connected(database_url) as database:
        world = SyncWorld(database, "acme")
        await world.bind()
        for remote_id in ("x" * 200, "a\nb", "plain"):
            world.system.insert({"n": 1}, remote_id)
        await world.pull(snapshot=True)
        named = {state["remote_id"]: record_id for record_id, state in (await world.states()).items()}
        assert named["plain"] == "plain"
        assert all(len(record_id) <= 128 and record_id.isprintable() for record_id in named.values())
        world.system.edit("x" * 200, n=2)
        await world.pull()
        assert await world.value(named["x" * 200]) == {"n": 2}
        assert len(await world.states()) == 3
        await world.patch(named["x" * 200], {"n": 3})
        await world.push()
        assert world.system.rows["x" * 200].document == {"n": 3}


class Broken(ToyUpstream):
    """A connector with a mistake in its reads."""

    async def changes(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
        raise KeyError(collection)
        yield Page([], cursor)

    async def lookup(self, collection: str, remote_ids: Sequence[str]) -> Sequence[RemoteRecord]:
        raise KeyError(collection)


async def test_mistake_of_a_connector_in_a_read_counts_as_unreachable(database_url: str) -> None:
    """The other loop of the worker goes on: a pull that cannot be made does not stop the push."""
    async with connected(database_url) as database:
        world = SyncWorld(database, "acme")
        await world.bind()
        broken = Broken(world.system)
        with pytest.raises(UnreachableError, match="KeyError"):
            await world.pull(upstream=broken)
        await world.create("r", {"n": 1})
        link = replace(world.link(), upstream=broken)
        push = Push(database, world.worker._attempts, world.worker._merges, link)
        with pytest.raises(UnreachableError, match="KeyError"):
            await push.look_up(world.bound, world.system.capabilities, {"r1": "r"})
        assert link.breaker.failures == 1


CHARACTERS = pytest.mark.parametrize("character", ["\0", "\ud800"], ids=["NUL", "surrogate"])


@CHARACTERS
async def test_text_of_an_outcome_that_cannot_be_stored_harms_no_other_outcome(
    database_url: str, character: str
) -> None:
    """A returned id makes only its own outcome unknown; other texts are stored without the character."""
    async with connected(database_url) as database:
        world = SyncWorld(database, "acme")
        await world.bind()
        for record_id in ("bad", "good", "found", "no"):
            await world.create(record_id, {"n": 1})
        await world.worker._attempts.sweep(COLLECTION)
        attempts = await world.worker._attempts.prepare(world.bound, ["bad", "found", "good", "no"], 60.0)
        outcomes = [
            Applied(f"a{character}b"), Exists(RemoteRecord(remote_id=f"c{character}d")),
            Applied("r-1", f"1{character}"), Refused(f"NO{character}", f"not{character} now"),
        ]  # fmt: skip
        now, capabilities = await database.now(), world.system.capabilities
        settlements = [to_settlement(*each, capabilities, now) for each in zip(attempts, outcomes, strict=True)]
        await database.transact(lambda each: world.worker._attempts.settle(each, COLLECTION, settlements))
        states = await world.states()
        failed = {each for each in states if states[each]["state"] == "FAILED"}
        assert (failed, states["good"]["state"]) == ({"bad", "found", "no"}, "IDLE")
        assert (states["good"]["remote_id"], states["good"]["remote_version"]) == ("r-1", "1")
        error = json.loads(states["no"]["error_text"])
        assert (error["reason"], error["message"]) == ("NO", "not now")


@CHARACTERS
async def test_page_with_an_id_that_cannot_be_stored_is_logged(database_url: str, character: str) -> None:
    async with connected(database_url) as database:
        world = SyncWorld(database, "acme")
        await world.bind()
        world.system.insert({"n": 1}, f"a{character}b")
        with logged() as events, pytest.raises(UnreachableError, match="UnstorableIdError"):
            await world.pull(snapshot=True)
        assert [each["reason"] for each in events if each["event"] == "sync_failed"] == ["UnstorableIdError"]


@CHARACTERS
async def test_reference_that_cannot_be_stored_links_no_record(database_url: str, character: str) -> None:
    """Take it for the reference of no record, and not for one that is spelled like it."""
    async with connected(database_url) as database:
        world = SyncWorld(database, "acme")
        await world.bind()
        await world.create("p", {"n": 1})
        world.system.insert({"n": 2}, "r", reference=f"p{character}")
        await world.pull(snapshot=True)
        assert {row["record_id"]: row["content"] for row in await world.stored("record")} == {
            "p": {"n": 1}, "r": {"n": 2}
        }  # fmt: skip


async def test_id_that_is_too_long_for_an_index_is_an_unknown_outcome_and_stops_a_read(database_url: str) -> None:
    """Settle the other writes of the batch, and say in the log why the collection is not read."""
    long = "".join(random.Random(1).choices(string.ascii_letters, k=3_000))  # does not compress
    async with connected(database_url) as database:
        world = SyncWorld(database, "acme")
        await world.bind()
        for record_id in ("bad", "good"):
            await world.create(record_id, {"n": 1})
        await world.worker._attempts.sweep(COLLECTION)
        attempts = await world.worker._attempts.prepare(world.bound, ["bad", "good"], 60.0)
        now, capabilities = await database.now(), world.system.capabilities
        outcomes = Applied(long), Applied("r-1", "1")
        settlements = [to_settlement(*each, capabilities, now) for each in zip(attempts, outcomes, strict=True)]
        await database.transact(lambda each: world.worker._attempts.settle(each, COLLECTION, settlements))
        assert {each: row["state"] for each, row in (await world.states()).items()} == {"bad": "FAILED", "good": "IDLE"}
        world.system.insert({"n": 1}, long)
        with logged() as events, pytest.raises(UnreachableError, match="UnstorableIdError"):
            await world.pull(snapshot=True)
        assert [each["reason"] for each in events if each["event"] == "sync_failed"] == ["UnstorableIdError"]
        decisions = SyncDecisions(database, world.specs, world.stores.limits)
        with pytest.raises(InvalidFieldError, match="1500 bytes"):
            await database.transact(lambda each: decisions.link(each, world.actor("ada"), COLLECTION, "bad", long))


@CHARACTERS
async def test_sync_is_suspended_by_a_message_that_cannot_be_stored(database_url: str, character: str) -> None:
    async with connected(database_url) as database:
        world = SyncWorld(database, "acme")
        await world.bind()
        await world.worker._suspend("UNAUTHORIZED", f"no{character} access")
        assert (await world.configs.get("acme", UPSTREAM)).suspended_message == "no access"


@pytest.mark.parametrize("text", ["NaN", "sNaN", "-Infinity", "1E+999999999", "1E-999999999", "one"])
def test_text_that_is_no_storable_number_is_returned_unchanged(text: str) -> None:
    fields = FieldTranslator([FieldMapping(local="/rate", remote="/rate", type="number")])
    assert fields.document_in({"rate": text}) == {"rate": text}
    assert fields.document_in({"rate": "-1.50"}) == {"rate": Decimal("-1.50")}


@pytest.mark.parametrize("is_conditional", [True, False], ids=["conditional", "unconditional"])
async def test_record_of_which_a_pull_was_refused_is_read_before_it_is_sent(
    database_url: str, is_conditional: bool
) -> None:
    """Neither create a second remote record nor overwrite the value that could not be stored here."""
    async with connected(database_url) as database:
        world = SyncWorld(database, "acme")
        world.system.capabilities = replace(world.system.capabilities, conditional_writes=is_conditional)
        await world.bind()
        await world.declare('{"type": "object", "properties": {"n": {"type": "number"}}}')
        world.system.insert({"n": 1}, "known")
        await world.pull(snapshot=True)
        world.system.edit("known", n="text")
        world.system.insert({"n": "text"}, "new")
        await world.pull()
        assert {each["state"] for each in (await world.states()).values()} == {"FAILED"}
        await world.patch("known", {"n": 2})
        await world.create("new", {"n": 2})
        (previewed,) = await SyncPreviews(database).push("acme", UPSTREAM)
        assert previewed.counts == {"READ": 2}
        await world.push()
        assert world.system.live() == {"known": {"n": "text"}, "new": {"n": "text"}}
        states = await world.states()
        assert {name: each["state"] for name, each in states.items()} == {"known": "HELD", "new": "HELD"}
        for name in states:
            world.system.edit(name, n=2)
        await world.pull()
        assert {each["state"] for each in (await world.states()).values()} == {"IDLE"}
