"""Drafts of both clients against the live service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import draftline
import pytest
from draftline import ConflictKind, DraftEdit, DraftKind, RecordState, View, op
from support.both_clients import Connect

FILMS = {"m-1": {"Title": "Alien", "Genre": "Horror"}, "m-2": {"Title": "Brazil", "Genre": "Comedy"}}
EXACT = Decimal("0.1234567890123456789012345678901234567890")


@pytest.fixture
async def films(client: Any) -> Any:
    for record_id, content in FILMS.items():
        await client.create_content("movies", content, record_id=record_id)
    return client


@pytest.fixture
async def others(connect: Connect, server_address: str, films: Any) -> AsyncIterator[Any]:
    """A client of another user of the same tenant."""
    tenant_id = (await films.get_content("movies", "m-1")).tenant_id
    async with connect(server_address, tenant_id=tenant_id, user="bob") as connected:
        yield connected


async def merged(client: Any, **query: Any) -> dict[str, Any]:
    return {each.record_id: each.content async for each in client.get_merged("movies", **query)}


async def test_saved_draft_is_seen_by_its_user_alone(films: Any, others: Any) -> None:
    saved = await films.save_draft(
        "movies", "m-1", {"Genre": "Drama", "Exact": EXACT}, session_id="s-1", change_reason="why", base_version=1
    )
    assert saved.content == {"Title": "Alien", "Genre": "Drama", "Exact": EXACT}
    assert (saved.state, saved.draft_kind, saved.draft_version) == (RecordState.DRAFT, DraftKind.CHANGE, 1)
    assert (saved.modified_fields, saved.modified_by) == (("Exact", "Genre"), "ada")
    assert (saved.session_id, saved.change_reason, saved.conflicts) == ("s-1", "why", ())
    assert saved.modify_time is not None
    assert [each async for each in films.get_merged("movies", record_ids=["m-1"])] == [saved]
    assert await merged(others) == FILMS
    (pristine,) = [each async for each in others.get_merged("movies", record_ids=["m-1"])]
    assert (pristine.state, pristine.draft_kind, pristine.draft_version) == (RecordState.PRISTINE, None, 0)


async def test_saving_again_composes_or_replaces(films: Any) -> None:
    await films.save_draft("movies", "m-1", {"a": {"b": 1}})
    composed = await films.save_draft("movies", "m-1", {"a": {"c": 2}}, strategy="deep", expected_draft_version=1)
    assert (composed.content["a"], composed.draft_version) == ({"b": 1, "c": 2}, 2)
    replaced = await films.save_draft("movies", "m-1", operations=[op.add("/b", 1)], replace=True)
    assert (replaced.modified_fields, replaced.draft_version) == (("b",), 3)


async def test_draft_creates_and_deletes(films: Any) -> None:
    created = await films.save_draft("movies", "m-3", create={"Title": "Cube"})
    assert (created.draft_kind, created.record.version) == (DraftKind.CREATE, 0)
    deleted = await films.save_draft("movies", "m-1", delete=True)
    assert deleted.draft_kind is DraftKind.DELETE
    assert set(await merged(films)) == {"m-2", "m-3"}
    assert set(await merged(films, show_deleted=True)) == {"m-1", "m-2", "m-3"}
    assert await films.save_draft("movies", "m-3", delete=True) is None
    with pytest.raises(draftline.DraftDeletesRecordError):
        await films.save_draft("movies", "m-1", {"a": 1})


@pytest.mark.parametrize(
    ("record_id", "arguments", "error"),
    [
        ("none", {"delta": {}}, draftline.NotFoundError),
        ("m-1", {"create": {}}, draftline.AlreadyExistsError),
        ("m-1", {"delta": {}, "base_version": 2}, draftline.VersionMismatchError),
        ("m-1", {"operations": [op.test("/a", 1)]}, draftline.InvalidArgumentError),
    ],
)
async def test_edit_that_cannot_be_saved_raises(
    films: Any, record_id: str, arguments: dict[str, Any], error: type
) -> None:
    with pytest.raises(error):
        await films.save_draft("movies", record_id, **arguments)
    assert await merged(films, view="drafts_only") == {}


async def test_stale_draft_version_has_the_current_one(films: Any) -> None:
    await films.save_draft("movies", "m-1", {"a": 1})
    with pytest.raises(draftline.DraftVersionMismatchError) as caught:
        await films.save_draft("movies", "m-1", {"a": 2}, expected_draft_version=0)
    assert caught.value.current_draft_version == 1


async def test_many_edits_are_saved_all_or_none(films: Any) -> None:
    edits = [DraftEdit("m-1", {"a": 1}), DraftEdit("none", {"a": 1})]
    with pytest.raises(draftline.NotFoundError):
        await films.save_drafts("movies", edits)
    assert await merged(films, view=View.DRAFTS_ONLY) == {}
    saved, failed = await films.save_drafts("movies", edits, allow_partial=True, fields=["a"])
    assert saved.unwrap().content == {"a": 1}
    assert isinstance(failed.error, draftline.NotFoundError)
    with pytest.raises(draftline.NotFoundError):
        failed.unwrap()
    (bare,) = await films.save_drafts("movies", [DraftEdit("m-2", delete=True)], omit_content=True)
    assert bare.unwrap().content == {}


async def test_list_is_filtered_and_sorted_by_merged_values_over_pages(films: Any) -> None:
    drama = {f"d-{number:02}": {"Genre": "Drama", "n": number} for number in range(7)}
    await films.import_content("movies", drama.items())
    await films.save_draft("movies", "m-1", {"Genre": "Drama", "n": 99})
    await films.save_draft("movies", "d-03", {"Genre": "Comedy"})
    query: dict[str, Any] = {"filter": 'Genre = "Drama"', "order_by": "n desc"}
    listed = [each.record_id async for each in films.get_merged("movies", page_size=2, **query)]
    assert listed == ["m-1", "d-06", "d-05", "d-04", "d-02", "d-01", "d-00"]
    assert [each.record_id async for each in films.stream_merged("movies", **query)] == listed
    page = await films.get_merged_page("movies", page_size=3, include_total_size=True, fields=["n"], **query)
    assert (len(page.records), page.total_size, page.records[0].content) == (3, 7, {"n": 99})
    rest = await films.get_merged_page("movies", page_token=page.next_page_token, **query)
    assert [each.record_id for each in rest.records] == listed[3:]
    assert (rest.next_page_token, rest.total_size) == ("", None)


async def test_list_shows_one_session_or_the_baseline(films: Any) -> None:
    await films.save_draft("movies", "m-1", {"Genre": "Drama"}, session_id="one")
    await films.save_draft("movies", "m-2", {"Genre": "Drama"}, session_id="two")
    assert [each["Genre"] for each in (await merged(films, session_id="one")).values()] == ["Drama", "Comedy"]
    assert await merged(films, view="baseline") == FILMS
    assert set(await merged(films, view="drafts_only", session_id="two")) == {"m-2"}


async def test_filter_with_a_syntax_error_has_its_position(films: Any) -> None:
    with pytest.raises(draftline.InvalidFilterError) as caught:
        await merged(films, filter="Genre = = 1")
    assert caught.value.position == 8


async def test_token_of_another_query_or_user_is_refused(films: Any, others: Any) -> None:
    page = await films.get_merged_page("movies", page_size=1)
    for client, query in ((films, {"order_by": "Title"}), (others, {})):
        with pytest.raises(draftline.InvalidArgumentError) as caught:
            await client.get_merged_page("movies", page_token=page.next_page_token, **query)
        assert [each.field for each in caught.value.field_violations] == ["page_token"]


async def test_commit_writes_the_drafts_of_a_session(films: Any, others: Any) -> None:
    await films.save_draft("movies", "m-1", {"Genre": "Drama"}, session_id="s")
    await films.save_draft("movies", "m-2", {"Genre": "Drama"})
    await others.patch_content("movies", "m-1", {"Year": 1979})
    (preview,) = await films.commit("movies", session_id="s", validate_only=True)
    assert preview.unwrap().content == {"Title": "Alien", "Genre": "Drama", "Year": 1979}
    assert (await others.get_content("movies", "m-1")).content["Genre"] == "Horror"
    (result,) = await films.commit("movies", session_id="s", include_content=True, fields=["Genre"])
    assert (result.record_id, result.changed_fields, result.conflicts, result.error) == ("m-1", ("Genre",), (), None)
    assert (result.unwrap().content, result.unwrap().version) == ({"Genre": "Drama"}, 3)
    assert set(await merged(films, view="drafts_only")) == {"m-2"}
    (bare,) = await films.commit("movies", all=True)
    assert bare.unwrap().content == {}


async def test_commit_names_its_records_with_their_versions(films: Any) -> None:
    await films.save_draft("movies", "m-1", {"a": 1})
    await films.save_draft("movies", "m-1", {"a": 2})
    with pytest.raises(draftline.DraftVersionMismatchError) as caught:
        await films.commit("movies", record_ids={"m-1": 1})
    assert caught.value.current_draft_version == 2
    with pytest.raises(draftline.DraftNotFoundError):
        await films.commit("movies", record_ids=["m-1", "m-2"])
    assert len(await films.commit("movies", record_ids={"m-1": 2})) == 1


async def test_rejected_commit_has_base_mine_and_theirs(films: Any, others: Any) -> None:
    await films.save_draft("movies", "m-1", {"Genre": "Drama", "n": [EXACT]})
    await others.patch_content("movies", "m-1", {"Genre": None, "n": "x" * 1_000})
    with pytest.raises(draftline.ConflictError) as caught:
        await films.commit("movies", all=True)
    genre, n = caught.value.conflicts
    assert (genre.record_id, genre.kind, genre.path) == ("m-1", ConflictKind.VALUE, "/Genre")
    assert (genre.base, genre.mine, genre.theirs) == ("Horror", "Drama", None)
    assert (n.base, n.mine) == (draftline.UNSET, [EXACT])
    assert isinstance(n.theirs, draftline.Shortened)
    assert caught.value.conflicts_count == 2
    (preview,) = await films.commit("movies", all=True, validate_only=True, allow_partial=True)
    assert isinstance(preview.error, draftline.ConflictError)
    assert [each.theirs for each in preview.conflicts] == [None, "x" * 1_000]
    (listed,) = [each async for each in films.get_merged("movies", view="drafts_only")]
    assert listed.conflicts == preview.conflicts


@pytest.mark.parametrize(("policy", "kept"), [("keep_mine", "Drama"), ("keep_theirs", "War")])
async def test_conflict_is_resolved_by_the_policy(films: Any, others: Any, policy: str, kept: str) -> None:
    await films.save_draft("movies", "m-1", {"Genre": "Drama", "Year": 1979})
    await others.patch_content("movies", "m-1", {"Genre": "War"})
    (result,) = await films.commit("movies", all=True, conflict_policy=policy, include_content=True)
    assert result.unwrap().content == {"Title": "Alien", "Genre": kept, "Year": 1979}
    assert [each.path for each in result.conflicts] == ["/Genre"]


async def test_commit_with_allow_partial_leaves_what_is_in_conflict(films: Any, others: Any) -> None:
    await films.save_drafts("movies", [DraftEdit("m-1", {"Genre": "Drama"}), DraftEdit("m-2", {"Genre": "Drama"})])
    await others.delete_content("movies", "m-1")
    stuck, done = await films.commit("movies", all=True, allow_partial=True)
    assert isinstance(stuck.error, draftline.ConflictError)
    assert (stuck.record, stuck.conflicts[0].kind) == (None, ConflictKind.DELETED)
    with pytest.raises(draftline.ConflictError):
        stuck.unwrap()
    assert done.unwrap().version == 2
    assert set(await merged(films, view="drafts_only")) == {"m-1"}


async def test_discard_returns_the_discarded_drafts(films: Any) -> None:
    await films.save_draft("movies", "m-1", {"Genre": "Drama"}, session_id="s")
    await films.save_draft("movies", "m-2", delete=True)
    (preview,) = await films.discard("movies", session_id="s", validate_only=True)
    assert (preview.record_id, preview.content, preview.modified_fields) == ("m-1", {}, ("Genre",))
    dropped = await films.discard("movies", all=True, include_content=True, fields=["Genre"])
    assert [(each.record_id, each.content) for each in dropped] == [
        ("m-1", {"Genre": "Drama"}),
        ("m-2", {"Genre": "Comedy"}),
    ]
    assert await merged(films) == FILMS
    with pytest.raises(draftline.DraftNotFoundError):
        await films.discard("movies", record_ids=["m-1"])


async def test_attributes_are_drafted_alone_with_a_change_and_removed(films: Any) -> None:
    moved = await films.save_draft("movies", "m-1", parent_id="shelf", position=3)
    assert (moved.record.parent_id, moved.record.position) == ("shelf", 3)
    assert (moved.modified_attributes, moved.modified_fields) == (("parent_id", "position"), ())
    edits = [DraftEdit("m-1", {"a": 1}, position=None), DraftEdit("m-3", create={}, parent_id="shelf")]
    await films.save_drafts("movies", edits)
    results = await films.commit("movies", all=True)
    assert [each.changed_attributes for each in results] == [("parent_id",), ("parent_id",)]
    cleared = await films.save_draft("movies", "m-1", parent_id=None)
    assert cleared.record.parent_id is None
    with pytest.raises(ValueError, match="or only parent_id or position"):
        await films.save_draft("movies", "m-1")


async def test_deleted_record_is_restored_by_a_draft(films: Any) -> None:
    await films.delete_content("movies", "m-1")
    with pytest.raises(draftline.NotFoundError):
        await films.save_draft("movies", "m-1", {"a": 1})
    async with films.session("movies") as session:
        await session.edit("m-1", {"a": 1}, allow_deleted=True, position=4)
    record = await films.get_content("movies", "m-1")
    assert (record.content, record.version, record.position) == ({**FILMS["m-1"], "a": 1}, 3, 4)


async def test_conflicts_of_an_error_are_resolved_and_collected(films: Any, others: Any) -> None:
    await films.save_draft("movies", "m-1", {"Title": "mine", "Genre": "mine", "a": 1}, position=1)
    await others.patch_content("movies", "m-1", {"Title": "theirs", "Genre": "theirs", "a": 2}, position=2)
    with pytest.raises(draftline.ConflictError) as caught:
        await films.commit("movies", all=True)
    genre, title, a, position = caught.value.conflicts
    assert {each.version for each in caught.value.conflicts} == {2}
    assert genre.resolve("mine") == draftline.Resolution("m-1", "/Genre", 2, draftline.Side.MINE)
    genre.resolve("theirs")
    title.resolve(value=EXACT)
    a.resolve(draftline.Side.MINE)
    assert [each.path for each in caught.value.resolutions] == ["/Genre", "/Title", "/a"]
    for bad in ({}, {"side": "mine", "value": 1}, {"side": "both"}):
        with pytest.raises(ValueError, match=r"side|Side"):
            position.resolve(**bad)
    with pytest.raises(draftline.ConflictError) as again:
        await films.commit("movies", all=True, resolutions=caught.value.resolutions)
    (rest,) = again.value.conflicts
    assert rest.path == "record.position"
    rest.resolve("theirs")
    await films.commit("movies", all=True, resolutions=again.value.resolutions)
    record = await films.get_content("movies", "m-1")
    assert (record.content, record.position) == ({"Title": EXACT, "Genre": "theirs", "a": 1}, 2)


async def test_resolution_of_a_changed_path_is_collected_again(films: Any, others: Any) -> None:
    await films.save_draft("movies", "m-1", {"Title": "mine"})
    await others.patch_content("movies", "m-1", {"Title": "theirs"})
    (shown,) = [each async for each in films.get_merged("movies", view="drafts_only")]
    resolution = shown.conflicts[0].resolve("mine")
    await others.patch_content("movies", "m-1", {"Title": "theirs again"})
    with pytest.raises(draftline.ConflictError) as caught:
        await films.commit("movies", all=True, resolutions=[resolution])
    assert caught.value.resolutions == []
    caught.value.conflicts[0].resolve("mine")
    await films.commit("movies", all=True, resolutions=caught.value.resolutions)
    assert (await films.get_content("movies", "m-1")).content["Title"] == "mine"
