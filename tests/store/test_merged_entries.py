"""Lists that are read from order entries are exact, as those from the tables are."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

import pytest
from draftline_server.domain.collections import IndexKey
from draftline_server.domain.drafts import ChangeByDelta, DraftEdit
from draftline_server.domain.filters.ast import Field, FieldType, SortKey
from draftline_server.domain.filters.parser import parse_filter, parse_order_by
from draftline_server.domain.merged import MergedQuery, View
from draftline_server.store.collections.order_entries import OrderEntries
from draftline_server.store.database import Database
from draftline_server.store.lists import ranges
from hypothesis import given, settings
from hypothesis import strategies as st
from support.edit_strategies import decode
from support.filter_strategies import CORPUS, DECLARED, filters, render
from support.merged_lists import (
    FIELDS,
    assert_exact,
    drafts,
    ids,
    insert,
    many,
    queries,
    save_some,
    stored_records,
    walk,
)
from support.order_entries import drop_orders, keep_entries
from support.soak_scale import examples
from support.tenant_stores import COLLECTION, World, change, creation, deletion

_keys = st.sampled_from(
    [IndexKey(path, type_, descending) for path, type_ in DECLARED.items() for descending in (False, True)]
)
_orders = st.lists(
    st.lists(_keys, min_size=1, max_size=3, unique_by=lambda key: key.path).map(tuple), min_size=1, max_size=6
)
SINGLE = [(IndexKey(path, type_),) for path, type_ in DECLARED.items()]
COMPOUND = [
    (IndexKey(("boolean",), FieldType.BOOLEAN), IndexKey(("text",), FieldType.TEXT, True)),
    (IndexKey(("text",), FieldType.TEXT), IndexKey(("number",), FieldType.NUMBER, True)),
    (
        IndexKey(("number",), FieldType.NUMBER, True),
        IndexKey(("date",), FieldType.DATE),
        IndexKey(("text",), FieldType.TEXT),
    ),
    (IndexKey(("date",), FieldType.DATE, True),),
    (IndexKey(("time",), FieldType.TIMESTAMP, True), IndexKey(("in side", "text"), FieldType.TEXT)),
]


@st.composite
def ordered_queries(draw: st.DrawFn, orders: Any) -> MergedQuery:
    """Queries of which many can be read from an order: sorted like it, and with equalities of its fields."""
    query = draw(queries())
    order = draw(st.sampled_from(orders))
    pinned = draw(st.integers(0, len(order)))
    sort = tuple(SortKey(Field(key.path), key.descending) for key in order[draw(st.integers(0, pinned)) :])
    terms = [draw(filters)] if draw(st.booleans()) else []
    values = {
        FieldType.TEXT: ["a", "aé", "😀"], FieldType.NUMBER: ["1", "0", "2"], FieldType.BOOLEAN: ["true", "false"],
        FieldType.DATE: ["2026-11-20", "2000-02-29"], FieldType.TIMESTAMP: ["2026-11-20T10:00:00Z", "2026-11-20"],
    }  # fmt: skip
    texts = []
    for index, key in enumerate(order[: pinned + 1]):
        name = "content." + ".".join(f'"{each}"' for each in key.path)
        value = json.dumps(draw(st.sampled_from(values[key.type])), ensure_ascii=False)
        if index < pinned:
            texts.append(f"{name} = {value}")
        elif draw(st.booleans()):
            several = draw(st.lists(st.sampled_from(values[key.type]), min_size=1, max_size=3))
            listed = ", ".join(json.dumps(each, ensure_ascii=False) for each in several)
            texts.append(f"{name} in ({listed})")
        elif key.type is not FieldType.BOOLEAN and draw(st.booleans()):
            texts.append(f"{name} {draw(st.sampled_from(['<', '<=', '>', '>=']))} {value}")
    text = " AND ".join([*texts, *(f"({render(term)})" for term in terms)])
    return replace(
        query, filter=parse_filter(text), filter_text=text, order=sort, order_text=repr(sort),
        record_ids=draw(st.sampled_from([(), (), query.record_ids])),
        show_deleted=draw(st.sampled_from([False, False, True])),
    )  # fmt: skip


@pytest.fixture(params=[0, 5_000], ids=["in order", "in range"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in the list's order if there is one, or the smallest range, sorted."""
    monkeypatch.setattr(ranges, "MAX_SORTED_ENTRIES", request.param)


