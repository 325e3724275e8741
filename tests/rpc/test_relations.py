"""Relations over a real channel: declared by PutCollection, and followed by `expand`, with both clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import draftline
import pytest
from draftline import (
    AsyncClient,
    DeclaredField,
    DeclaredRelation,
    DraftEdit,
    IndexState,
    InvalidArgumentError,
    MergedRecord,
    RelatedIds,
)
from support.sent_statements import sent

AUTHOR = DeclaredRelation("author", "/author", "people", inverse="films")
CAST = DeclaredRelation("cast", "/cast", "people")
COMPANY = DeclaredRelation("company", "/company", "companies", inverse="staff")


@pytest.fixture
async def client(server_address: str, tenant_id: str) -> AsyncIterator[AsyncClient]:
    """A client of a tenant with two films, three people and a company."""
    async with AsyncClient(server_address, tenant_id=tenant_id, user="ada") as opened:
        await fill(opened)
        yield opened


async def fill(client: AsyncClient) -> None:
    contents = {
        ("companies", "fox"): {"country": "NO"},
        ("people", "scott"): {"company": "fox", "name": "R"},
        ("people", "bron"): {"company": "fox", "name": "D"},
        ("people", "weaver"): {"name": "S"},
        ("films", "alien"): {"author": "scott", "cast": ["weaver", "gone", "weaver"]},
        ("films", "blade"): {"author": "scott", "cast": 5},
    }
    for (collection, record_id), content in contents.items():  # in fewer statements than imports
        await client.create_content(collection, content, record_id=record_id)
    await client.put_collection("people", relations=[COMPANY])
    await client.put_collection("films", relations=[AUTHOR, CAST])


def ids(records: list[MergedRecord]) -> list[str]:
    return [each.record_id for each in records]


async def test_collection_shows_its_relations_and_the_state_of_their_inverses(client: AsyncClient) -> None:
    shown = (await client.get_collection("films")).relations
    assert [(each.relation, each.state) for each in shown] == [
        (AUTHOR, IndexState.READY),
        (CAST, None),
    ]
    await client.put_collection("films")
    assert (await client.get_collection("films")).relations == ()
    with pytest.raises(InvalidArgumentError, match=r"expand\[0\].*no relation 'films'"):
        await client.get_content("people", "scott", expand=["films"])


async def test_related_records_come_once_with_every_read(
    client: AsyncClient, server_address: str, tenant_id: str
) -> None:
    expand = ["author.company", "cast"]
    page = await client.get_merged_page("films", expand=expand)
    assert set(page.included) == {("people", "scott"), ("companies", "fox"), ("people", "weaver")}
    alien, blade = page.records
    assert ids(alien.related("author")) == ids(blade.related("author")) == ["scott"]
    assert alien.related("author")[0].related("company")[0].content == {"country": "NO"}
    assert (ids(alien.related("cast")), blade.related("cast")) == (["weaver"], [])
    assert alien.record.relations["cast"] == RelatedIds("people", ("weaver",), False)
    with pytest.raises(KeyError):
        alien.related("author")[0].related("films")
    streamed = [each async for each in client.stream_merged("films", expand=expand)]
    assert streamed == list(page.records)
    assert [each.related("author") for each in streamed] == [each.related("author") for each in page.records]
    found = await client.get_content("films", "alien", expand=expand, included_fields=["name"])
    assert [each.content for each in found.related("author")] == [{"name": "R"}]
    assert found.related("author")[0].related("company")[0].content == {}
    with draftline.Client(server_address, tenant_id=tenant_id, user="ada") as blocking:
        same = blocking.get_merged_page("films", expand=expand)
    assert (same, same.included) == (page, page.included)


async def test_draft_that_moves_a_film_shows_in_both_directions_to_its_user_alone(
    client: AsyncClient, server_address: str, tenant_id: str
) -> None:
    await client.save_draft("films", "alien", {"author": "bron"}, session_id="one")
    await client.save_draft("people", "bron", {"name": "drafted"})
    await client.save_drafts("films", [DraftEdit("new", create={"author": "bron"})])

    async def works(reader: AsyncClient, **options: Any) -> dict[str, list[str]]:
        people = [each async for each in reader.get_merged("people", expand=["films"], **options)]
        return {each.record_id: ids(each.related("films")) for each in people if each.related("films")}

    assert await works(client) == {"scott": ["blade"], "bron": ["alien", "new"]}
    assert await works(client, session_id="one") == {"scott": ["blade"], "bron": ["alien"]}
    assert await works(client, view="baseline") == {"scott": ["alien", "blade"]}
    (alien, *_) = (await client.get_merged_page("films", expand=["author"])).records
    assert alien.related("author")[0].content["name"] == "drafted"
    assert ids((await client.get_content("films", "alien", expand=["author"])).related("author")) == ["scott"]
    async with AsyncClient(server_address, tenant_id=tenant_id, user="bob") as bob:
        assert await works(bob) == {"scott": ["alien", "blade"]}
        (alien, *_) = (await bob.get_merged_page("films", expand=["author"])).records
        assert (ids(alien.related("author")), alien.related("author")[0].state) == (["scott"], "pristine")


async def test_related_records_of_another_tenant_never_show(
    client: AsyncClient, server_address: str, tenant_id: str
) -> None:
    async with AsyncClient(server_address, tenant_id=f"{tenant_id}-other", user="ada") as other:
        await other.import_content("films", {"alien": {"author": "bron"}, "third": {"author": "scott"}}.items())
        with pytest.raises(InvalidArgumentError, match="no relation 'author'"):
            await other.get_merged_page("films", expand=["author"])
        await other.put_collection("films", relations=[AUTHOR])
        page = await other.get_merged_page("films", expand=["author"])
        assert (page.included, [each.related("author") for each in page.records]) == ({}, [[], []])
        await other.create_content("people", {"name": "other"}, record_id="scott")
        assert ids((await other.get_content("people", "scott", expand=["films"])).related("films")) == ["third"]
    scott = await client.get_content("people", "scott", expand=["films"])
    assert ids(scott.related("films")) == ["alien", "blade"]


async def test_paths_go_on_from_relations_that_lead_nowhere(client: AsyncClient) -> None:
    await client.create_content("films", {"author": "gone"}, record_id="orphan")
    path = ["author.company.parent"]
    empty = await client.get_merged_page("films", filter='author = "nobody"', expand=path)
    assert (empty.records, empty.included) == ((), {})
    assert [each async for each in client.stream_merged("scenes", expand=["parent.parent"])] == []
    orphan = await client.get_content("films", "orphan", expand=path)
    assert orphan.related("author") == []
    (company,) = (await client.get_content("people", "scott", expand=["company.children.staff"])).related("company")
    assert company.related("children") == []
    films = await client.get_merged_page("films", expand=path)
    assert ids([each for film in films.records for each in film.related("author")]) == ["scott", "scott"]


async def test_included_records_are_those_of_their_own_list(client: AsyncClient) -> None:
    await client.import_content("people", {f"p{n}": {"name": f"P{n}", "age": n} for n in range(4)}.items())
    named = ["scott", *(f"p{n}" for n in range(4)), "new"]
    await client.patch_content("films", "alien", {"cast": named})
    await client.patch_content("people", "p3", parent_id="p0", position=2)
    await client.save_draft("people", "p0", {"name": "é"}, session_id="one", change_reason="spelling")
    await client.patch_content("people", "p0", {"name": "Q0"})  # conflicts with the draft
    edits = [DraftEdit("p1", delete=True), DraftEdit("p2", parent_id="p0", position=1), DraftEdit("new", create={})]
    await client.save_drafts("people", edits)
    for show_deleted in (False, True):
        listed = await client.get_merged_page("people", show_deleted=show_deleted)
        page = await client.get_merged_page("films", expand=["cast"], show_deleted=show_deleted)
        own = {each.record_id: each for each in listed.records if each.record_id in named}
        assert {record_id: each for (_, record_id), each in page.included.items() if record_id in named} == own
        assert own["p0"].conflicts
        assert ("p1" in own) == show_deleted


async def test_deleted_related_records_are_absent_or_shown(client: AsyncClient) -> None:
    await client.delete_content("people", "scott")
    await client.delete_content("films", "blade")
    (alien,) = (await client.get_merged_page("films", expand=["author"])).records
    assert alien.related("author") == []
    alien, blade = (await client.get_merged_page("films", expand=["author.company"], show_deleted=True)).records
    (scott,) = blade.related("author")
    assert (scott.record_id, scott.record.delete_time is None, ids(scott.related("company"))) == (
        "scott",
        False,
        ["fox"],
    )
    shown = await client.get_content("people", "scott", show_deleted=True, expand=["films"])
    assert ids(shown.related("films")) == ["alien", "blade"]


async def test_children_are_sorted_limited_and_end_at_the_depth(client: AsyncClient) -> None:
    for number, position in enumerate([3, None, 1, 1]):
        await client.create_content("scenes", {}, record_id=f"s{number}", parent_id="top", position=position)
    await client.create_content("scenes", {}, record_id="top", parent_id="s0")
    found = await client.get_content("scenes", "top", expand=["children.children.children"])
    assert ids(found.related("children")) == ["s2", "s3", "s0", "s1"]
    top = found.related("children")[2].related("children")[0]
    assert (top.record_id, ids(top.related("children"))) == ("top", ["s2", "s3", "s0", "s1"])
    assert top.related("children")[0].record.relations == {"children": RelatedIds("scenes", (), False)}
    few = await client.get_content("scenes", "top", expand=["children"], expand_limit=2)
    assert few.relations["children"] == RelatedIds("scenes", ("s2", "s3"), True)
    assert ids((await client.get_content("scenes", "s1", expand=["parent.parent"])).related("parent")) == ["top"]


@pytest.mark.parametrize("count", [1, 1000])
async def test_each_relation_and_level_is_one_statement(client: AsyncClient, server: Any, count: int) -> None:
    rows = {f"r{n:04}": {"author": ("scott", "bron")[n % 2], "cast": ["weaver", "scott"]} for n in range(count)}
    await client.import_content("films", rows.items(), mode="snapshot")
    expand = ["author.company", "cast.films", "children"]
    await client.get_merged_page("films", page_size=count, expand=expand)  # the specs are read at most once a second
    with server.statements_of_calls() as seen:
        page = await client.get_merged_page("films", page_size=count, expand=expand)
    assert len(page.records) == count
    reads = [name for name in sent(seen) if name != "get_definitions"]
    assert reads == ["get_merged", *["get_related"] * 5]


AMBIGUOUS = [
    ([DeclaredRelation("parent", "/a", "people")], r"relations\[0\].name.*must not be one of parent, children"),
    ([CAST, DeclaredRelation("cast", "/a", "people")], r"relations\[1\].name.*'cast' is also relations\[0\].name"),
    ([DeclaredRelation("boss", "/a", "films", inverse="boss")], r"relations\[0\].inverse.*is also"),
    ([DeclaredRelation("age", "/n", "people")], r"relations\[0\].field.*/n is declared as NUMBER, but ids are texts"),
    ([DeclaredRelation("o", "/a", "people")], r"relations\[0\].name.*would hide the declared field /o/x"),
    (
        [DeclaredRelation("films", "/a", "people", inverse="company")],
        "'company' would be two relations of 'people'",
    ),
    (
        [DeclaredRelation("films", "/a", "people", inverse="o")],
        "'o', an inverse that 'films' declares, would hide .*/o/y",
    ),
    ([AUTHOR, DeclaredRelation("x", "/a", "people", inverse="films")], "'films' is the inverse of two relations"),
    ([DeclaredRelation("x-y", "/a", "people")], r"relations\[0\].name"),
    ([DeclaredRelation("x", "a", "people")], r"relations\[0\].field"),
]


async def test_relations_with_ambiguous_names_are_refused(client: AsyncClient) -> None:
    fields = [DeclaredField("/o/x", "text"), DeclaredField("/n", "number")]
    await client.put_collection("people", relations=[COMPANY], fields=[DeclaredField("/o/y", "text")])
    for relations, problem in AMBIGUOUS:
        with pytest.raises(InvalidArgumentError, match=problem):
            await client.put_collection("films", fields=fields, relations=relations)
    assert [each.relation for each in (await client.get_collection("films")).relations] == [AUTHOR, CAST]
    with pytest.raises(InvalidArgumentError, match="'films' would be two relations of 'people'"):
        await client.put_collection("people", relations=[DeclaredRelation("films", "/x", "films")])
    hidden = "'films', an inverse that 'films' declares, would hide the declared field /films/year"
    with pytest.raises(InvalidArgumentError, match=f"{hidden}.*do not declare the field"):
        await client.put_collection("people", relations=[COMPANY], fields=[DeclaredField("/films/year", "number")])


async def listed(client: AsyncClient, collection: str, text: str, **options: Any) -> list[str]:
    return ids([each async for each in client.get_merged(collection, filter=text, page_size=1, **options)])


async def test_filters_reach_related_records_with_the_drafts_of_their_user(
    client: AsyncClient, server_address: str, tenant_id: str
) -> None:
    await client.put_collection("companies", fields={"/founded": "date"})
    await client.patch_content("companies", "fox", {"founded": "Nov 20 1935"})
    assert await listed(client, "films", 'author.company.country = "NO" AND cast.name = "S"') == ["alien"]
    assert await listed(client, "films", "author.company.founded < 1940-01-01") == ["alien", "blade"]
    assert await listed(client, "people", "films.cast:weaver OR name = D") == ["bron", "scott"]
    assert await listed(client, "people", "NOT films.cast:weaver") == ["bron", "weaver"]
    assert await listed(client, "people", "company.country != NO") == ["weaver"]
    assert await listed(client, "people", "company.country = null") == ["weaver"]
    assert await listed(client, "films", "author.record.version > 1") == []
    await client.save_draft("films", "alien", {"author": "bron"}, session_id="one")
    await client.save_draft("people", "bron", {"name": "drafted"})
    assert await listed(client, "films", "author.name = drafted") == ["alien"]
    assert await listed(client, "films", "author.name = D", session_id="one") == ["alien"]
    assert await listed(client, "films", "author.name = drafted", view="baseline") == []
    assert await listed(client, "people", "films.cast:weaver") == ["bron"]
    assert await listed(client, "people", "films.cast = 5") == ["scott"]
    async with AsyncClient(server_address, tenant_id=tenant_id, user="bob") as bob:
        assert await listed(bob, "people", "films.cast:weaver") == ["scott"]
        assert await listed(bob, "films", "author.name = drafted") == []
    async with AsyncClient(server_address, tenant_id=f"{tenant_id}-other", user="ada") as other:
        await other.create_content("films", {"author": "scott"})
        await other.put_collection("films", relations=[AUTHOR])
        assert await listed(other, "films", "author.name:*") == []
    await client.delete_content("companies", "fox")
    assert await listed(client, "people", "company.country = NO", show_deleted=True) == []


async def test_filters_reach_parents_and_children_where_drafts_move_them(client: AsyncClient) -> None:
    for record_id, parent in (("p", None), ("q", None), ("s0", "p"), ("s1", "p"), ("s2", "q")):
        await client.create_content("scenes", {"n": record_id}, record_id=record_id, parent_id=parent)
    await client.save_draft("scenes", "s1", parent_id="q")
    await client.save_draft("scenes", "s2", parent_id=None)
    assert await listed(client, "scenes", "record.children.n = s1") == ["q"]
    assert await listed(client, "scenes", "record.children.n = s2") == []
    assert await listed(client, "scenes", "record.parent.n = q") == ["s1"]
    assert await listed(client, "scenes", "record.parent.record.children.n = s0") == ["s0"]
    assert await listed(client, "scenes", "record.children.n = s1", view="baseline") == ["p"]
    await client.create_content("scenes", {"parent": {"n": 1}, "children": {"n": 2}}, record_id="own")
    assert await listed(client, "scenes", "parent.n = 1 AND children.n = 2") == ["own"]


async def test_names_of_relations_and_of_fields_are_told_apart(client: AsyncClient) -> None:
    await client.create_content("films", {"author": {"name": "R"}, "cast": "weaver"}, record_id="embedded")
    assert await listed(client, "films", "content.author.name = R") == ["embedded"]
    assert await listed(client, "films", "author.name = R") == ["alien", "blade"]
    assert await listed(client, "films", "cast:weaver AND author:*") == ["alien", "embedded"]
    assert (await client.get_merged_page("films", filter="author.name = R")).warnings == ()
    with pytest.raises(draftline.InvalidFilterError, match="follows 4 relations, and may follow 3"):
        await listed(client, "films", "author.company.staff.company.country = NO")
    with pytest.raises(draftline.InvalidFilterError, match="author is a relation, which only the filters of lists"):
        await client.patch_content("films", "alien", {"x": 1}, condition="author.name = R")
    await client.patch_content("films", "embedded", {"x": 1}, condition="content.author.name = R")
    with pytest.raises(draftline.InvalidFilterError, match="films is a relation, which only the filters of lists"):
        await client.patch_content("people", "scott", {"x": 1}, condition="films.x = 1")
    with pytest.raises(draftline.InvalidFilterError, match="staff is a relation, which only the filters of lists"):
        await client.delete_content("companies", "fox", condition="staff.name = R")


BAD_PATHS = {
    "none": "has no relation 'none'; it has author, cast, children, parent",
    "author.none": "has no relation 'none'",
    "author.company.staff.films": "has 4 relations, and may have 3",
    "author.films": "is a cycle: 'films' leads back",
    "author.company.staff": "is a cycle: 'staff' leads back",
    "cast..company": "must be names of relations, separated by dots",
    "Author": "has no relation 'Author'",
}


async def test_every_read_names_the_path_that_cannot_be_expanded(
    client: AsyncClient, server_address: str, tenant_id: str
) -> None:
    with draftline.Client(server_address, tenant_id=tenant_id, user="ada") as blocking:
        for path, problem in BAD_PATHS.items():
            expand = ["cast", path]
            with pytest.raises(InvalidArgumentError) as of_record:
                await client.get_content("films", "alien", expand=expand)
            with pytest.raises(InvalidArgumentError) as of_page:
                await client.get_merged_page("films", expand=expand)
            with pytest.raises(InvalidArgumentError) as of_stream:
                await anext(aiter(client.stream_merged("films", expand=expand)))
            with pytest.raises(InvalidArgumentError) as of_blocking:
                blocking.get_content("films", "alien", expand=expand)
            for raised in (of_record, of_page, of_stream, of_blocking):
                assert raised.value.reason == "INVALID_FIELD"
                assert "expand[1]" in str(raised.value), path
                assert problem in str(raised.value), path


async def test_included_fields_select_the_same_texts_by_few_and_by_many_keys(client: AsyncClient) -> None:
    keys = {'"é\\': [1.50, {"b": None, "a": "\n"}], "": "empty", "none": None, "number": 10**25, "name": "R", "x": 5}
    await client.patch_content("people", "scott", keys)
    await client.save_draft("people", "weaver", {"number": 0.10, "x": 6}, strategy="shallow")
    wanted = ["number", '"é\\', "absent", "none", "", "nul\0", "number"]
    few, many = [
        await client.get_merged_page("films", expand=["author.company", "cast"], included_fields=[*wanted, *padding])
        for padding in ([], [f"absent{n}" for n in range(9)])
    ]
    scott, weaver = few.included["people", "scott"], few.included["people", "weaver"]
    assert scott.content == {key: keys[key] for key in ("number", '"é\\', "none", "")}
    assert (weaver.content, weaver.modified_fields) == ({"number": 0.1}, ("number", "x"))
    assert ids(scott.related("company")) == ["fox"]
    assert (few, few.included) == (many, many.included)
    assert [list(each.content) for each in few.included.values()] == [
        list(each.content) for each in many.included.values()
    ]


async def test_page_with_selected_fields_of_large_related_records_has_all_its_records(client: AsyncClient) -> None:
    large = {f"p{n}": {"name": f"P{n}", "text": "x" * 700_000} for n in range(8)}
    await client.import_content("people", large.items())
    await client.import_content("films", {f"f{n}": {"author": f"p{n}"} for n in range(8)}.items())
    some = 'record.record_id = "f*"'
    page = await client.get_merged_page("films", filter=some, expand=["author"], included_fields=["name"])
    assert [each.related("author")[0].content for each in page.records] == [{"name": f"P{n}"} for n in range(8)]


async def test_response_with_large_related_records_has_fewer_of_them(client: AsyncClient) -> None:
    large = {f"p{n}": {"text": "x" * 700_000} for n in range(8)}
    await client.import_content("people", large.items())
    await client.import_content("films", {f"f{n}": {"author": f"p{n}", "cast": list(large)} for n in range(8)}.items())
    some = 'record.record_id = "f*"'
    first = await client.get_merged_page("films", filter=some, expand=["author"])
    assert 1 < len(first.records) < 8
    assert first.next_page_token
    every = [each async for each in client.get_merged("films", filter=some, expand=["author"])]
    assert [ids(each.related("author")) for each in every] == [[f"p{n}"] for n in range(8)]
    streamed = [each async for each in client.stream_merged("films", filter=some, expand=["author"])]
    assert [ids(each.related("author")) for each in streamed] == [[f"p{n}"] for n in range(8)]
    page = await client.get_merged_page("films", filter=some, expand=["cast"])
    assert (len(page.records), page.records[0].record.relations["cast"].has_more) == (1, True)
    assert 1 < len(page.records[0].related("cast")) < 8
    paths = ["author", "cast.company", *(f"{each}.parent" for each in ("author", "cast"))]
    await client.patch_content("films", "f0", {"text": "y" * 900_000})
    found = await client.get_content("films", "f0", expand=paths)
    assert found.relations["cast"].has_more
