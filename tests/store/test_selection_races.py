"""Commits and discards that wait for a lock act on the drafts as they are after the wait.

A call of the same user that finishes meanwhile is either wholly before them or wholly after: each interleaving is made
to happen by a lock that the test holds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from draftline_server.domain.drafts import Selection
from draftline_server.domain.errors import ContentionError
from draftline_server.store import drafts as drafts_store
from support.races import Races
from support.tenant_stores import World, change, creation, deletion, of_records

Meanwhile = Callable[[World], Awaitable[Any]]


async def discard_and_save_two(world: World) -> None:
    """Save 2 and 3 together, after the draft of 2 that the waiting call saw is gone."""
    await world.discard("ada", of_records("2"))
    await world.save_all("ada", [change("2", {"n": "new"}), change("3", {"n": "new"})], session_id="s")


async def save_two(world: World) -> None:
    await world.save_all("ada", [change("2", {"n": "new"}), change("3", {"n": "new"})], session_id="s")


async def save_a_change_and_a_creation(world: World) -> None:
    await world.save_all("ada", [change("2", {"n": "new"}), creation("4", {"n": "new"})], session_id="s")


async def move_two_into_the_session(world: World) -> None:
    edits = [change("2", {"n": "new"}), change("3", {"n": "new"})]
    await world.save_all("ada", edits, session_id="t", move=True)
    await world.save_all("ada", edits, session_id="s", move=True)


async def save_a_deletion_again(world: World) -> None:
    await world.save_all("ada", [deletion("2"), change("3", {"n": "new"})], session_id="s")


MEANWHILE: dict[str, Meanwhile] = {
    each.__name__: each
    for each in (
        discard_and_save_two, save_two, save_a_change_and_a_creation, move_two_into_the_session, save_a_deletion_again
    )
}  # fmt: skip
SELECTIONS = {"all": Selection(), "session": Selection(session_id="s")}


async def arrange(world: World) -> None:
    for record_id in ("1", "2", "3"):
        await world.create(record_id, {"n": "old"})
    await world.save_all("ada", [change("1", {"n": "mine"}), change("2", {"n": "mine"})], session_id="s")


async def held_while(races: Races, call: Awaitable[Any], query: str, meanwhile: Meanwhile) -> Any:
    """Run `meanwhile` to its end while `call` waits for what `query` locks; return what `call` answers."""
    transaction = races.connection.transaction()
    await transaction.start()
    assert await races.connection.fetch(query)
    task = await races.waiting(call)
    await meanwhile(races.world)
    await transaction.rollback()
    return await task


async def record_states(world: World) -> dict[str, Any]:
    return {row["record_id"]: (row["content"]["n"], row["deleted_at"] is None) for row in await world.stored("record")}


RECORD = "SELECT 1 FROM draftline.record WHERE record_id = '1' FOR UPDATE"
DRAFT = "SELECT 1 FROM draftline.draft WHERE record_id = '1' FOR UPDATE"


@pytest.mark.parametrize("selection", list(SELECTIONS))
@pytest.mark.parametrize("name", list(MEANWHILE))
async def test_commit_that_waited_takes_all_of_a_save_or_nothing(races: Races, name: str, selection: str) -> None:
    await arrange(races.world)
    call = races.world.commit("ada", SELECTIONS[selection])
    results = await held_while(races, call, RECORD, MEANWHILE[name])
    saved = {row["record_id"] for row in await races.world.stored("draft")}
    written = {each.record_id for each in results}
    together = {"2", "4" if name == "save_a_change_and_a_creation" else "3"}
    assert written == {"1"} | together
    assert saved == set()
    states = await record_states(races.world)
    assert {states[record_id] for record_id in together} <= {("new", True), ("old", False)}
    assert states["1"] == ("mine", True)


@pytest.mark.parametrize("selection", list(SELECTIONS))
@pytest.mark.parametrize("name", list(MEANWHILE))
async def test_discard_that_waited_takes_all_of_a_save_or_nothing(
    races: Races,
    name: str,
    selection: str,
) -> None:
    await arrange(races.world)
    call = races.world.discard("ada", SELECTIONS[selection])
    dropped = await held_while(races, call, DRAFT, MEANWHILE[name])
    together = {"2", "4" if name == "save_a_change_and_a_creation" else "3"}
    assert {each.record.record_id for each in dropped} == {"1"} | together
    assert await races.world.stored("draft") == []
    assert set((await record_states(races.world)).values()) == {("old", True)}


async def test_named_draft_that_is_dropped_and_saved_again_meanwhile_is_taken(races: Races) -> None:
    async def again(world: World) -> None:
        await world.discard("ada", of_records("2"))
        await world.save("ada", change("2", {"n": "new"}), session_id="s")

    for call, query in ((races.world.commit, RECORD), (races.world.discard, DRAFT)):
        await races.connection.execute("DELETE FROM draftline.draft; DELETE FROM draftline.record")
        await arrange(races.world)
        results: Any = await held_while(races, call("ada", of_records("1", "2")), query, again)
        assert len(results) == 2


async def test_draft_that_left_the_session_while_its_commit_waited_stays_a_draft(races: Races) -> None:
    async def move(world: World) -> None:
        await world.save_all("ada", [change("2", {"n": "new"}), change("3", {"n": "new"})], session_id="t", move=True)

    await arrange(races.world)
    results = await held_while(races, races.world.commit("ada", Selection(session_id="s")), RECORD, move)
    assert [each.record_id for each in results] == ["1"]
    assert {row["record_id"]: row["session_id"] for row in await races.world.stored("draft")} == {"2": "t", "3": "t"}


async def test_commit_and_discard_whose_drafts_change_at_each_attempt_give_up_and_change_nothing(
    races: Races,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await arrange(races.world)
    before = await races.world.stored("draft"), await record_states(races.world)

    async def changed(*_: Any) -> None:
        raise drafts_store.RacedError

    monkeypatch.setattr(drafts_store, "check_selection", changed)
    with pytest.raises(ContentionError):
        await races.world.discard("ada")
    assert (await races.world.stored("draft"), await record_states(races.world)) == before
