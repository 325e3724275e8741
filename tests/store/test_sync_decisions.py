"""Decisions about records beside other writers."""

from __future__ import annotations

import asyncio

from draftline_server.domain.drafts import ChangeByDelta, DraftEdit, edit_of_delta
from draftline_server.domain.edits import Strategy
from draftline_server.domain.merged import MergedQuery
from draftline_server.domain.sync_records import Decision
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from draftline_server.store.sync.attempts import lock
from draftline_server.store.sync.decisions import SyncDecisions
from draftline_server.store.sync.states import SyncStates
from support.sync_worlds import SyncWorld, until
from support.tenant_stores import COLLECTION

SPEC_LOCKS_OF_BLOCKED = Statement(
    "spec_locks_of_blocked",
    """SELECT a.pid, EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.granted)
        AS holds_spec
    FROM pg_stat_activity AS a
    WHERE a.datname = current_database() AND cardinality(pg_blocking_pids(a.pid)) > 0""",
    (),
)


async def test_resolution_locks_the_spec_before_the_record(database: Database, tenant_id: str) -> None:
    """Take locks in the order of all writers; otherwise a change of the spec at the same moment is a deadlock."""
    world = SyncWorld(database, tenant_id)
    await world.bind()
    world.system.insert({"n": 0}, "r")
    await world.pull(snapshot=True)
    await world.patch("r", {"n": 1})
    world.system.edit("r", n=2)
    await world.pull()
    decisions = SyncDecisions(database, world.specs, world.stores.limits)
    await decisions.load_spec(tenant_id, COLLECTION)

    async def resolve() -> tuple[int, int]:
        return await database.transact(
            lambda transaction: decisions.resolve(
                transaction, world.actor("ada"), COLLECTION, "r", [Decision("/n", takes_theirs=True)],
                expected_version=None, change_reason="",
            )
        )  # fmt: skip

    async def is_blocked() -> bool:
        return bool(await database.fetch(SPEC_LOCKS_OF_BLOCKED, {}))

    async with database.transaction() as writer:
        await lock(writer, tenant_id, COLLECTION, ["r"])
        resolving = asyncio.create_task(resolve())
        await until(is_blocked)
        (blocked,) = await database.fetch(SPEC_LOCKS_OF_BLOCKED, {})
        assert blocked["holds_spec"]
    assert (await resolving)[1] == 0
    assert await world.value("r") == {"n": 2}


async def test_conflict_shows_the_value_of_the_version_that_is_listed_with_it(
    database: Database, tenant_id: str
) -> None:
    """A decision at that version replaces this value, although no merge has seen it yet. Pages show the same."""
    world = SyncWorld(database, tenant_id)
    await world.bind()
    world.system.insert({"n": {"m": 0}, "o": 0}, "r")
    await world.pull(snapshot=True)
    await world.patch("r", {"n": {"m": 1}, "o": 1})
    world.system.edit("r", n={"m": 2}, o=2)
    await world.pull()

    async def listed() -> tuple[int, list[tuple[str, str | None, str | None]]]:
        records = await SyncStates(database).page(tenant_id, COLLECTION, None, "", 10)
        await world.specs.load(tenant_id, [COLLECTION])
        for user in ("ada", "bob"):  # who has a draft of the record
            page = await world.merged.page(world.actor(user), MergedQuery(COLLECTION), 10, "")
            assert page.records[0].sync is not None
            assert page.records[0].sync.conflicts == records[0].conflicts
        return records[0].version, [(each.path, each.mine, each.theirs) for each in records[0].conflicts]

    await world.save("bob", DraftEdit("r", ChangeByDelta(edit_of_delta({"o": 7}, Strategy.SHALLOW, 0))))
    version, conflicts = await listed()
    assert conflicts == [("/n/m", "1", "2"), ("/o", "1", "2")]
    await world.patch("r", {"n": {"m": 5}, "o": None}, Strategy.MERGE_PATCH)
    for _ in range(2):
        assert await listed() == (version + 1, [("/n/m", "5", "2"), ("/o", None, "2")])
        await world.worker._attempts.sweep(COLLECTION)  # which marks it to be read again
