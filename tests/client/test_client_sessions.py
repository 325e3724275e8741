"""Sessions of both clients: which drafts they commit, discard and leave unchanged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import draftline
import grpc
import pytest
from draftline import DraftEdit, op
from draftline._core.session_drafts import new_session
from support.both_clients import Connect
from support.scripted_server import ScriptedServer, failure


@pytest.fixture
async def films(client: Any) -> Any:
    await client.import_content("movies", [("m-1", {"n": 1}), ("m-2", {"n": 2}), ("m-3", {"n": 3})])
    return client


@pytest.fixture
async def others(connect: Connect, server_address: str, films: Any) -> AsyncIterator[Any]:
    """A client of another user of the same tenant."""
    tenant_id = (await films.get_content("movies", "m-1")).tenant_id
    async with connect(server_address, tenant_id=tenant_id, user="bob") as connected:
        yield connected


async def contents(client: Any, view: str = "baseline") -> dict[str, Any]:
    return {each.record_id: each.content async for each in client.get_merged("movies", view=view)}


async def test_session_commits_its_edits_together(films: Any) -> None:
    async with films.session("movies", change_reason="cleaning") as session:
        edited = await session.edit("m-1", {"a": 1})
        assert (edited.session_id, edited.change_reason) == (session.session_id, "cleaning")
        await session.edit("m-1", operations=[op.increment("/a", 1)])
        await session.delete("m-2")
        await session.create("m-4", {"n": 4})
        await session.save([DraftEdit("m-3", {"n": 33}), DraftEdit("m-4", {"b": 1}, strategy="merge_patch")])
        assert (await contents(films))["m-1"] == {"n": 1}
        assert session.results == []
    assert await contents(films) == {"m-1": {"n": 1, "a": 2}, "m-3": {"n": 33}, "m-4": {"n": 4, "b": 1}}
    assert [each.record_id for each in session.results] == ["m-1", "m-2", "m-3", "m-4"]
    assert await contents(films, "drafts_only") == {}


async def test_session_that_raises_discards_its_edits_alone(films: Any) -> None:
    await films.save_draft("movies", "m-2", {"mine": "before"})
    boom = OSError("disk")
    with pytest.raises(OSError, match="disk") as caught:  # noqa: PT012  how a session ends is what is tested
        async with films.session("movies") as session:
            await session.edit("m-1", {"a": 1})
            raise boom
    assert caught.value is boom
    assert await contents(films, "drafts_only") == {"m-2": {"n": 2, "mine": "before"}}
    assert await contents(films) == {"m-1": {"n": 1}, "m-2": {"n": 2}, "m-3": {"n": 3}}


@pytest.mark.parametrize("is_refused", [False, True])
async def test_session_with_a_used_label_discards_only_its_own_drafts(films: Any, is_refused: bool) -> None:
    """Keep an earlier draft of the same label, also if the session ends by an edit that was refused."""
    await films.save_draft("movies", "m-2", {"mine": "before"}, session_id="evening")
    with pytest.raises((OSError, draftline.InvalidArgumentError)):  # noqa: PT012  how a session ends is what is tested
        async with films.session("movies", session_id="evening") as session:
            await session.edit("m-1", {"a": 1})
            await session.edit("m-3", {"a": 1})
            await session.edit("m-3", operations=[op.remove("/none")] if is_refused else [op.remove("/a")])
            raise OSError("disk")
    assert await contents(films, "drafts_only") == {"m-2": {"n": 2, "mine": "before"}}


async def test_session_whose_edit_is_refused_discards_the_others(films: Any) -> None:
    with pytest.raises(draftline.NotFoundError):  # noqa: PT012  how a session ends is what is tested
        async with films.session("movies") as session:
            await session.edit("m-1", {"a": 1})
            await session.edit("none", {"a": 1})
    assert await contents(films, "drafts_only") == {}


async def test_session_refuses_a_record_with_an_earlier_draft(films: Any) -> None:
    await films.save_draft("movies", "m-1", {"a": 1})
    with pytest.raises(draftline.DraftVersionMismatchError) as caught:
        async with films.session("movies") as session:
            await session.edit("m-1", {"b": 2})
    assert caught.value.current_draft_version == 1
    async with films.session("movies") as session:
        await session.edit("m-1", {"b": 2}, expected_draft_version=1)
    assert (await contents(films))["m-1"] == {"n": 1, "a": 1, "b": 2}


async def test_session_in_conflict_keeps_its_drafts(films: Any, others: Any) -> None:
    with pytest.raises(draftline.ConflictError):  # noqa: PT012  how a session ends is what is tested
        async with films.session("movies") as session:
            await session.edit("m-1", {"n": "mine"})
            await others.patch_content("movies", "m-1", {"n": "theirs"})
    assert await contents(films, "drafts_only") == {"m-1": {"n": "mine"}}
    await films.commit("movies", session_id=session.session_id, conflict_policy="keep_mine")
    assert (await contents(films))["m-1"] == {"n": "mine"}


async def test_session_with_a_label_discards_what_other_calls_left_unchanged(films: Any) -> None:
    with pytest.raises(OSError, match="disk"):  # noqa: PT012  how a session ends is what is tested
        async with films.session("movies", session_id="mine") as session:
            for record_id in ("m-1", "m-2", "m-3"):
                await session.edit(record_id, {"a": 1})
            await films.discard("movies", record_ids=["m-1"])
            await films.save_draft("movies", "m-2", {"b": 2}, session_id="mine")
            raise OSError("disk")
    assert await contents(films, "drafts_only") == {"m-2": {"n": 2, "a": 1, "b": 2}}


async def test_session_with_a_label_keeps_a_draft_whose_change_refused_its_edit(films: Any) -> None:
    with pytest.raises(draftline.DraftVersionMismatchError):  # noqa: PT012  how a session ends is what is tested
        async with films.session("movies", session_id="mine") as session:
            await session.edit("m-1", {"a": 1})
            await films.save_draft("movies", "m-1", {"b": 2}, session_id="mine")
            await session.edit("m-1", {"a": 3})
    assert await contents(films, "drafts_only") == {"m-1": {"n": 1, "a": 1, "b": 2}}


def test_refused_edit_leaves_the_outcome_of_an_earlier_one_unknown() -> None:
    drafts = new_session("movies", session_id="mine", change_reason="", conflict_policy="reject")
    drafts.versions["m-1"] = 1
    edits = [DraftEdit("m-1", {"a": 1})]
    drafts.note_error(drafts.expecting(edits), draftline.DraftlineError(grpc.StatusCode.UNAVAILABLE, ""))
    drafts.note_error(drafts.expecting(edits), draftline.DraftlineError(grpc.StatusCode.ABORTED, ""))
    assert drafts.discarded() == {"m-1": None}


async def test_session_takes_a_policy_and_a_label(films: Any, others: Any) -> None:
    async with films.session("movies", session_id="evening", conflict_policy="keep_theirs") as session:
        await session.edit("m-1", {"n": "mine", "a": 1})
        await others.patch_content("movies", "m-1", {"n": "theirs"})
    assert session.session_id == "evening"
    assert (await contents(films))["m-1"] == {"n": "theirs", "a": 1}
    with pytest.raises(ValueError, match="is not a ConflictPolicy"):
        films.session("movies", conflict_policy="keep_both")


async def test_session_does_not_commit_what_was_saved_elsewhere_meanwhile(films: Any) -> None:
    with pytest.raises(draftline.DraftVersionMismatchError):  # noqa: PT012  how a session ends is what is tested
        async with films.session("movies") as session:
            await session.edit("m-1", {"a": 1})
            await films.save_draft("movies", "m-1", {"a": 2}, move_to_session=True)
    assert await contents(films) == {"m-1": {"n": 1}, "m-2": {"n": 2}, "m-3": {"n": 3}}


async def test_session_raises_if_a_draft_belongs_to_another_one(films: Any) -> None:
    await films.save_draft("movies", "m-1", {"a": 1}, session_id="first")
    for other in ("second", ""):
        with pytest.raises(draftline.DraftInOtherSessionError) as caught:
            await films.save_draft("movies", "m-1", {"b": 1}, session_id=other)
        assert caught.value.session_id == "first"
    saved, refused = await films.save_drafts(
        "movies", [DraftEdit("m-2", {"b": 1}), DraftEdit("m-1", {"b": 1})], session_id="second", allow_partial=True
    )
    assert (saved.error, type(refused.error)) == (None, draftline.DraftInOtherSessionError)
    assert (await films.commit("movies", session_id="third")).selected_count == 0
    moved = await films.save_draft("movies", "m-1", {"b": 1}, session_id="second", move_to_session=True)
    assert (moved.content, moved.session_id) == ({"n": 1, "a": 1, "b": 1}, "second")
    discarded = await films.discard("movies", session_id="first")
    assert (discarded, discarded.selected_count) == ([], 0)
    assert (await films.discard("movies", session_id="second", validate_only=True)).selected_count == 2
    assert (await films.commit("movies", session_id="second")).selected_count == 2


async def test_session_without_drafts_commits_nothing(films: Any) -> None:
    async with films.session("movies") as session:
        pass
    async with films.session("movies") as gone:
        await gone.create("m-9", {})
        assert await gone.delete("m-9") is None
    assert (session.results, gone.results) == ([], [])
    assert session.session_id != gone.session_id


async def test_session_keeps_the_error_of_its_block_when_the_discard_fails(
    connect: Connect, scripted: ScriptedServer
) -> None:
    async with connect(scripted.address, tenant_id="acme") as client:
        with pytest.raises(draftline.UnimplementedError, match="SaveDraft"):  # noqa: PT012  how a session ends is what is tested
            async with client.session("movies") as session:
                scripted.answers["SaveDraft"] = lambda _: failure(12, "SaveDraft")
                scripted.answers["Discard"] = lambda _: failure(12, "Discard")
                await session.edit("m-1", {})
    assert scripted.requests[-1].session_id == session.session_id
