"""Typed collections: models in and out, patches of the edited attributes, and no lost keys."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import Any, NewType, TypedDict

import draftline
import msgspec
import pydantic
import pytest
from draftline import UNSET, ModelMismatchError, Unset
from draftline._core.model_changes import changed_content, edit_of, same
from draftline_server.domain.edits import Strategy, apply_delta
from hypothesis import given
from hypothesis import strategies as st


@dataclass
class Crew:
    cat: str
    captain: str | Unset = UNSET


@dataclass
class Film:
    title: str = field(metadata={"key": "Title"})
    votes: int | None = None
    crew: Crew | None = None
    cast: list[Crew] = field(default_factory=list)


class FilmDict(TypedDict, total=False):
    Title: str
    votes: int | None


class FilmModel(pydantic.BaseModel):
    title: str = pydantic.Field(alias="Title")
    votes: int | None = None


class FilmStruct(msgspec.Struct):
    title: str = msgspec.field(name="Title")
    votes: int | msgspec.UnsetType | None = msgspec.UNSET


CONTENT = {"Title": "Alien", "votes": 1, "Studio": "Fox"}
MODELS = [Film, FilmDict, FilmModel, FilmStruct]


def set_votes(model: Any, votes: int) -> None:
    if isinstance(model, dict):
        model["votes"] = votes
    else:
        model.votes = votes


@pytest.mark.parametrize("model", MODELS)
async def test_patch_writes_the_edited_attributes_and_keeps_the_rest(client: Any, model: Any) -> None:
    films = client.collection("films", model)
    await client.create_content("films", CONTENT, record_id="f")
    film = await films.get("f")
    await client.patch_content("films", "f", {"Title": "Alien 3", "Studio": "20th"})
    set_votes(film.model, 2)
    patched = await films.patch(film)
    assert patched.content == {"Title": "Alien 3", "votes": 2, "Studio": "20th"}
    assert (await films.patch(patched)).version == patched.version == 3
    with pytest.raises(draftline.VersionMismatchError):
        await films.patch(patched, expected_version=1)


async def test_unknown_keys_are_named_and_survive_nested_edits(client: Any) -> None:
    films = client.collection("films", Film)
    content = {"Title": "Alien", "x": 1, "crew": {"cat": "Jones", "y": 2}, "cast": [{"cat": "a", "z": 3}]}
    await client.create_content("films", content, record_id="f")
    film = await films.get("f")
    assert sorted(film.unknown_keys) == ["/cast/0/z", "/crew/y", "/x"]
    film.model.crew.cat = "Jonesy"
    film.model.cast[0].cat = "b"
    edited = {**content, "crew": {"cat": "Jonesy", "y": 2}, "cast": [{"cat": "b", "z": 3}]}
    film = await films.patch(film)
    assert film.content == edited
    film.model.cast = [Crew("new"), Crew("c")]
    with pytest.raises(ModelMismatchError, match="/cast"):
        await films.patch(film)
    assert (await films.get("f")).content == edited


async def test_every_method_takes_and_returns_models(client: Any) -> None:
    films = client.collection("films", Film)
    created = await films.create(Film("Alien"), record_id="a")
    assert (created.model, created.content) == (Film("Alien"), {"Title": "Alien", "cast": []})
    imported = await films.import_models([("b", Film("Brazil", votes=5))])
    assert imported.inserted_count == 1
    found = await films.batch_get(["a", "b"])
    for each in found.values():
        each.model.votes = 9
    results = await films.batch_patch(found.values(), check_versions=True)
    assert [each.unwrap().model.votes for each in results] == [9, 9]
    assert results.commit_id
    stale = await films.batch_patch([found["a"]], check_versions=True, allow_partial=True)
    assert isinstance(stale[0].error, draftline.VersionMismatchError)

    draft = await films.save_draft(results[0].record, dataclasses.replace(results[0].record.model, title="Aliens"))
    assert (draft.model.title, draft.merged.state) == ("Aliens", "draft")
    assert [each.model.title async for each in films.records(order_by="Title")] == ["Aliens", "Brazil"]
    assert [each.model.title async for each in films.stream(view="baseline")] == ["Alien", "Brazil"]
    page = await films.page(page_size=1, include_total_size=True)
    assert ([each.model.title for each in page.records], page.total_size) == (["Aliens"], 2)
    saved = await films.draft_creations({"c": Film("Cube")})
    assert saved[0].unwrap().model == Film("Cube")
    assert (await films.draft_deletions(["b"]))[0].error is None
    committed = await films.commit(all=True)
    assert [each.record.model.title for each in committed if each.record] == ["Aliens", "Brazil", "Cube"]
    assert (await films.undelete("b")).model.title == "Brazil"
    edited = await films.get("b")
    edited.model.votes = None
    assert (await films.save_drafts([edited]))[0].unwrap().content["votes"] is None
    assert len(await films.discard(all=True)) == 1
    assert (await films.delete("b")).record_id == "b"


async def test_removed_attribute_removes_its_key(client: Any) -> None:
    await client.create_content("films", {"Title": "Alien", "votes": 1, "x": None}, record_id="f")
    dicts = client.collection("films", FilmDict)
    film = await dicts.get("f")
    del film.model["votes"]
    film = await dicts.patch(film)
    assert film.content == {"Title": "Alien", "x": None}


@pytest.mark.parametrize("model", [Film, FilmModel, FilmStruct])
async def test_content_that_does_not_fit_names_record_and_path(client: Any, model: Any) -> None:
    await client.create_content("films", {"Title": 1979}, record_id="f")
    with pytest.raises(ModelMismatchError, match=r"content of record 'f' does not fit Film.*[Tt]itle") as raised:
        await client.collection("films", model).get("f")
    assert raised.value.record_id == "f"


@pytest.mark.parametrize("model", MODELS)
async def test_whole_number_with_a_point_is_an_integer(client: Any, model: Any) -> None:
    await client.create_content("films", {"Title": "Alien", "votes": 7.0}, record_id="f")
    film = await client.collection("films", model).get("f")
    assert (film.model["votes"] if isinstance(film.model, dict) else film.model.votes) == 7
    set_votes(film.model, 8)
    assert (await client.collection("films", model).patch(film)).content == {"Title": "Alien", "votes": 8}
    await client.patch_content("films", "f", {"votes": 7.5})
    if not isinstance(film.model, dict):
        with pytest.raises(ModelMismatchError, match="votes"):
            await client.collection("films", model).get("f")


async def test_types_with_names_of_their_own_are_read(client: Any) -> None:
    author = NewType("author", str)
    writer = NewType("writer", author)
    named = dataclasses.make_dataclass("Named", [("Title", author), ("by", list[writer])])
    await client.create_content("films", {"Title": "Alien", "by": ["Dan"]}, record_id="f")
    assert (await client.collection("films", named).get("f")).model == named("Alien", ["Dan"])
    await client.patch_content("films", "f", {"by": [1]})
    with pytest.raises(ModelMismatchError, match="/by/0: 1 is not str"):
        await client.collection("films", named).get("f")


async def test_class_that_is_no_model_is_rejected(client: Any) -> None:
    with pytest.raises(TypeError, match="use a dataclass, a TypedDict"):
        client.collection("films", int)
    for model in (Film("x"), FilmModel(Title="x"), FilmStruct("x")):
        with pytest.raises(TypeError, match="is an object: pass its class"):
            client.collection("films", model)
    with pytest.raises(ModelMismatchError, match="class dict"):
        await client.collection("films", Film).create({"Title": "x"})


KEYS = st.sampled_from(["a", "b", "c", "x/y"])
SCALARS = st.none() | st.booleans() | st.integers(0, 2) | st.just(1.0)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3))
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


@given(OBJECTS, OBJECTS)
def test_edit_makes_one_content_into_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    edit = edit_of(before, after)
    if "operations" in edit:
        content: Any = before
        for step in edit["operations"]:
            content = operated(content, step)
    else:
        content = apply_delta(before, edit["delta"], Strategy[edit["strategy"].name])
    assert same(content, after)


@given(OBJECTS, OBJECTS)
def test_changed_content_is_the_new_encoding_if_the_model_knows_every_key(before: Any, after: Any) -> None:
    assert same(changed_content(before, before, after), after)


@given(st.permutations([1, 2, 3, 4]), st.integers(1, 4), st.lists(st.integers(1, 6), max_size=2))
def test_element_of_a_list_keeps_its_own_unknown_keys(order: list[int], count: int, added: list[int]) -> None:
    content = [{"id": number, "hidden": number} for number in range(1, 5)]
    before = [{"id": number} for number in range(1, 5)]
    after = [{"id": number} for number in dict.fromkeys([*order[:count], *added])]
    try:
        changed = changed_content(content, before, after)
    except ValueError:
        assert any(each["id"] > 4 for each in after), "without a new element, it is known which are which"
        return
    assert [each["id"] for each in changed] == [each["id"] for each in after]
    assert all(each.get("hidden") == each["id"] for each in changed if each["id"] <= 4)


def test_elements_that_were_moved_and_edited_at_once_are_refused() -> None:
    content = [{"id": number, "hidden": number} for number in (1, 2, 3)]
    before = [{"id": 1}, {"id": 2}, {"id": 3}]
    assert changed_content(content, before, [{"id": 3}, {"id": 2}, {"id": 1}]) == content[::-1]
    edited = changed_content(content, before, [{"id": 9}, {"id": 2}, {"id": 3}])
    assert edited == [{"id": 9, "hidden": 1}, *content[1:]]
    with pytest.raises(ValueError, match="not known to which"):
        changed_content(content, before, [{"id": 2}, {"id": 9}, {"id": 3}])


def test_removal_of_one_of_elements_that_are_equal_for_the_model_is_refused() -> None:
    content = [{"id": 1, "hidden": 1}, {"id": 1, "hidden": 2}, {"id": 2, "hidden": 3}]
    before = [{"id": 1}, {"id": 1}, {"id": 2}]
    for after in ([{"id": 1}, {"id": 2}], [{"id": 1}], [{"id": 2}, {"id": 1}]):
        with pytest.raises(ValueError, match="not known to which"):
            changed_content(content, before, after)
    assert changed_content(content, before, [{"id": 2}]) == content[2:]
    assert changed_content(content, before, before[:2]) == content[:2]
    assert changed_content([content[0]] * 2, before[:2], before[:1]) == content[:1]


def operated(content: Any, step: dict[str, Any]) -> Any:
    key, *below = [each.replace("~1", "/") for each in step["path"].split("/")[1:]]
    if below:
        rest = "".join("/" + each.replace("/", "~1") for each in below)
        return {**content, key: operated(content[key], {**step, "path": rest})}
    kept = {name: value for name, value in content.items() if name != key}
    return kept if step["op"] == "remove" else {**kept, key: step["value"]}


@dataclass
class Person:
    name: str


async def test_watch_delivers_models_and_goes_on_after_a_content_that_does_not_fit(client: Any) -> None:
    films = client.collection("films", Film)
    async with films.watch_merged() as watch, films.watch(filter="kind = CREATE") as log:
        await films.create(Film("Alien"), record_id="a")
        await client.create_content("films", {"Title": 1979}, record_id="b")
        await client.delete_content("films", "a")
        await client.create_content("others", {"Title": "Other"}, record_id="c")
        await films.create(Film("Cube"), record_id="c")
        seen: dict[str, draftline.TypedChange[Film]] = {}
        while not (seen.keys() >= {"a", "b", "c"} and seen["a"].record is None):
            change = await anext(watch)
            seen[change.record_id] = change
        assert [(await anext(log)).record_id for _ in range(3)] == ["a", "b", "c"]
    assert (seen["a"].unwrap(), seen["c"].unwrap().model) == (None, Film("Cube"))
    with pytest.raises(ModelMismatchError, match="record 'b'"):
        seen["b"].unwrap()


async def test_bulk_writer_takes_and_returns_models(client: Any) -> None:
    films = client.collection("films", Film)
    await films.import_models([("a", Film("Alien", 1)), ("b", Film("Brazil", 1)), ("c", Film("Cube"))])
    found = await films.batch_get(["a", "b"])
    await client.patch_content("films", "a", {"Title": 1979})
    async with films.bulk_writer(on_error=lambda _: None) as writer:
        for each in found.values():
            each.model.votes = 2
        unfit = await writer.patch(found["a"])
        patched = await writer.patch(found["b"], expected_version=1)
        created = await writer.create(Film("Dune"), record_id="d")
        deleted = await writer.delete("c")
        await writer.flush()
        stale = await writer.patch(found["b"], Film("Brasil"), expected_version=1)
    assert (patched.result().unwrap().model, patched.result().changed_fields) == (Film("Brazil", 2), ("votes",))
    assert (created.result().unwrap().version, deleted.result().record_id) == (1, "c")
    assert isinstance(unfit.result().error, ModelMismatchError)
    assert (await client.get_content("films", "a")).content["votes"] == 2
    assert isinstance(stale.exception(), draftline.VersionMismatchError)
    assert writer.progress == draftline.BulkProgress(0, 4, 1)


@dataclass
class Free:
    """Attributes whose types say nothing of what is in them."""

    crew: dict[str, Any]
    cast: list[Any]
    extra: Any


class FreeModel(pydantic.BaseModel, extra="allow"):
    crew: dict[str, Any]


class FreeStruct(msgspec.Struct):
    crew: dict[str, Any]
    cast: list[Any]
    extra: Any


@pytest.mark.parametrize("model", [Free, FreeModel, FreeStruct])
async def test_edits_inside_values_of_any_type_are_written(client: Any, model: Any) -> None:
    content = {"crew": {"captain": {"cats": 1}}, "cast": [{"a": 1}], "extra": {"b": [1]}}
    await client.create_content("films", content, record_id="f")
    film = await client.collection("films", model).get("f")
    film.model.crew["captain"]["cats"] = 2
    film.model.cast[0]["a"] = 2
    film.model.extra["b"].append(2)
    assert film.content == content
    patched = await client.collection("films", model).patch(film)
    assert patched.content == {"crew": {"captain": {"cats": 2}}, "cast": [{"a": 2}], "extra": {"b": [1, 2]}}


class Shot(pydantic.BaseModel):
    takes: list[int] = []


class Defaults(pydantic.BaseModel):
    cast: list[str] = []
    votes: dict[str, int] = pydantic.Field(default_factory=dict)
    shot: Shot = Shot()
    shots: list[Shot] = []
    shape: dict[str, int] = pydantic.Field(default_factory=lambda data: {"cast": len(data["cast"])})


async def test_defaults_that_are_edited_in_place_are_written(client: Any) -> None:
    await client.create_content("films", {"shots": [{}]}, record_id="f")
    films = client.collection("films", Defaults)
    film = await films.get("f")
    assert (await films.patch(film)).version == 1
    film.model.cast.append("Weaver")
    film.model.votes["ada"] = 1
    film.model.shot.takes.append(2)
    film.model.shots[0].takes.append(3)
    edited = {"cast": ["Weaver"], "votes": {"ada": 1}, "shot": {"takes": [2]}, "shots": [{"takes": [3]}]}
    assert (await films.patch(film)).content == edited
    new = Defaults()
    new.cast.append("Hurt")
    assert (await films.create(new)).content == {"cast": ["Hurt"]}


NUMBERS = itertools.count()


@dataclass
class Numbered:
    number: int = field(default_factory=lambda: next(NUMBERS))


class NumberedStruct(msgspec.Struct):
    number: int = msgspec.field(default_factory=lambda: next(NUMBERS))


@pytest.mark.parametrize("model", [Numbered, NumberedStruct])
async def test_defaults_that_differ_each_time_are_not_edits(client: Any, model: Any) -> None:
    await client.create_content("films", {"Title": "Alien"}, record_id="f")
    films = client.collection("films", model)
    film = await films.get("f")
    assert (await films.patch(film)).content == {"Title": "Alien"}
    film.model.number = 1_000
    assert (await films.patch(film)).content == {"Title": "Alien", "number": 1_000}


async def test_results_of_writes_are_complete_if_a_record_does_not_fit(client: Any) -> None:
    films = client.collection("films", Film)
    await films.import_models([("a", Film("Alien")), ("b", Film("Brazil"))])
    found = await films.batch_get(["a", "b"])
    await client.patch_content("films", "a", {"Title": 1979})  # by someone else
    for votes, write in ((2, films.batch_patch), (3, films.save_drafts)):
        for each in found.values():
            each.model.votes = votes
        unfit, fit = await write(found.values())
        assert (unfit.record, fit.unwrap().model) == (None, Film("Brazil", votes))
        with pytest.raises(ModelMismatchError, match="record 'a' does not fit Film: /Title"):
            unfit.unwrap()
    committed = await films.commit(all=True)
    assert [each.changed_fields for each in committed] == [("votes",), ("votes",)]
    assert [type(each.error) for each in committed] == [ModelMismatchError, type(None)]
    assert (await client.get_content("films", "a")).content["votes"] == 3


async def test_related_records_have_models_of_their_own_classes(client: Any) -> None:
    relation = draftline.DeclaredRelation("author", "/author", "people", inverse="films")
    await client.put_collection("films", relations=[relation])
    await client.import_content("people", {"scott": {"name": "R"}}.items())
    await client.import_content("films", {"alien": {"Title": "Alien", "author": "scott"}}.items())
    films, people = client.collection("films", Film), client.collection("people", Person)
    page = await films.page(expand=["author.parent"], expand_limit=5, included_fields=["name"])
    listed = [each async for each in films.records(expand=["author.parent"])]
    streamed = [each async for each in films.stream(expand=["author.parent"])]
    for film in (page.records[0], listed[0], streamed[0], await films.get("alien", expand=["author.parent"])):
        (author,) = film.related("author", Person)
        assert (author.model, author.related("parent", Person)) == (Person("R"), [])
    scott = await people.get("scott", expand=["films"])
    assert [each.model.title for each in scott.related("films", Film)] == ["Alien"]
    with pytest.raises(KeyError, match="request it by expand"):
        scott.related("author", Film)
    with pytest.raises(ModelMismatchError, match="record 'alien'"):
        scott.related("films", Person)
