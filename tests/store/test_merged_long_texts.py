"""Lists in the order of texts that are too long for a page token: exact, by their whole length, in bounded tokens."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from draftline_server.domain.filters.ast import Field, SortKey
from draftline_server.domain.merged import MergedQuery
from draftline_server.store.database import Database
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.soak_scale import examples
from support.tenant_stores import COLLECTION, World, change, creation, deletion

MAX_TOKEN_BYTES = 65_536
# One, two and four bytes a character, and the last of all, with nothing after it that starts alike.
_LETTERS = ["a", "é", "😀", "\U0010ffff"]
_texts = st.builds(
    lambda letter, count, rest: letter * count + rest,
    st.sampled_from(_LETTERS),
    st.sampled_from([0, 1, 999, 1_000, 1_001, 2_500]),
    st.text(st.sampled_from(_LETTERS), max_size=3),
)
_values = st.none() | st.integers(0, 1) | _texts


def by_text(name: str, *, descending: bool = False) -> MergedQuery:
    return MergedQuery(COLLECTION, order=(SortKey(Field((name,)), descending),), order_text=f"{name} {descending}")


async def in_pages(world: World, query: MergedQuery, page_size: int) -> list[str]:
    found, token = [], ""
    while True:
        page = await world.merged.page(world.actor("ada"), query, page_size, token, include_total_size=False)
        found += [each.record.record_id for each in page.records]
        token = page.next_page_token
        assert len(token) <= MAX_TOKEN_BYTES
        if not token:
            return found


def sorted_ids(contents: dict[str, Any], *, descending: bool) -> list[str]:
    """Numbers, then texts, then what is missing; ties by id."""
    ids = sorted(contents)
    of = [
        [id_ for id_ in ids if isinstance(contents[id_], kind)] for kind in (int, str, type(None))
    ]  # fmt: skip
    for same in of[:2]:
        same.sort(key=lambda id_: contents[id_], reverse=descending)
    return [id_ for same in of for id_ in same]


@settings(
    max_examples=examples(25), deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(
    stored=st.lists(_values, min_size=1, max_size=8),
    drafted=st.dictionaries(st.integers(0, 9), _values, max_size=3),
    descending=st.booleans(),
    page_size=st.integers(1, 3),
)
async def test_list_by_long_texts_in_pages_is_in_the_order_of_the_whole_texts(
    database: Database, stored: list[Any], drafted: dict[int, Any], descending: bool, page_size: int
) -> None:
    world = World(database, f"long-{uuid.uuid4().hex}")
    await world.load({f"{place}": {"k": value} for place, value in enumerate(stored)})
    changes = [
        change(f"{place}", {"k": value}) if place < len(stored) else creation(f"{place}", {"k": value})
        for place, value in drafted.items()
    ]
    if changes:
        await world.save_all("ada", changes)
    shown = {f"{place}": value for place, value in [*enumerate(stored), *drafted.items()]}
    found = await in_pages(world, by_text("k", descending=descending), page_size)
    # A text compares by its bytes in UTF-8, which is by code points, as Python does.
    assert found == sorted_ids(shown, descending=descending)


async def test_longest_token_of_many_long_keys_can_be_sent_again(world: World) -> None:
    names = [f"k{place}" for place in range(8)]
    wide = "\x01" * 3_000  # six bytes a character in a token
    ids = ["\U0010ffff" * 127 + str(n) for n in range(3)]
    await world.load({id_: dict.fromkeys(names, wide + id_[-1]) for id_ in ids})
    order = tuple(SortKey(Field((name,))) for name in names)
    assert await in_pages(world, MergedQuery(COLLECTION, order=order, order_text="eight"), 1) == ids


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("change_made", ["patched", "drafted", "deleted"])
async def test_page_after_a_changed_long_text_leaves_nothing_out(
    world: World, change_made: str, descending: bool
) -> None:
    ids = [f"{n:02}" for n in range(10)]
    contents: dict[str, Any] = {id_: "é" * 1_500 + id_ for id_ in ids} | {"before": "a", "after": "\uffff"}
    await world.load({id_: {"k": text} for id_, text in contents.items()})
    query = by_text("k", descending=descending)
    page = await world.merged.page(world.actor("ada"), query, 5, "", include_total_size=False)
    seen = [each.record.record_id for each in page.records]
    if change_made == "patched":
        await world.patch(seen[-1], {"k": "b"})
    elif change_made == "drafted":
        await world.save("ada", change(seen[-1], {"k": "b"}))
    else:
        await world.save("ada", deletion(seen[-1]))
    rest = await world.merged.page(world.actor("ada"), query, 100, page.next_page_token, include_total_size=False)
    later = [each.record.record_id for each in rest.records]
    assert set(seen) | set(later) == set(contents)
    unchanged = [id_ for id_ in later if id_ != seen[-1]]
    assert unchanged == [id_ for id_ in sorted_ids(contents, descending=descending) if id_ in unchanged]