@settings(many, max_examples=examples(25))
@given(
    records=st.dictionaries(ids, stored_records, max_size=7),
    saved=st.lists(
        st.tuples(st.sampled_from(["ada", "bob"]), st.lists(drafts(), max_size=4), st.sampled_from(["", "s"])),
        max_size=3,
    ),
    deleted=st.lists(ids, max_size=2, unique=True),
    is_kept=st.booleans(),
    data=st.data(),
)
@pytest.mark.usefixtures("both_ways")
async def test_list_of_random_records_and_drafts_equals_oracle(
    database: Database, records: Any, saved: Any, deleted: Any, is_kept: bool, data: st.DataObject
) -> None:
    """The entries are those that writes keep, or those that are built afterwards."""
    world = World(database, f"entries-{uuid.uuid4().hex}")
    await world.declare(fields=FIELDS, indexed_text="[]")
    await insert(world, records)
    orders = data.draw(_orders)
    if is_kept:
        await keep_entries(world, orders)
    for user, edits, session in saved:
        await save_some(world, user, edits, session)
    for record_id in deleted:
        if record_id in records and not records[record_id]["deleted"]:
            await world.delete(record_id)
    if not is_kept:
        await keep_entries(world, orders)
    for _ in range(3):
        query = data.draw(st.one_of(queries(), ordered_queries(orders)))
        await assert_exact(world, "ada", query, data.draw(st.integers(1, 4)))


@pytest.fixture(scope="module")
async def corpus(database: Database) -> World:
    """A record for every value of the pools, and drafts of some that hold another one's value."""
    world = World(database, f"entries-{uuid.uuid4().hex}")
    await world.declare(fields=FIELDS, indexed_text="[]")
    base = {"version": 1, "parent_id": None, "position": 1, "time": "2026-11-20T10:00:00Z", "user": "a"}
    await insert(
        world,
        {f"{n:03}": {**base, "content": content, "deleted": n % 11 == 0} for n, content in enumerate(CORPUS)},
    )
    for first, user, session in ((1, "ada", ""), (2, "ada", "s"), (1, "bob", "s")):
        edits = [
            DraftEdit(f"{n:03}", ChangeByDelta({"v": decode(CORPUS[(n + 7) % len(CORPUS)])}))
            for n in range(first, len(CORPUS), 5)
        ]  # fmt: skip
        await save_some(world, user, edits, session)
    await save_some(world, "ada", [deletion(f"{n:03}") for n in range(3, len(CORPUS), 20)], "s")
    await save_some(world, "ada", [creation(f"new{n}", {"text": "a", "number": n}) for n in range(5)], "")
    await keep_entries(world, [*SINGLE, *COMPOUND])
    return world


@settings(many, max_examples=examples(30))
@given(query=st.one_of(queries(), ordered_queries([*SINGLE, *COMPOUND])), page_size=st.sampled_from([17, 60, 1000]))
@pytest.mark.usefixtures("both_ways")
async def test_list_of_every_value_equals_oracle(corpus: World, query: MergedQuery, page_size: int) -> None:
    await assert_exact(corpus, "ada", replace(query, record_ids=()), page_size)


@pytest.mark.parametrize("view", list(View))
@pytest.mark.parametrize("order", [*SINGLE, *COMPOUND], ids=str)
async def test_every_order_equals_oracle(corpus: World, order: tuple[IndexKey, ...], view: View) -> None:
    sort = tuple(SortKey(Field(key.path), key.descending) for key in order)
    await assert_exact(corpus, "ada", MergedQuery(COLLECTION, order=sort, order_text=repr(sort), view=view), 13)


async def test_list_goes_on_when_its_order_is_dropped_between_pages(world: World) -> None:
    await world.declare(fields='[{"path": ["n"], "type": "NUMBER"}]')
    await world.load({f"{n:02}": {"n": n % 5} for n in range(20)})
    await world.save("ada", change("03", {"n": 4}))
    sort = (SortKey(Field(("n",))),)
    query = MergedQuery(COLLECTION, order=sort, order_text="n")
    expected = [each.record.record_id for each in (await walk(world, "ada", query, 3))[0]]
    await keep_entries(world, [(IndexKey(("n",), FieldType.NUMBER),)])
    first = await world.merged.page(world.actor("ada"), query, 7, "", include_total_size=True)
    assert first.total_size == 20
    await drop_orders(world)
    found, token = list(first.records), first.next_page_token
    while token:
        page = await world.merged.page(world.actor("ada"), query, 7, token, include_total_size=True)
        assert page.total_size == 20
        found += page.records
        token = page.next_page_token
    assert [each.record.record_id for each in found] == expected


