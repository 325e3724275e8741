"""Every kind of write, by name, leaves the tallies of statistics exact."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from draftline_server.domain.changes import ChangeRef, ChangeSource
from draftline_server.domain.drafts import ConflictPolicy, Selection
from draftline_server.domain.edits import Operation, Strategy
from draftline_server.domain.records import Delta, ImportMode, Operations, Patch
from draftline_server.domain.statistics import Grain, StatisticsQuery
from draftline_server.domain.sync_records import Decision
from draftline_server.store.database import Database
from draftline_server.store.draft_integrity import DraftChecker
from draftline_server.store.statements import Statement
from draftline_server.store.sync.decisions import SyncDecisions
from support.statistics_oracle import groups_of
from support.sync_worlds import SyncWorld, answer
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, change, creation, deletion, operate

from .test_order_entries import purge
from .test_statistics import COUNT, EA, SUM, expected, lists, problems
from .test_statistics import answer as answered
from .test_tallies import declared, statistics, tallies_of, tally_rows, wrong_groups

STATISTICS = json.dumps([
    {"name": "text", "keys": [{"path": ["ea"], "type": "TEXT"}], "measures": [["en"]]},
    {"name": "range", "keys": [{"path": ["en"], "type": "NUMBER_RANGE"}], "measures": [["en"]]},
])  # fmt: skip
BREAK = Statement("break", 'UPDATE draftline.draft SET merged = \'{"ea": "y", "en": 99}\' WHERE tenant_id = $1', ("t",))


class Tenant(SyncWorld, LoggedWorld):
    """The stores of a tenant with every way to write."""

    async def film(self, record_id: str, user: str = "") -> None:
        """Create a record, and a draft of it."""
        await self.create(record_id, {"ea": "x", "en": 1, "u": 0})
        if user:
            await self.save(user, change(record_id, {"en": 2}))

    async def sent(self, patch: Patch) -> None:
        await self.patches.patch(self.actor("sys"), patch, change_reason="", validate_only=False)


async def commit(world: Tenant, policy: ConflictPolicy) -> None:
    """Commit a draft that conflicts with a write since, and one that does not."""
    for record_id in ("c-1", "c-2"):
        await world.sent(upsert(record_id, {"ea": "x", "en": 1}))
        await world.save("ada", change(record_id, {"en": 5, "ea": "y"}))
    await world.patch("c-1", {"en": 6})
    await world.commit("ada", policy=policy, allow_partial=True)


async def commit_of_each_kind(world: Tenant) -> None:
    for record_id in ("k-1", "k-2"):
        await world.film(record_id)
    await world.save("ada", change("k-1", {"en": 7}))
    await world.save("ada", deletion("k-2"))
    await world.save("ada", creation("k-3", {"ea": "z", "en": 8}))
    await world.commit("ada")


async def revert_of_a_commit(world: Tenant) -> None:
    await world.film("rc-1", "ada")
    await world.save("ada", creation("rc-2", {"ea": "z", "en": 8}))
    _, commit_id = await world.write(
        "ada",
        lambda transaction: world.commits.commit(
            transaction, world.actor("ada"), COLLECTION, Selection(), ConflictPolicy.REJECT, change_reason="",
            allow_partial=False, with_content=True, resolutions=(),
        ),
    )  # fmt: skip
    await world.revert(commit_id)


async def rejected_batch(world: Tenant) -> None:
    """Patch records of which one does not exist: nothing is written."""
    await world.film("rb", "bob")
    patches = [Patch(COLLECTION, each, Delta('{"en": 9}', Strategy.SHALLOW)) for each in ("rb", "missing")]
    assert any(each.error for each in await world.patch_all(patches))


async def repair_of_a_draft(world: Tenant) -> None:
    """Repair a draft that was changed by hand, as the statistics count it."""
    await world.discard("ada")
    await world.discard("bob")
    await world.film("rd", "ada")
    await world.database.fetch(BREAK, {"t": world.tenant_id})
    for row in await statistics(world):
        await tallies_of(world.database).repair(world.tenant_id, COLLECTION, row["statistic_id"])
    checker = DraftChecker(world.database)
    async for each in checker.differences():
        if each.tenant_id == world.tenant_id:
            assert await checker.repair(each)


async def decision(world: Tenant) -> None:
    """Decide a conflict between a record and an upstream."""
    await world.merge(answer("sd", {"ea": "x", "en": 1}, 1))
    await world.save("ada", change("sd", {"ea": "z"}))
    await world.patch("sd", {"en": 2})
    await world.merge(answer("sd", {"ea": "x", "en": 3}, 2))
    decisions = SyncDecisions(world.database, world.specs, world.stores.limits)
    async with world.database.transaction() as transaction:
        await decisions.resolve(
            transaction, world.actor("sys"), COLLECTION, "sd", [Decision("/en", takes_theirs=True)],
            expected_version=None, change_reason="",
        )  # fmt: skip


async def merges(world: Tenant, *contents: dict[str, Any] | None) -> None:
    """Merge one content after another of a record of an upstream, which a user drafts."""
    await world.merge(answer("s", {"ea": "x", "en": 1}, 1))
    await world.save("ada", change("s", {"ea": "y"}))
    await world.merge(*(answer("s", content, number) for number, content in enumerate(contents, 2)))


def upsert(record_id: str, delta: dict[str, Any], **options: Any) -> Patch:
    options = {"allow_missing": True, "allow_deleted": True, **options}
    return Patch(COLLECTION, record_id, Delta(json.dumps(delta), Strategy.SHALLOW), **options)


async def after(*steps: Awaitable[Any]) -> None:
    for step in steps:
        await step


Write = Callable[[Tenant], Awaitable[Any]]
CONTENT = {"ea": "y", "en": 3}
ADD = Operations((Operation("increment", ("en",), value=1),))
WRITES: Mapping[str, Write] = {
    "create": lambda it: it.create("1", {"ea": "x", "en": 1}),
    **{
        f"patch {strategy}": lambda it, strategy=strategy: after(
            it.film(strategy, "ada"), it.patch(strategy, CONTENT, strategy)
        )
        for strategy in Strategy
    },
    "patch by operations": lambda it: after(it.film("o", "ada"), it.sent(Patch(COLLECTION, "o", ADD))),
    "upsert": lambda it: it.sent(upsert("u", CONTENT)),
    "upsert of a deleted record": lambda it: after(
        it.film("ud", "ada"), it.delete("ud"), it.sent(upsert("ud", CONTENT))
    ),
    "batch": lambda it: after(it.film("b", "ada"), it.patch_all([upsert("b", CONTENT), upsert("b-2", CONTENT)])),
    "partial batch": lambda it: after(
        it.film("pb", "ada"),
        it.patch_all([upsert("pb", CONTENT), upsert("none", {}, allow_missing=False)], partial=True),
    ),
    "rejected batch": rejected_batch,
    "import": lambda it: after(it.film("i", "ada"), it.load({"i": CONTENT, "i-2": CONTENT})),
    "delete": lambda it: after(it.film("d", "ada"), it.delete("d")),
    "undelete": lambda it: after(it.film("un", "ada"), it.delete("un"), it.undelete("un")),
    "purge": lambda it: after(it.film("p", "ada"), it.discard("ada"), it.delete("p"), purge(it, "p")),
    "save": lambda it: after(it.film("s-1"), it.save("ada", change("s-1", CONTENT))),
    "save again": lambda it: it.save("ada", change("s-1", {"en": 4})),
    "save by operations": lambda it: it.save("ada", operate("s-1", Operation("increment", ("en",), value=1))),
    "save of a creation": lambda it: it.save("ada", creation("s-2", CONTENT)),
    "save of a deletion": lambda it: after(it.film("s-3"), it.save("ada", deletion("s-3"))),
    "save over a deleted record": lambda it: after(
        it.film("s-4"), it.delete("s-4"), it.save("ada", change("s-4", CONTENT, allow_deleted=True))
    ),
    "creation of a drafted record": lambda it: it.create("s-2", CONTENT),
    "discard": lambda it: it.discard("ada"),
    **{f"commit {policy}": lambda it, policy=policy: commit(it, policy) for policy in ConflictPolicy},
    "commit of each kind": commit_of_each_kind,
    "revert": lambda it: after(it.film("r", "ada"), it.patch("r", CONTENT), it.revert(ChangeRef(COLLECTION, "r", 2))),
    "revert of a commit": revert_of_a_commit,
    "snapshot": lambda it: after(
        it.save("bob", change("i", {"en": 8})), it.load({"i": {"ea": "x"}}, ImportMode.SNAPSHOT)
    ),
    "repair of a draft": repair_of_a_draft,
    "sync": lambda it: it.bind(),
    "merge of an update": lambda it: merges(it, {"ea": "x", "en": 5}),
    "merge of a deletion": lambda it: merges(it, None),
    "decision of a conflict": decision,
}  # fmt: skip


@pytest.mark.parametrize("partial_updates", [True, False], ids=["in place", "fetched"])
async def test_tallies_are_exact_after_every_kind_of_write(
    database: Database, tenant_id: str, partial_updates: bool
) -> None:
    world = Tenant(database, tenant_id)
    world.patches = LoggedWorld(database, tenant_id, partial_updates=partial_updates).patches
    await declared(world, STATISTICS)
    await tallies_of(database).build(tenant_id, COLLECTION)
    for name, write in WRITES.items():
        before = await tally_rows(world)
        await write(world)
        assert await wrong_groups(world) == [], name
        assert await tally_rows(world) != before or name == "sync", name  # it is part of the statistics
    assert {each.source for each in await world.all()} >= set(ChangeSource)
    query = StatisticsQuery(COLLECTION, ((EA, Grain.VALUE),), (COUNT, SUM))
    for user in ("ada", "bob", "eve"):
        wanted = expected(await lists(world, user), query)
        assert problems(query, groups_of(await answered(world, user, query)), wanted) == []
