"""The cost of syncs for other calls: none for collections that are not bound, no statement for pages of bound ones."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any
from weakref import WeakSet

import asyncpg
import pytest
from draftline.upstreams import Page
from draftline_server.domain.drafts import ChangeByDelta, Creation, DraftEdit, edit_of_delta
from draftline_server.domain.edits import Strategy
from draftline_server.domain.merged import MergedQuery
from draftline_server.domain.sync import BoundCollection, MergeResult, Verdict
from draftline_server.store.database import Database
from draftline_server.store.lists.sync_states import NOT_SYNCED
from draftline_server.store.statements import Statement, fragment
from draftline_server.sync import pull as pull_module
from draftline_server.sync.pull import Pull
from draftline_server.sync.push import WENT_BACK, Push
from support.sync_worlds import SyncWorld
from support.tenant_stores import COLLECTION, World

# Statements that are sent when what they read last is too old, and the random names of savepoints.
BY_AGE = ("/* get_definitions */", "/* read_clock */")
SAVEPOINT = re.compile(r"__asyncpg_savepoint_\w+__")
STATES = ("IDLE", "DUE", "SENDING", "HELD", "FAILED", None)  # None: no row
SYNCED = ("IDLE", None)  # no record of the collection is pending
VERSIONS = (None, 1, 2)  # the acknowledged version of a record at version 2
USERS = ("ada", "sync:pems")
FILL = Statement(
    "fill",
    """
    WITH known AS (
        INSERT INTO draftline.sync_record (tenant_id, collection, record_id, state, conflicts, error, tries)
        SELECT $1, $2, p.record_id, p.state, '[{"kind": "VALUE", "path": "/n"}]', '{"reason": "NO"}', 3
        FROM unnest($3::text[], $4::text[]) AS p (record_id, state) WHERE p.state IS NOT NULL
    )
    UPDATE draftline.record AS r SET version = 2, acked_version = p.acked_version, updated_by = p.user_id
    FROM unnest($3::text[], $5::bigint[], $6::text[]) AS p (record_id, acked_version, user_id)
    WHERE r.tenant_id = $1 AND r.collection = $2 AND r.record_id = p.record_id
    """,
    ("tenant_id", "collection", "record_ids", "states", "acked_versions", "user_ids"),
)
SHOWN = Statement(
    "shown",
    f"""
    SELECT r.record_id, {fragment("sync_records", "shown")} AS shown
    FROM draftline.record AS r LEFT JOIN draftline.sync_record AS s
        ON s.tenant_id = $1 AND s.collection = r.collection AND s.record_id = r.record_id
    WHERE r.tenant_id = $1
    """,
    ("tenant_id",),
)


@contextmanager
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield a list of the texts of all statements that are sent in the block."""
    texts: list[str] = []
    here = threading.get_ident()  # and not those of a server that other tests of this process use
    with monkeypatch.context() as patched:
        for name in ("fetch", "execute", "prepare", "copy_records_to_table"):
            original = getattr(asyncpg.Connection, name)

            async def noting(self: Any, text: str, *given: Any, original: Any = original, **options: Any) -> Any:
                if threading.get_ident() == here and not text.startswith(BY_AGE):
                    texts.append(SAVEPOINT.sub("savepoint", text))
                return await original(self, text, *given, **options)

            patched.setattr(asyncpg.Connection, name, noting)
        yield texts


async def walk(world: World) -> None:
    """Make each kind of write, and read pages."""
    changed = ChangeByDelta(edit_of_delta({"n": 3}, Strategy.SHALLOW, 0))
    await world.create("p", {"n": 1})
    await world.patch("p", {"n": 2})
    await world.save("ada", DraftEdit("p", changed))
    await world.save("ada", DraftEdit("new", Creation('{"n": 1}')))
    await world.merged.page(world.actor("ada"), MergedQuery(COLLECTION), 10, "", include_total_size=True)
    await world.commit("ada")
    await world.save("ada", DraftEdit("p", changed))
    await world.discard("ada")
    await world.delete("p")
    await world.undelete("p")
    await world.load({"p": {"n": 5}, "q": {"n": 6}})
    await world.merged.page(world.actor("ada"), MergedQuery(COLLECTION), 10, "")


