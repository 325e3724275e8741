"""Names in filters, orders and field masks that a collection does not have are reported, or refused."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import draftline
import pytest
from draftline_server.domain.filters.named_fields import SchemaNames, nearest, spelled
from support.server_process import invoked

SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "cast": {"$ref": "#/$defs/cast"}},
    "allOf": [{"properties": {"rated": {"type": "boolean"}}}],
    "patternProperties": {"^x-": {}},
    "$defs": {
        "cast": {"type": "array", "items": {"type": "object", "properties": {"name": {}, "next": {"$ref": "#"}}}}
    },
}


@pytest.fixture
def client(server_address: str) -> Iterator[draftline.Client]:
    with draftline.Client(server_address, tenant_id=f"tenant-{uuid.uuid4()}", user="ada") as connected:
        yield connected


def warned(client: draftline.Client, collection: str = "films", **query: Any) -> list[tuple[str, str, str]]:
    page = client.get_merged_page(collection, **query)
    return [(each.argument, each.name, each.suggestion) for each in page.warnings]


def test_unknown_names_are_reported_with_the_nearest(client: draftline.Client) -> None:
    client.put_collection("films", fields={"/genre": "text", "/cast/Ash": "text"})
    client.create_content("films", {"Title": "Alien", "cast": {"Ash": "Holm", "Kane": "Hurt"}, "items": [{"sku": 1}]})
    assert warned(client, filter='genre = "x" AND Title = "x" AND cast.Kane:* AND items.sku:1 AND cast:Ash') == []
    assert warned(client, filter='gerne = "x" OR NOT cast.kane = "x"', order_by="title, record.version desc") == [
        ("filter", "gerne", "genre"),
        ("filter", "cast.kane", "cast.Kane"),
        ("order_by", "title", "Title"),
    ]
    assert warned(client, fields=["Title", "gen re", "zzz"]) == [
        ("fields", '"gen re"', "genre"),
        ("fields", "zzz", ""),
    ]
    assert warned(client, filter="items.skew:1") == [("filter", "items.skew", "")]


def test_schema_page_and_own_drafts_make_names_known(client: draftline.Client, server_address: str) -> None:
    client.put_collection("films", json_schema=SCHEMA)
    known = 'title = "x" AND cast.name:x AND cast.next.cast.name:x AND rated = true AND "x-any" = 1'
    assert warned(client, filter=known) == []
    assert warned(client, filter="cast.nam:x AND rate = true") == [
        ("filter", "cast.nam", "cast.name"),
        ("filter", "rate", "rated"),
    ]
    client.create_content("notes", {"title": "x"}, record_id="1")
    client.save_draft("notes", "1", {"secret": 1})
    assert warned(client, "notes", filter="secret > 2") == []
    with draftline.Client(server_address, tenant_id=client._tenant(None), user="bob") as bob:
        # The drafts of others reveal no names.
        assert warned(bob, "notes", filter="secrets > 2") == [("filter", "secrets", "")]


def test_field_beyond_the_sample_is_known_where_the_page_has_it(client: draftline.Client) -> None:
    client.import_content("films", [(f"{n:04}", {"n": n}) for n in range(300)])
    client.create_content("films", {"n": 1, "rare": 1}, record_id="9999")
    assert warned(client, filter="rare = 1") == []
    assert warned(client, filter="rare = 2") == [("filter", "rare", "")]


def test_nothing_is_reported_of_an_empty_collection_and_of_later_pages(client: draftline.Client) -> None:
    assert warned(client, filter="any = 1", order_by="thing", fields=["x"]) == []
    client.import_content("films", [(str(n), {"n": n}) for n in range(3)])
    first = client.get_merged_page("films", order_by="m", page_size=1)
    assert [each.name for each in first.warnings] == ["m"]
    assert client.get_merged_page("films", order_by="m", page_size=1, page_token=first.next_page_token).warnings == ()


def test_strict_fields_refuses_and_names_the_nearest(client: draftline.Client) -> None:
    client.create_content("films", {"Title": "Alien"})
    for call in (
        lambda **query: client.get_merged_page("films", **query),
        lambda **query: list(client.get_merged("films", **query)),
        lambda **query: list(client.stream_merged("films", **query)),
    ):
        for argument, query in (
            ("filter", {"filter": 'Tite = "x"'}),
            ("order_by", {"order_by": "Tite"}),
            ("fields", {"fields": ["Tite"]}),
        ):
            with pytest.raises(draftline.InvalidArgumentError, match="did you mean Title") as caught:
                call(**query, strict_fields=True)
            assert caught.value.reason == "INVALID_FIELD"
            assert caught.value.metadata == {"name": "Tite", "suggestion": "Title"}
            assert [each.field for each in caught.value.field_violations] == [argument]
        call(filter="Title:*", order_by="Title", fields=["Title"], strict_fields=True)


def test_lists_and_streams_warn_in_python(client: draftline.Client) -> None:
    client.create_content("films", {"Title": "Alien"})
    for read in (client.get_merged, client.stream_merged):
        with pytest.warns(draftline.UnknownFieldWarning, match="did you mean Title"):
            assert list(read("films", filter='title = "x"')) == []


def test_merged_watch_warns_when_it_begins(client: draftline.Client) -> None:
    client.create_content("films", {"Title": "Alien"}, record_id="m-1")
    watch = client.watch_merged("films", filter='title = "x"', fields=["Title", "Yaer"])
    with pytest.warns(draftline.UnknownFieldWarning) as warned:
        watch.ready()
    assert [str(each.message).partition(":")[0] for each in warned] == ["filter", "fields"]
    assert "did you mean Title" in str(warned[0].message)
    client.patch_content("films", "m-1", {"n": 1})
    assert next(watch).record is None
    watch.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for query in ({"filter": 'title = "x"', "resume_token": watch.resume_token}, {"filter": 'Title = "x"'}):
            with client.watch_merged("films", **query):
                pass


def test_command_prints_warnings_to_standard_error(client: draftline.Client, server_address: str) -> None:
    client.create_content("films", {"Title": "Alien"}, record_id="m-1")
    own = ["--tenant", client._tenant(None), "--address", server_address]
    done = invoked("list", "films", "--order", "title", "--json", *own)
    assert done.stdout == '{"record_id":"m-1","state":"pristine","content":{"Title":"Alien"}}\n'
    assert "Warning: order_by: no field title" in done.stderr
    assert "did you mean Title?" in done.stderr
    refused = invoked("list", "films", "--filter", "title:*", "--strict-fields", *own)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "did you mean Title?" in refused.stderr
    assert "Alien" in invoked("list", "films", "--field", "Title", *own).stdout


def test_schema_that_refers_to_itself_ends() -> None:
    assert not SchemaNames({"$ref": "#"}).describes(("a",))
    assert not SchemaNames({"allOf": [{"$ref": "#"}, True], "items": {"$ref": "#/nowhere"}}).describes(("a", "b"))
    assert SchemaNames({"additionalProperties": {"properties": {"b": {}}}}).describes(("any", "b"))
    assert SchemaNames(True).names(()) == []


def test_names_are_spelled_as_filters_write_them() -> None:
    assert spelled(("a", "b c", 'd"e', "1")) == 'a."b c"."d\\"e"."1"'
    assert nearest("GENRE", ["genre", "gender"]) == "genre"
    assert nearest("x", ["genre"]) == ""
