"""Collections are declared, read and listed."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from draftline.v1 import collection_pb2
from support.responses import INVALID, TIMEOUT_S, Records, refused

TEXT, NUMBER = collection_pb2.FIELD_TYPE_TEXT, collection_pb2.FIELD_TYPE_NUMBER
READY = collection_pb2.INDEX_STATE_READY
Put = collection_pb2.PutCollectionRequest


@dataclass(frozen=True)
class Collections:
    """The collections of one tenant."""

    stub: Any
    tenant_id: str

    def putting(self, name: str, fields: Any = (), orders: Any = (), **options: Any) -> Put:
        request = Put(tenant_id=self.tenant_id, collection=name, **options)
        for path, type_ in dict(fields).items():
            request.fields.add(path=path, type=type_)
        for order in orders:
            keys = [collection_pb2.SortKey(path=key.lstrip("-"), descending=key.startswith("-")) for key in order]
            request.orders.add(keys=keys)
        return request

    def put(self, *args: Any, **options: Any) -> collection_pb2.Collection:
        return self.stub.PutCollection(self.putting(*args, **options), timeout=TIMEOUT_S).collection

    def get(self, name: str) -> collection_pb2.Collection:
        request = collection_pb2.GetCollectionRequest(tenant_id=self.tenant_id, collection=name)
        return self.stub.GetCollection(request, timeout=TIMEOUT_S).collection

    def page(self, token: str = "", **options: Any) -> collection_pb2.ListCollectionsResponse:
        request = collection_pb2.ListCollectionsRequest(tenant_id=self.tenant_id, page_token=token, **options)
        return self.stub.ListCollections(request, timeout=TIMEOUT_S)

    def names(self, page_size: int) -> list[list[str]]:
        token, pages = "", []
        while True:
            answer = self.page(token, page_size=page_size)
            pages.append([each.collection for each in answer.collections])
            token = answer.next_page_token
            if not token:
                return pages


@pytest.fixture
def collections(collection_stub: Any, tenant_id: str) -> Collections:
    return Collections(collection_stub, tenant_id)


def test_declaration_is_answered_whole(collections: Collections) -> None:
    fields = {"/Major Genre": TEXT, "/a~1b/~0": NUMBER, "/d": 4, "/t": 5, "/b": 3}
    schema = '{"type": "object"}'
    stored = collections.put("films", fields, [["-/d", "/Major Genre"], ["/b"]], json_schema=schema)
    assert (stored.tenant_id, stored.collection, stored.version) == (collections.tenant_id, "films", 1)
    assert {field.path: field.type for field in stored.fields} == fields
    assert [[("-" * k.descending) + k.path for k in o.keys] for o in stored.orders] == [["-/d", "/Major Genre"], ["/b"]]
    assert stored.json_schema == schema
    assert stored.create_time == stored.update_time
    assert [index.state for index in stored.indexes] == [READY] * 6
    assert collections.get("films") == stored


def test_declaration_that_changes_nothing_keeps_its_version(collections: Collections) -> None:
    first = collections.put("films", {"/a": TEXT}, [["/a"]])
    assert collections.put("films", {"/a": TEXT}, [["/a"]]) == first
    second = collections.put("films", {"/a": TEXT})
    assert (second.version, second.create_time) == (2, first.create_time)
    assert second.update_time.ToNanoseconds() > first.update_time.ToNanoseconds()
    assert collections.put("films").version == 3
    assert not collections.get("films").fields


def test_stale_declaration_is_aborted(collections: Collections) -> None:
    refusal = refused(collections.stub.PutCollection, collections.putting("films", expected_version=1))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "VERSION_MISMATCH")
    assert refusal.metadata["current_version"] == "0"
    assert collections.put("films", {"/a": TEXT}, expected_version=0).version == 1
    for stale in (0, 2):
        request = collections.putting("films", {"/b": TEXT}, expected_version=stale)
        assert refused(collections.stub.PutCollection, request).metadata["current_version"] == "1"
    assert collections.put("films", {"/b": TEXT}, expected_version=1).version == 2


@pytest.mark.parametrize("expected_version", [0, 1])
def test_one_of_several_declarations_of_a_version_wins(collections: Collections, expected_version: int) -> None:
    for round_ in range(5):
        name = f"films{round_}"
        if expected_version:
            collections.put(name)
        requests = [
            collections.putting(name, json_schema=f'{{"maxProperties": {n}}}', expected_version=expected_version)
            for n in range(8)
        ]
        with ThreadPoolExecutor(8) as callers:
            calls = [callers.submit(collections.stub.PutCollection, r, timeout=TIMEOUT_S) for r in requests]
        failures = [call.exception() for call in calls if call.exception() is not None]
        assert {error.code() for error in failures} == {grpc.StatusCode.ABORTED}
        assert len(failures) == 7
        assert collections.get(name).version == expected_version + 1


def test_validate_only_declaration_answers_and_writes_nothing(collections: Collections) -> None:
    preview = collections.put("films", {"/a": TEXT}, validate_only=True)
    assert (preview.version, preview.HasField("create_time")) == (1, True)
    assert [index.state for index in preview.indexes] == [collection_pb2.INDEX_STATE_BUILDING]
    request = collection_pb2.GetCollectionRequest(tenant_id=collections.tenant_id, collection="films")
    refusal = refused(collections.stub.GetCollection, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")
    stored = collections.put("films", {"/a": TEXT})
    preview = collections.put("films", {"/a": TEXT, "/b": NUMBER}, validate_only=True)
    assert (preview.version, preview.create_time, len(preview.fields)) == (2, stored.create_time, 2)
    assert collections.put("films", {"/a": TEXT}, validate_only=True) == stored
    assert collections.get("films") == stored
    request = collections.putting("films", expected_version=7, validate_only=True)
    assert refused(collections.stub.PutCollection, request).reason == "VERSION_MISMATCH"


def test_declarations_of_tenants_are_apart(collections: Collections) -> None:
    other = Collections(collections.stub, f"{collections.tenant_id}x")
    collections.put("films", {"/a": TEXT})
    other.put("films", json_schema="true")
    assert (len(collections.get("films").fields), len(other.get("films").fields)) == (1, 0)
    assert [each.collection for each in other.page().collections] == ["films"]


# (fields, orders, json_schema, the field that is told, what is said of it)
BAD: dict[str, tuple[Any, Any, str, str, str]] = {
    "no pointer": ({"ab": TEXT}, [], "", "fields[0].path", "must start with /"),
    "root": ({"": TEXT}, [], "", "fields[0].path", ""),
    "short": ({"/": TEXT}, [], "", "fields[0].path", "2 characters"),
    "bad escape": ({"/a~": TEXT}, [], "", "fields[0].path", "0 or 1"),
    "control character": ({"/a\n": TEXT}, [], "", "fields[0].path", "control characters"),
    "long": ({"/" + "a" * 512: TEXT}, [], "", "fields[0].path", "512"),
    "no type": ({"/a": 0}, [], "", "fields[0].type", ""),
    "many fields": ({f"/f{n}": TEXT for n in range(33)}, [], "", "fields", "32"),
    "many orders": ({"/a": TEXT}, [["/a"]] * 17, "", "orders", "16"),
    "no key": ({"/a": TEXT}, [[]], "", "orders[0].keys", "at least 1"),
    "many keys": ({"/a": TEXT}, [["/a"] * 5], "", "orders[0].keys", "4"),
    "key twice": ({"/a": TEXT}, [["/a"], ["/a", "-/a"]], "", "orders[1].keys", "once"),
    "undeclared key": ({"/a": TEXT}, [["/a", "/b"]], "", "orders[0].keys[1].path", "/b is not a declared field"),
    "bad key": ({"/a": TEXT}, [["/a~"]], "", "orders[0].keys[0].path", "0 or 1"),
    "no JSON": ({}, [], "{", "json_schema", ""),
    "no schema": ({}, [], "[]", "json_schema", "object or a boolean"),
    "wrong schema": ({}, [], '{"type": "text"}', "json_schema", ""),
    "NaN": ({}, [], '{"const": NaN}', "json_schema", ""),
    "large number": ({}, [], '{"const": 1e1000}', "json_schema", "1000 digits"),
    "huge number": ({}, [], '{"const": 1e99999999999999999999}', "json_schema", ""),
    "bad pattern": ({}, [], '{"pattern": "("}', "json_schema", ""),
    "another's schema": ({}, [], '{"$ref": "http://example.org/schema"}', "json_schema", "within the schema"),
    "a file": ({}, [], '{"$ref": "file:///etc/passwd"}', "json_schema", "within the schema"),
    "unknown dialect": ({}, [], '{"$schema": "http://example.org/dialect"}', "json_schema", "unknown dialect"),
    "surrogate": ({}, [], '{"const": "\\ud800"}', "json_schema", "lone surrogates"),
    "deep": ({}, [], '{"not":' * 20_000 + "true" + "}" * 20_000, "json_schema", ""),
    "large": ({}, [], '{"const": "' + "x" * 262_144 + '"}', "json_schema", "262144"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_declaration_is_refused(collections: Collections, name: str) -> None:
    fields, orders, schema, field, problem = BAD[name]
    request = collections.putting("films", fields, orders, json_schema=schema)
    refusal = refused(collections.stub.PutCollection, request)
    assert refusal.code is INVALID
    assert refusal.reason in ("INVALID_FIELD", "INVALID_DOCUMENT")
    assert [*refusal.fields] == [field]
    assert problem in refusal.fields[field]
    assert collections.names(10) == [[]]


def test_field_that_is_declared_twice_is_refused(collections: Collections) -> None:
    request = collections.putting("films", {"/a~1b": TEXT})
    request.fields.add(path="/a~1b", type=NUMBER)
    refusal = refused(collections.stub.PutCollection, request)
    assert (refusal.code, [*refusal.fields]) == (INVALID, ["fields[1].path"])
    assert "/a~1b is declared twice" in refusal.message


def test_list_walks_declared_and_undeclared_collections_in_order(collections: Collections, grpc_stub: Any) -> None:
    declared, used = ["b", "d", "f", "ü"], ["a", "c", "d", "Z", "日本", "a b"]
    for name in declared:
        collections.put(name)
    for name in used:
        Records(grpc_stub, collections.tenant_id, name).create("m-1", {})
        Records(grpc_stub, collections.tenant_id, name).create("m-2", {})
    names = sorted({*declared, *used})
    assert collections.names(0) == collections.names(100) == collections.names(2**31 - 1) == [names]
    for size in (1, 2, 3, 8, 9):
        assert collections.names(size) == [names[at : at + size] for at in range(0, len(names), size)]
    versions = {each.collection: each.version for each in collections.page().collections}
    assert versions == {name: int(name in declared) for name in names}


def test_list_of_a_tenant_without_collections_is_empty(collections: Collections) -> None:
    assert collections.names(10) == [[]]


def test_page_token_that_is_not_of_this_query_is_refused(collections: Collections) -> None:
    other = Collections(collections.stub, f"{collections.tenant_id}x")
    for name in "abc":
        collections.put(name)
        other.put(name)
    token = collections.page(page_size=1).next_page_token
    tokens = {"another tenant's": other.page(page_size=1).next_page_token, "text": "x", "odd": "é", "long": "A" * 4096}
    tokens |= {f"one changed at {at}": changed for at in range(len(token)) if (changed := _changed(token, at))}
    tokens |= {f"cut at {at}": token[:at] for at in range(1, len(token)) if _bytes(token[:at]) != _bytes(token)}
    assert len(tokens) > len(token)
    for name, bad in tokens.items():
        request = collection_pb2.ListCollectionsRequest(tenant_id=collections.tenant_id, page_token=bad)
        refusal = refused(collections.stub.ListCollections, request)
        assert (name, refusal.code, [*refusal.fields]) == (name, INVALID, ["page_token"])
    assert [each.collection for each in collections.page(token, page_size=5).collections] == ["b", "c"]


def _bytes(token: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        return b""


def _changed(token: str, at: int) -> str | None:
    """The token with one character changed; None if it stands for the same bytes."""
    other = token[:at] + ("A" if token[at] != "A" else "g") + token[at + 1 :]
    return other if _bytes(other) != _bytes(token) else None


def test_negative_page_size_is_refused(collections: Collections) -> None:
    request = collection_pb2.ListCollectionsRequest(tenant_id=collections.tenant_id, page_size=-1)
    assert [*refused(collections.stub.ListCollections, request).fields] == ["page_size"]


def test_page_of_large_declarations_still_arrives(collections: Collections) -> None:
    schema = '{"const": "' + "x" * 250_000 + '"}'
    names = [f"films{n:02}" for n in range(24)]
    for name in names:
        collections.put(name, json_schema=schema)
    pages = collections.names(1000)
    assert [name for page in pages for name in page] == names
    assert len(pages) > 1  # a client takes 4 MiB a message unless told otherwise