async def test_collections_that_are_not_bound_send_the_same_statements_beside_a_sync(
    database: Database, tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare the texts of all statements with those of a tenant without syncs, and find no table of syncs in them.

    A connection that the pool opens meanwhile sends statements too, so one of three comparisons must hold: a statement
    that a sync costs is in all of them.
    """
    await walk(World(database, f"{tenant_id}-warm-up"))  # connections prepare themselves once
    pairs: list[tuple[list[str], list[str]]] = []
    while len(pairs) < 3 and not any(beside_sync == without_sync for beside_sync, without_sync in pairs):
        beside = SyncWorld(database, f"{tenant_id}-beside-{len(pairs)}")
        await beside.bind(BoundCollection("bound"))
        with sent(monkeypatch) as without_sync:
            await walk(World(database, f"{tenant_id}-without-{len(pairs)}"))
        with sent(monkeypatch) as beside_sync:
            await walk(beside)
        assert len(beside_sync) > 20
        assert [text for text in beside_sync if "draftline.sync_" in text] == []
        pairs.append((beside_sync, without_sync))
    beside_sync, without_sync = pairs[-1]
    assert beside_sync == without_sync


async def test_page_of_a_bound_collection_sends_no_further_statement(
    database: Database, tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read a page before and after the collection is bound, with as many statements."""
    world = SyncWorld(database, tenant_id)
    await world.create("p", {"n": 1})
    counts = []
    for _ in range(2):
        await world.specs.load(world.tenant_id, [COLLECTION])
        with sent(monkeypatch) as texts:
            page = await world.merged.page(world.actor("ada"), MergedQuery(COLLECTION), 10, "")
        named = [text for text in texts if text.startswith("/*")]  # not those of a connection that the pool opens
        counts.append((len(named), page.records[0].sync is not None))
        await world.bind()
    assert counts == [(counts[0][0], False), (counts[0][0], True)]
    assert counts[0][0] > 0


@pytest.mark.parametrize("stored", [STATES, SYNCED], ids=["all states", "all synced"])
async def test_page_shows_the_states_that_lists_of_records_show(
    database: Database, tenant_id: str, stored: Sequence[str | None]
) -> None:
    """Compare every combination of what is stored with the fragment that the other calls use."""
    world = SyncWorld(database, tenant_id)
    cases = {f"r{number:02}": case for number, case in enumerate(product(stored, VERSIONS, USERS))}
    await world.load({record_id: {"n": 1} for record_id in cases})
    await world.bind()
    await world.specs.load(tenant_id, [COLLECTION])
    states, versions, users = zip(*cases.values(), strict=True)
    await database.fetch(FILL, {
        "tenant_id": tenant_id, "collection": COLLECTION, "record_ids": list(cases), "states": list(states),
        "acked_versions": list(versions), "user_ids": list(users),
    })  # fmt: skip
    await world.save("ada", DraftEdit("r00", ChangeByDelta(edit_of_delta({"n": 3}, Strategy.SHALLOW, 0))))
    await world.save("ada", DraftEdit("unsaved", Creation('{"n": 1}')))
    page = await world.merged.page(world.actor("ada"), MergedQuery(COLLECTION), 100, "")
    found = {each.record.record_id: each.sync for each in page.records}
    assert found.pop("unsaved") is None
    expected = {row["record_id"]: row["shown"] for row in await database.fetch(SHOWN, {"tenant_id": tenant_id})}
    assert {record_id: sync and str(sync.state) for record_id, sync in found.items()} == expected
    assert len(set(expected.values())) == (5 if stored is STATES else 3)
    for record_id, (state, version, _) in cases.items():
        sync = found[record_id]
        assert sync is not None
        assert sync.acked_version == (version or 0)
        if state in NOT_SYNCED:
            assert (sync.tries, sync.reason, [each.path for each in sync.conflicts]) == (3, "NO", ["/n"])


class Id(str):
    """A text of which weak references can be made."""


async def test_snapshot_keeps_no_more_older_records_than_it_looks_up(
    database: Database, tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = SyncWorld(database, tenant_id)
    world.system.page = 1
    for number in range(5):
        world.system.insert({"n": 1}, f"r{number}")
    await world.bind()
    kept, looked_up = WeakSet[Id](), list[str]()

    async def merge_page(_: Pull, __: BoundCollection, page: Page, *others: object) -> Sequence[MergeResult]:
        ids = [Id(each.remote_id) for each in page.records]
        kept.update(ids)
        return [MergeResult(each, each, Verdict.DEFER, WENT_BACK, "", False) for each in ids]

    async def refuse_older(_: Push, __: BoundCollection, ___: object, known: Mapping[str, str]) -> None:
        looked_up.extend(map(str, known))
        known_ids = set(known)
        assert len([each for each in kept if each not in known_ids]) <= 1  # of the last page

    monkeypatch.setattr(pull_module, "MAX_LOOKED_UP", 2)
    monkeypatch.setattr(Pull, "_merge_page", merge_page)
    monkeypatch.setattr(Push, "refuse_older", refuse_older)
    await world.pull(snapshot=True)
    assert len(looked_up) == 2