async def test_tokens_are_the_same_with_and_without_entries(world: World) -> None:
    fields = [{"path": [name], "type": type_} for name, type_ in (("d", "DATE"), ("t", "TIMESTAMP"), ("x", "TEXT"))]
    await world.declare(fields=json.dumps(fields))
    days = ["2026-11-20", "0001-01-01", "9999-12-31", None]
    times = ["2026-11-20T10:00:00.5Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", None]
    await world.load({f"{n:02}": {"d": days[n % 4], "t": times[n // 4 % 4], "x": "aé😀"[: n % 3]} for n in range(24)})
    for names in ("d", "t", "x", "dt", "xd"):
        sort = tuple(SortKey(Field((name,)), index % 2 == 1) for index, name in enumerate(names))
        query = MergedQuery(COLLECTION, order=sort, order_text=names)
        expected = [each.record.record_id for each in (await walk(world, "ada", query, 100))[0]]
        types = {"d": FieldType.DATE, "t": FieldType.TIMESTAMP, "x": FieldType.TEXT}
        order = [IndexKey(key.field.path, types[key.field.path[0]], key.descending) for key in sort]
        found, token, ready = [], "", False
        while True:  # each page another way
            ready = not ready
            await (keep_entries(world, [order]) if ready else drop_orders(world))
            page = await world.merged.page(world.actor("ada"), query, 5, token)
            found += [each.record.record_id for each in page.records]
            token = page.next_page_token
            if not token:
                break
        assert found == expected


async def test_long_names_leave_entries_out_and_the_list_exact(database: Database) -> None:
    world = World(database, f"{uuid.uuid4().hex}{'字' * 90}")
    await world.declare(fields='[{"path": ["a"], "type": "TEXT"}, {"path": ["b"], "type": "TEXT"}]')
    await world.load({f"{'字' * 120}{n}": {"a": f"{n % 2}" + "😀" * 199, "b": "😀" * 199 + f"{n}"} for n in range(6)})
    sort = (SortKey(Field(("a",))), SortKey(Field(("b",)), descending=True))
    await keep_entries(world, [tuple(IndexKey(key.field.path, FieldType.TEXT, key.descending) for key in sort)])
    await assert_exact(world, "ada", MergedQuery(COLLECTION, order=sort, order_text="ab"), 2)


async def test_list_is_read_from_entries_from_the_end_of_their_build_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.declare(fields='[{"path": ["n"], "type": "NUMBER"}]')
    await world.load({f"{n:02}": {"n": n % 5} for n in range(20)})
    await world.save("ada", change("03", {"n": 4}))
    query = MergedQuery(
        COLLECTION, parse_filter("n > 1"), "n > 1", (SortKey(Field(("n",))),), "n"
    )  # fmt: skip
    sent: list[str] = []
    monkeypatch.setattr(world.database.connections, "observers", [lambda sql, _: sent.append(sql)])
    before = (await walk(world, "ada", query, 3))[0]
    assert not any("FROM draftline.order_entry" in sql for sql in sent)
    await OrderEntries(world.database).build(world.tenant_id, COLLECTION)
    await world.specs.load(world.tenant_id, [COLLECTION])
    sent.clear()
    assert (await walk(world, "ada", query, 3))[0] == before
    lists = [sql for sql in sent if "get_merged" in sql or "count_merged" in sql]
    assert len(lists) == 5  # four pages and a count
    assert all("FROM draftline.order_entry" in sql for sql in lists)
    await world.patch("04", {"n": 9})
    await world.save("ada", change("05", {"n": 8}))
    await world.delete("02")
    await assert_exact_numbers(world, query)


async def assert_exact_numbers(world: World, query: MergedQuery) -> None:
    found = (await walk(world, "ada", query, 3))[0]
    numbers = {each.record.record_id: json.loads(each.record.content)["n"] for each in found}
    expected = {f"{n:02}": n % 5 for n in range(20) if n % 5 > 1} | {"03": 4, "04": 9, "05": 8}
    del expected["02"]
    assert numbers == expected
    assert list(numbers) == sorted(numbers, key=lambda id_: (numbers[id_], id_))


@pytest.mark.parametrize(("order_text", "ranges_of_a_branch"), [("n", 3), ("n desc", 1), ("n, m", 1), ("m, n", 5)])
async def test_rows_after_a_token_are_one_scan_of_the_tables_unless_an_index_may_serve_them(
    world: World, monkeypatch: pytest.MonkeyPatch, order_text: str, ranges_of_a_branch: int
) -> None:
    await world.declare(
        fields='[{"path": ["n"], "type": "NUMBER"}, {"path": ["m"], "type": "NUMBER"}]',
        orders='[[{"path": ["m"], "descending": false}, {"path": ["n"], "descending": false}]]',
    )
    await world.load({f"{n:02}": {"n": n % 5, "m": n % 3} for n in range(20)})
    sent: list[str] = []
    monkeypatch.setattr(world.database.connections, "observers", [lambda sql, _: sent.append(sql)])
    order = parse_order_by(order_text)
    query = MergedQuery(COLLECTION, order=order, order_text=order_text, view=View.BASELINE)
    assert len((await walk(world, "ada", query, 8))[0]) == 20
    last = [sql for sql in sent if "get_merged" in sql][-1]
    assert last.count("UNION ALL") == ranges_of_a_branch - 1
