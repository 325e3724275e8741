"""A commit whose drafts are not all plain holds no locks of the first statement while the second one locks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from draftline_server.domain.drafts import ConflictPolicy
from draftline_server.store.transaction import Transaction
from support.races import BLOCKED, Races
from support.tenant_stores import change, creation


@pytest.mark.parametrize("is_new", [False, True], ids=["draft", "record"])
async def test_commit_that_holds_locks_waits_for_no_record_that_it_did_not_lock_at_first(
    races: Races, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    """After the first statement, record 0 gets a draft, or is created; who has locked it then waits for record a."""
    world = races.world
    await world.create("a", {"n": 0, "m": 0})
    await world.save("ada", change("a", {"n": 1}))
    await world.patch("a", {"m": 1})  # so that the draft of a is not plain, and has no conflict
    if is_new:
        await world.save("ada", creation("0", {"n": 1}))
    else:
        await world.create("0", {"n": 0})
    fetch, holding, is_first = Transaction.fetch, list[asyncio.Task[Any]](), True
    commit: asyncio.Future[Any]

    async def hold(locked: asyncio.Event) -> None:
        async with races.connection.transaction():
            await races.connection.execute("SET LOCAL deadlock_timeout = '10ms'")  # so that a deadlock fails this one
            await races.connection.execute(
                "SELECT FROM draftline.record WHERE tenant_id = 't' AND record_id = '0' FOR UPDATE"
            )
            locked.set()
            while not commit.done() and not await races.connection.fetchval(BLOCKED):
                pass  # each look is a round trip
            await races.connection.execute(
                "SELECT FROM draftline.record WHERE tenant_id = 't' AND record_id = 'a' FOR UPDATE"
            )

    async def fetch_and_hold(transaction: Transaction, statement: Any, values: dict[str, object]) -> Any:
        nonlocal is_first
        rows = await fetch(transaction, statement, values)
        if statement.name == "write_plain_drafts" and is_first:
            is_first = False
            assert not rows
            # Calls of others and of the same user, which are complete before the next statement.
            await (world.create("0", {"n": 0}) if is_new else world.save("ada", change("0", {"n": 1})))
            locked = asyncio.Event()
            holding.append(asyncio.create_task(hold(locked)))
            await locked.wait()
        return rows

    monkeypatch.setattr(Transaction, "fetch", fetch_and_hold)
    commit = asyncio.ensure_future(world.commit("ada", policy=ConflictPolicy.KEEP_MINE))
    results = await commit
    await holding[0]  # raises DeadlockDetectedError if the commit waited for 0 while it held a
    assert {result.record_id for result in results} == {"0", "a"}
