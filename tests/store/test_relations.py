"""Related records: every expansion equals a plain join in Python, whatever was written and drafted before."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from draftline_server.domain.drafts import ConflictPolicy
from draftline_server.domain.edits import Strategy
from draftline_server.domain.errors import DraftlineError, InvalidFieldError, RelationNotReadyError
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.merged import MergedQuery, View
from draftline_server.domain.relations import parse_expand, relations_of
from draftline_server.store.collections.order_entries import OrderEntries
from draftline_server.store.database import Database
from draftline_server.store.relations import related_reads
from draftline_server.store.relations.expansions import (
    ExpandQuery,
    Expansion,
    Expansions,
    TooManyBytesError,
    source_of,
)
from draftline_server.store.relations.related_rows import (
    CONTENT,
    ID,
    MAX_SMALL_BYTES,
    MAX_SMALL_ROWS,
    merged_of_related,
    rows_by_id,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from support.entry_checks import wrong_entries
from support.merged_oracle import merged_list
from support.relation_oracle import Joined, Links
from support.soak_scale import examples
from support.tenant_stores import COLLECTION, World, change, creation, deletion, moving

RELATIONS = json.dumps([
    {"name": "maker", "path": ["maker"], "collection": COLLECTION, "inverse": "made"},
    {"name": "crew", "path": ["all", "crew"], "collection": COLLECTION, "inverse": "works"},
    {"name": "source", "path": ["maker"], "collection": COLLECTION, "inverse": ""},
])  # fmt: skip
IDS = ["a", "b", "c", "d", "e", "é"]
NAMES = ["maker", "crew", "source", "made", "works", "parent", "children"]
OPPOSITES = {("maker", "made"), ("made", "maker"), ("crew", "works"), ("works", "crew"),
             ("parent", "children"), ("children", "parent")}  # fmt: skip
USERS = ("ada", "bob")
FIELDS = [(), (), ("n",), ("none", "maker", "n", "\0"), ("maker", "all"), tuple("n1234567"), tuple("n12345678")]


async def declared(world: World) -> None:
    await world.declare(relations=RELATIONS)
    await OrderEntries(world.database).build(world.tenant_id, COLLECTION)
    await world.specs.load(world.tenant_id, [COLLECTION])


def content(dice: random.Random) -> dict[str, Any]:
    """A content that names records, some of which do not exist, and values that name none."""
    names = [*IDS, "gone", "x" * 129, "", "a\nb"]
    maker = dice.choice(["a", "a", "a", *names, None, 5, 10**400, dice.choices(names, k=2)])
    crew = dice.choice([dice.choices([*names, 7, None, ["a"]], k=dice.randrange(5)), dice.choice(names), {"a": "b"}])
    shape = dice.choice(
        [{"maker": maker}, {"all": {"crew": crew}}, {"maker": maker, "all": {"crew": crew}}, {"all": 3}]
    )
    if dice.random() < 0.02:
        shape["text"] = "x" * (MAX_SMALL_BYTES + 1)
    return {**shape, "n": dice.choice([1, 2, "x", None])} if dice.random() < 0.8 else shape


async def write(world: World, dice: random.Random) -> None:
    """Write or draft something; a call that is refused changes nothing."""
    record_id, user, parent = (
        dice.choice(IDS),
        dice.choice(USERS),
        dice.choice(["a", "a", "a", "a", *IDS, "gone", None]),
    )
    session = dice.choice(["", "one"])
    moved = {"parent_id": parent, "position": dice.choice([None, 1, 2])}
    edit = dice.choice([
        change(record_id, content(dice), dice.choice([Strategy.SHALLOW, Strategy.DEEP])),
        moving(record_id, **moved),
        creation(record_id, content(dice), allow_deleted=dice.random() < 0.5, attributes=moved),
        deletion(record_id),
    ])  # fmt: skip
    steps: list[Any] = [
        lambda: world.create(record_id, content(dice)),
        lambda: world.patch(record_id, content(dice), Strategy.SHALLOW),
        lambda: world.move(record_id, parent, dice.choice([None, 1, 2])),
        lambda: world.delete(record_id),
        lambda: world.undelete(record_id),
        lambda: world.save(user, edit, session_id=session),
        lambda: world.save(user, edit, session_id=session),
        lambda: world.load({record_id: content(dice)}),
        lambda: world.commit(user, policy=ConflictPolicy.KEEP_MINE),
        lambda: world.discard(user),
    ]
    weights = [6, 4, 4, 2, 1, 4, 4, 1, 1, 1]
    with contextlib.suppress(DraftlineError):
        await dice.choices(steps, weights)[0]()


def some_paths(dice: random.Random) -> list[str]:
    """Paths of relations that do not lead straight back."""
    paths = [tuple(dice.choices(NAMES, k=dice.randint(1, 3))) for _ in range(dice.randint(1, 4))]
    allowed = [path for path in paths if not OPPOSITES & set(itertools.pairwise(path))]
    return list(dict.fromkeys(".".join(path) for path in allowed)) or ["maker"]


def links_of(expansion: Expansion, roots: list[str], query: ExpandQuery) -> Links:
    """Return the links of an expansion, by root and path."""
    links: Links = {}

    def follow(trail: tuple[str, ...], related: dict[str, Any], path: tuple[str, ...]) -> None:
        if path:
            found = related[path[0]]
            links[*trail, path[0]] = list(found.record_ids), found.has_more
            for each in found.record_ids:
                onward = expansion.from_included.get((COLLECTION, each), {})
                follow((*trail, path[0], each), onward, path[1:])

    for path in query.paths:
        for root in roots:
            follow((root,), expansion.from_roots[COLLECTION, root], path)
    return links


async def check(world: World, dice: random.Random) -> None:
    """Compare the expansion of all records with the join, for random arguments."""
    query = ExpandQuery(
        COLLECTION, parse_expand(some_paths(dice)), dice.choice([1, 1, 2, 2, 100]), dice.choice(list(View)),
        dice.choice(["", "", "one"]), dice.random() < 0.5, dice.choice(FIELDS),
    )  # fmt: skip
    user, expansions = dice.choice(USERS), Expansions(world.database, world.specs)
    actor = world.actor(user)
    spec = await world.specs.current(world.tenant_id, COLLECTION)
    relations = relations_of(COLLECTION, spec.relations, spec.inverses)
    joined = Joined(await world.stored("record"), await world.stored("draft"), user, query, relations)
    view = View.BASELINE if query.view is View.BASELINE else View.MERGED
    listing = MergedQuery(COLLECTION, session_id=query.session_id, view=view, show_deleted=query.show_deleted)
    listed = await world.merged.page(actor, listing, 100, "")
    found = await expansions.expand(actor, query, await expansions.steps(actor, query), listed.sources, 10**7)
    root_ids = [record_id for record_id, _, _ in listed.sources]
    links, rows = joined.links(root_ids)
    assert links_of(found, root_ids, query) == links, query
    included = rows_by_id(found.included.get(COLLECTION, ()))
    assert included.keys() == rows.keys()
    for record_id, row in included.items():
        merged, expected = merged_of_related(row, actor, COLLECTION), rows[record_id]
        whole = json.loads(json.dumps(expected.content, default=int))
        wanted = {key: whole[key] for key in query.fields or whole if key in whole}
        shown = json.loads(merged.record.content)
        if query.fields and COLLECTION not in found.selected:
            shown = {key: shown[key] for key in query.fields if key in shown}
        assert shown == wanted, (record_id, query)
        assert (merged.draft_kind, merged.record.version) == (expected.kind, expected.attributes["version"])


async def expansion(
    world: World, paths: list[str], limit: int = 100, roots: tuple[str, ...] = ("a",), max_bytes: int = 10**6,
    **rest: Any,
) -> Expansion:  # fmt: skip
    """Return the related records of some records, as ada sees them."""
    query = ExpandQuery(COLLECTION, parse_expand(paths), limit, **rest)
    expansions, actor = Expansions(world.database, world.specs), world.actor("ada")
    records = [source_of(await world.record(each)) for each in roots]
    return await expansions.expand(actor, query, await expansions.steps(actor, query), records, max_bytes)


async def test_related_records_that_a_draft_deletes_leave_their_place_to_others(world: World) -> None:
    await declared(world)
    for record_id in IDS:
        await world.create(record_id, {"maker": "a"})
        await world.move(record_id, "a", ord(record_id))
    await world.save("ada", deletion("b"))
    await world.save("ada", moving("e", position=0))
    found = (await expansion(world, ["made", "children"], 3)).from_roots[COLLECTION, "a"]
    assert (found["made"].record_ids, found["made"].has_more) == (["a", "c", "d"], True)
    assert (found["children"].record_ids, found["children"].has_more) == (["e", "a", "c"], True)
    shown = (await expansion(world, ["made", "children"], 3, show_deleted=True)).from_roots[COLLECTION, "a"]
    assert (shown["made"].record_ids, shown["children"].record_ids) == (["a", "b", "c"], ["e", "a", "b"])
    await world.delete("c")
    shown = (await expansion(world, ["made"], 10, show_deleted=True)).from_roots[COLLECTION, "a"]
    assert shown["made"].record_ids == IDS


@pytest.mark.parametrize(
    ("paths", "problem"),
    [
        (["none"], r"expand\[0\].*no relation 'none'; it has children, crew, made, maker, parent, source, works"),
        (["maker", "maker.crew.none"], r"expand\[1\].*no relation 'none'"),
        (["maker.maker.maker.maker"], r"expand\[0\].*has 4 relations, and may have 3"),
        (["maker", "maker"], r"expand\[1\].*is also expand\[0\]"),
        (["crew.maker.made"], r"expand\[0\].*'crew.maker.made' is a cycle: 'made' leads back from 'films'"),
        (["children.parent"], r"expand\[0\].*is a cycle"),
        (["maker..crew"], r"expand\[0\].*separated by dots"),
    ],
)
async def test_bad_paths_are_refused_by_their_index(world: World, paths: list[str], problem: str) -> None:
    await declared(world)
    await world.create("a", {})
    with pytest.raises(InvalidFieldError, match=problem):
        await expansion(world, paths)


async def test_inverse_is_refused_until_its_entries_are_complete(world: World) -> None:
    await world.create("a", {"maker": "a"})
    await world.declare(relations=RELATIONS)
    assert (await expansion(world, ["maker"])).from_roots[COLLECTION, "a"]["maker"].record_ids == ["a"]
    with pytest.raises(RelationNotReadyError, match="relation 'made' of 'films' is being built"):
        await expansion(world, ["made"])
    await OrderEntries(world.database).build(world.tenant_id, COLLECTION)
    assert (await expansion(world, ["made"])).from_roots[COLLECTION, "a"]["made"].record_ids == ["a"]


async def test_related_records_that_are_too_large_are_reported(world: World) -> None:
    await declared(world)
    await world.create("a", {"maker": "b", "all": {"crew": ["b", "c"]}})
    for record_id in "bc":
        await world.create(record_id, {"text": "x" * 1000})
    assert len((await expansion(world, ["crew"], max_bytes=2100)).included[COLLECTION]) == 2
    for paths in (["crew"], ["maker", "crew"]):
        with pytest.raises(TooManyBytesError):
            await expansion(world, paths, max_bytes=2000)


# The first is small when it is stored, as it is compressed.
LARGE = {"compressible": "x" * 20_000, "stored apart": random.Random(1).randbytes(3_000).hex()}


@pytest.mark.parametrize("of_draft", [False, True], ids=["record", "draft"])
@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
async def test_large_contents_are_read_again_only_the_first_time(
    world: World, monkeypatch: pytest.MonkeyPatch, text: str, *, of_draft: bool
) -> None:
    await declared(world)
    for record_id in "abc":
        await world.create(record_id, {"maker": "a", "text": "small" if of_draft else text})
    if of_draft:
        await world.save("ada", change("b", {"text": text}))
    expansions, actor, sent = Expansions(world.database, world.specs), world.actor("ada"), list[str]()
    monkeypatch.setattr(world.database.connections, "observers", [lambda sql, _: sent.append(sql)])
    query = ExpandQuery(COLLECTION, parse_expand(["made"]), 10)
    sources = [source_of(await world.record("a"))]
    for statements in (2, 1, 2):
        steps = await expansions.steps(actor, query)
        sent.clear()
        found = await expansions.expand(actor, query, steps, sources, 10**6)
        assert len(sent) == statements
        assert found.from_roots[COLLECTION, "a"]["made"].record_ids == ["a", "b", "c"]
        texts = {row[ID]: json.loads(row[CONTENT])["text"] for row in found.included[COLLECTION]}
        assert texts == dict.fromkeys("abc", "small") | dict.fromkeys("b" if of_draft else "abc", text)
        if statements == 1:
            monkeypatch.setattr(related_reads, "REMEMBERED_S", -1)  # as if a minute had passed


@pytest.mark.parametrize(("count", "statements"), [(MAX_SMALL_ROWS, 1), (MAX_SMALL_ROWS + 1, 2)])
async def test_many_related_records_are_complete(
    world: World, monkeypatch: pytest.MonkeyPatch, count: int, statements: int
) -> None:
    await declared(world)
    ids = [f"{number:05}" for number in range(count)]
    await world.load({record_id: {"maker": "naming"} for record_id in ids})
    await world.create("naming", {"all": {"crew": ids}})
    sent = list[str]()
    monkeypatch.setattr(world.database.connections, "observers", [lambda sql, _: sent.append(sql)])
    for name in ("crew", "made"):
        sent.clear()
        found = await expansion(world, [name], count, roots=("naming",))
        assert sum("get_related" in sql for sql in sent) == statements
        assert found.from_roots[COLLECTION, "naming"][name].record_ids == ids
        assert {row[ID] for row in found.included[COLLECTION]} == set(ids)


async def test_contents_beyond_the_limit_of_records_need_no_room(world: World) -> None:
    await declared(world)
    await world.create("a", {})
    for record_id in "bcde":
        await world.create(record_id, {"maker": "a", "text": "x" * 1000})
    for record_id in "de":
        await world.save("ada", change(record_id, {"n": 1}))
    found = await expansion(world, ["made"], 1, max_bytes=2100)
    assert (found.from_roots[COLLECTION, "a"]["made"].record_ids, len(found.included[COLLECTION])) == (["b"], 1)


async def test_text_with_a_line_break_names_no_record(world: World) -> None:
    await declared(world)
    await world.create("a", {"maker": "b\nc", "all": {"crew": ["b\n", "d"]}})
    for record_id in "bcd":
        await world.create(record_id, {})
    found = await expansion(world, ["maker", "crew"])
    assert [row[ID] for row in found.included[COLLECTION]] == ["d"]
    related = found.from_roots[COLLECTION, "a"]
    assert (related["maker"].record_ids, related["crew"].record_ids) == ([], ["d"])


OPERATORS: dict[str, Callable[[Any], bool]] = {
    "= 1": lambda n: n == 1,
    "> 1": lambda n: isinstance(n, int) and n > 1,
    '= "x"': lambda n: n == "x",
    ":*": lambda n: n is not None,
    "!= 1": lambda n: n == 1,
    "= null": lambda n: n is not None,
}
NEGATED = ("!= 1", "= null")


def spelled(path: tuple[str, ...], dice: random.Random) -> str:
    """Return a path of relations as a filter writes it."""
    return ".".join(f"record.{name}" if name in ("parent", "children") else name for name in path)


async def check_filter(world: World, dice: random.Random) -> None:
    """Compare a list that is filtered by related records with the join."""
    path = tuple(dice.choices(NAMES, k=dice.randint(1, 3)))
    operator, is_not = dice.choice(list(OPERATORS)), dice.random() < 0.3
    text = f"{'NOT ' if is_not else ''}{spelled(path, dice)}.n {operator}"
    view, session_id = dice.choice(list(View)), dice.choice(["", "", "one"])
    query = MergedQuery(
        COLLECTION, parse_filter(text), text, session_id=session_id, view=view, show_deleted=dice.random() < 0.3
    )
    user = dice.choice(USERS)
    spec = await world.specs.current(world.tenant_id, COLLECTION)
    records, drafts = await world.stored("record"), await world.stored("draft")
    relations = relations_of(COLLECTION, spec.relations, spec.inverses)
    joined = Joined(records, drafts, user, ExpandQuery(COLLECTION, [], 100, view, session_id), relations)
    expected = []
    for row in merged_list(records, drafts, user, replace(query, filter=None), {}):
        holds = any(OPERATORS[operator](each.content.get("n")) for each in joined.reached(row, path))
        if holds ^ (operator in NEGATED) ^ is_not:
            expected.append(row.attributes["record_id"])
    found: list[str] = []
    token = ""
    while True:
        page = await world.merged.page(world.actor(user), query, 2, token, include_total_size=True)
        found += [each.record.record_id for each in page.records]
        token = page.next_page_token
        if not token:
            break
    assert (found, page.total_size) == (expected, len(expected)), (text, query)


@settings(max_examples=examples(4))
@given(seed=st.integers(0, 10**9))
async def test_expansions_equal_a_join_in_python(database: Database, seed: int) -> None:
    dice = random.Random(seed)
    world = World(database, f"joined-{seed}-{dice.random()}")
    await declared(world)
    for record_id in dice.sample(IDS, 5):
        await world.create(record_id, content(dice))
        await world.move(record_id, dice.choice(["a", "a", "b"]), dice.choice([None, 1, 2, 3]))
    for _ in range(30):
        await write(world, dice)
    for _ in range(8):
        await check(world, dice)
        await check_filter(world, dice)
    assert await wrong_entries(database, world.tenant_id) == []
