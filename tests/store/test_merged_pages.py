"""Pages of merged lists: whose tokens are good for what, where pages end, and walks while others write."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from draftline_server.domain.drafts import MergedRecord
from draftline_server.domain.errors import InvalidFieldError
from draftline_server.domain.filters.ast import Field, SortKey
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.merged import MergedQuery, View
from draftline_server.store.lists.merged import MergedStore
from draftline_server.store.lists.order import MAX_RANGED_KEYS
from support.tenant_stores import COLLECTION, World, change, creation, deletion

ORDER = (SortKey(Field(("k",))),)
QUERY = MergedQuery(COLLECTION, order=ORDER, order_text="k")


async def numbered(world: World, count: int, **content: Any) -> list[str]:
    """Records whose keys meet: two of each, and some without."""
    ids = [f"{place:02}" for place in range(count)]
    keys = {id_: {"k": place // 2} if place % 5 else {} for place, id_ in enumerate(ids)}
    await world.load({id_: {**keys[id_], **content} for id_ in ids})
    return ids


async def first_token(world: World, query: MergedQuery = QUERY, user: str = "ada") -> str:
    page = await world.merged.page(world.actor(user), query, 2, "", include_total_size=False)
    assert page.next_page_token
    return page.next_page_token


OTHERS: dict[str, MergedQuery] = {
    "filter": replace(QUERY, filter=parse_filter("k > 0"), filter_text="k > 0"),
    "order": replace(QUERY, order=(SortKey(Field(("k",)), descending=True),), order_text="k desc"),
    "collection": replace(QUERY, collection="others"),
    "records": replace(QUERY, record_ids=("00", "01", "02")),
    "session": replace(QUERY, session_id="s"),
    "view": replace(QUERY, view=View.BASELINE),
    "show deleted": replace(QUERY, show_deleted=True),
}


async def assert_refused(world: World, user: str, query: MergedQuery, token: str) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        await world.merged.page(world.actor(user), query, 2, token, include_total_size=False)
    assert refused.value.fields[0][0] == "page_token"


@pytest.mark.parametrize("name", list(OTHERS))
async def test_token_of_another_query_is_refused(world: World, name: str) -> None:
    await numbered(world, 8)
    await assert_refused(world, "ada", OTHERS[name], await first_token(world))


async def test_token_of_another_user_or_tenant_is_refused(world: World) -> None:
    await numbered(world, 8)
    token = await first_token(world)
    await assert_refused(world, "bob", QUERY, token)
    await assert_refused(World(world.database, f"{world.tenant_id}x"), "ada", QUERY, token)


async def test_token_is_good_for_another_page_size(world: World) -> None:
    ids = await numbered(world, 8)
    token = await first_token(world)
    page = await world.merged.page(world.actor("ada"), QUERY, 100, token, include_total_size=False)
    assert len(page.records) == len(ids) - 2
    assert page.next_page_token == ""


async def test_token_with_any_character_changed_is_refused(world: World) -> None:
    await numbered(world, 8)
    token = await first_token(world)
    for place, character in enumerate(token):
        changed = token[:place] + ("-" if character != "-" else "_") + token[place + 1 :]
        await assert_refused(world, "ada", QUERY, changed)
    for broken in (token[:-4], token + "AAAA", "x", "?", "é"):
        await assert_refused(world, "ada", QUERY, broken)


async def test_token_of_another_declaration_is_refused(world: World) -> None:
    await numbered(world, 8)
    token = await first_token(world)
    await world.declare(fields='[{"path": ["k"], "type": "TEXT"}]')
    await assert_refused(World(world.database, world.tenant_id), "ada", QUERY, token)


async def test_page_ends_by_bytes_and_the_next_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MergedStore.page.__kwdefaults__, "max_bytes", 1_000)
    ids = await numbered(world, 9, filler="é" * 190)
    await world.save("ada", change(ids[3], {"filler": "x" * 5_000}))
    found, token = [], ""
    while True:
        page = await world.merged.page(world.actor("ada"), QUERY, 100, token, include_total_size=False)
        sizes = [len(each.record.content.encode()) for each in page.records]
        assert len(sizes) == 1 or sum(sizes) <= 1_000
        found += [each.record.record_id for each in page.records]
        token = page.next_page_token
        if not token:
            break
    assert sorted(found) == ids


async def walked(world: World, query: MergedQuery) -> list[MergedRecord]:
    """The list in pages of one."""
    found: list[MergedRecord] = []
    token = ""
    while True:
        page = await world.merged.page(world.actor("ada"), query, 1, token, include_total_size=False)
        found += page.records
        token = page.next_page_token
        if not token:
            return found


async def test_whole_list_in_pages_of_one_is_the_list_in_one_page(world: World) -> None:
    await numbered(world, 12)
    await world.save_all("ada", [change("03", {"k": None}), change("04", {"k": 0}), creation("new", {"k": 3})])
    whole = await world.merged.page(world.actor("ada"), QUERY, 100, "", include_total_size=True)
    assert await walked(world, QUERY) == list(whole.records)
    assert whole.total_size == len(whole.records) == 13


@pytest.mark.parametrize("count", [MAX_RANGED_KEYS, MAX_RANGED_KEYS + 1, 8])
async def test_whole_list_by_many_declared_keys_in_pages_of_one_is_the_list_in_one_page(
    world: World, count: int
) -> None:
    names = [f"k{place}" for place in range(count)]
    await world.declare(fields=json.dumps([{"path": [name], "type": "NUMBER"} for name in names]))
    # Equal first keys, so that the later ones decide; every third value is missing.
    contents = [{name: n >> place & 1 for place, name in enumerate(names[::-1]) if (n + place) % 3} for n in range(24)]
    await world.load({f"{n:02}": content for n, content in enumerate(contents)})
    await world.save_all("ada", [change("03", {names[0]: 1}), creation("new", {names[-1]: 0})])
    order = tuple(SortKey(Field((name,)), descending=place % 2 == 1) for place, name in enumerate(names))
    query = MergedQuery(COLLECTION, order=order, order_text="many")
    whole = await world.merged.page(world.actor("ada"), query, 100, "", include_total_size=False)
    assert len(whole.records) == 25
    assert await walked(world, query) == list(whole.records)


@pytest.mark.parametrize("order", [(), ORDER, (SortKey(Field(("k",)), descending=True),)], ids=["id", "asc", "desc"])
@pytest.mark.parametrize("is_declared", [False, True], ids=["undeclared", "declared"])
async def test_walk_while_others_write_repeats_and_skips_nothing_that_keeps_its_keys(
    world: World, order: tuple[SortKey, ...], is_declared: bool
) -> None:
    if is_declared:
        await world.declare(fields='[{"path": ["k"], "type": "NUMBER"}]')
    ids = await numbered(world, 40)
    steady = [id_ for place, id_ in enumerate(ids) if place % 4 != 3]
    query = replace(QUERY, order=order, order_text=repr(order))
    seen: list[str] = []
    token, turn = "", 0
    while True:
        page = await world.merged.page(world.actor("ada"), query, 3, token, include_total_size=False)
        seen += [each.record.record_id for each in page.records]
        token = page.next_page_token
        if not token:
            break
        await write_something(world, ids, steady, turn)
        turn += 1
    assert [id_ for id_ in seen if id_ in steady] == sorted_by(query, ids, steady)
    assert turn > 10


async def write_something(world: World, ids: list[str], steady: list[str], turn: int) -> None:
    """Drafts, commits, patches and creations everywhere; the keys of the steady records stay."""
    await world.save_all(
        "ada", [change(steady[(7 * turn) % len(steady)], {"x": turn}), creation(f"n{turn:02}", {"k": turn})]
    )
    await world.patch(steady[(5 * turn) % len(steady)], {"y": turn})
    moving = ids[3::4]
    await world.save_all("ada", [change(moving[turn % len(moving)], {"k": 100 - turn})], partial=True)
    await world.save_all("bob", [deletion(steady[(3 * turn) % len(steady)])])
    if turn % 3 == 2:
        await world.commit("ada")


def sorted_by(query: MergedQuery, ids: list[str], steady: list[str]) -> list[str]:
    keys = {id_: place // 2 if place % 5 else None for place, id_ in enumerate(ids)}
    if not query.order:
        return steady
    present = [id_ for id_ in steady if keys[id_] is not None]
    present.sort(key=lambda id_: keys[id_] or 0, reverse=query.order[0].descending)
    return present + [id_ for id_ in steady if keys[id_] is None]


async def test_page_shows_the_content_and_what_the_draft_means_for_it(world: World) -> None:
    await world.create("1", {"a": 1, "b": 1})
    await world.save("ada", change("1", {"a": 2}), session_id="s")
    await world.patch("1", {"a": 3, "b": 3})
    page = await world.merged.page(world.actor("ada"), MergedQuery(COLLECTION), 10, "", include_total_size=False)
    (shown,) = page.records
    assert json.loads(shown.record.content) == {"a": 2, "b": 3}
    assert [(each.path, each.base, each.mine, each.theirs) for each in shown.conflicts] == [("/a", "1", "2", "3")]
    assert (list(shown.modified_fields), shown.modified_by, shown.session_id) == (["a"], "ada", "s")
