"""Conversion of the methods' arguments to requests."""

from __future__ import annotations

import re
from typing import Any

import pytest
from draftline import UNSET, DeclaredField, DeclaredOrder, ImportMode, MergeStrategy, Patch, SortKey, op
from draftline._core.collection_calls import list_collections, put_collection
from draftline._core.content_calls import (
    batch_patch_content,
    create_content,
    delete_content,
    import_content,
    patch_content,
)
from draftline._core.methods import next_page
from draftline.v1 import collection_pb2, content_pb2, types_pb2
from hypothesis import given
from hypothesis import strategies as st

UNTOLD: dict[str, Any] = {"change_reason": "", "request_id": ""}


def patched(delta: Any = None, **arguments: Any) -> content_pb2.PatchContentRequest:
    return patch_content("acme", "movies", Patch("m-1", delta, **arguments), validate_only=False, **UNTOLD).request


def put(**arguments: Any) -> collection_pb2.PutCollectionRequest:
    given_or_default = {
        "fields": (),
        "orders": (),
        "json_schema": None,
        "expected_version": None,
        "validate_only": False,
        "history": "values",
        "statistics": (),
        "relations": (),
        "request_id": "",
    } | arguments
    return put_collection("acme", "movies", **given_or_default).request


def test_patch_without_options_sends_the_delta_alone() -> None:
    assert patched({"a": 1}) == content_pb2.PatchContentRequest(
        tenant_id="acme",
        collection="movies",
        record_id="m-1",
        delta=types_pb2.Document(json='{"a":1}'),
        response_encoding=types_pb2.ENCODING_JSON,
    )


def test_patch_with_every_option_sends_it() -> None:
    request = patched(
        {},
        strategy="deep",
        depth=2,
        expected_version=0,
        condition='owner = "ada"',
        allow_missing=True,
        parent_id="p",
        position=0,
        fields=["a", "b"],
    )
    assert request.strategy == types_pb2.MERGE_STRATEGY_DEEP
    assert (request.depth, request.condition, request.allow_missing) == (2, 'owner = "ada"', True)
    assert request.HasField("expected_version")
    assert request.HasField("position")
    assert request.WhichOneof("change") == "delta"
    assert (request.parent_id, list(request.fields)) == ("p", ["a", "b"])


@pytest.mark.parametrize(
    ("parent_id", "is_sent", "expected"), [(UNSET, False, ""), (None, True, ""), ("", True, ""), ("p", True, "p")]
)
def test_patch_parent_id_none_removes_the_parent(parent_id: Any, is_sent: bool, expected: str) -> None:
    request = patched(parent_id=parent_id)
    assert request.HasField("parent_id") is is_sent
    assert request.parent_id == expected


@pytest.mark.parametrize("strategy", list(MergeStrategy))
def test_strategy_and_its_string_are_the_same(strategy: MergeStrategy) -> None:
    assert patched({}, strategy=strategy) == patched({}, strategy=strategy.value)
    assert types_pb2.MergeStrategy.Name(patched({}, strategy=strategy).strategy).endswith(f"_{strategy.name}")


def test_unknown_strategy_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a MergeStrategy"):
        patched({}, strategy="deepest")


def test_patch_with_delta_and_operations_is_refused() -> None:
    with pytest.raises(ValueError, match="must not set both"):
        patched({}, operations=[op.remove("/a")])


def test_fields_as_a_lone_string_are_refused() -> None:
    with pytest.raises(TypeError, match="list of strings"):
        patched({}, fields="Title")


def test_operations_are_sent_in_order_with_null_kept() -> None:
    sent = patched(
        operations=[
            op.add("/a", None),
            op.remove("/b"),
            op.replace("/c", {"d": 1}),
            op.move("/e", "/f"),
            op.copy("/g", "/h"),
            op.test("", {}),
            op.increment("/n"),
            op.union("/t", ("x",)),
            op.subtract("/t", ["y"]),
        ]
    ).operations.operations
    from_of = [getattr(each, "from") for each in sent]
    assert [(each.op, each.path, each.value.json) for each in sent] == [
        ("add", "/a", "null"),
        ("remove", "/b", ""),
        ("replace", "/c", '{"d":1}'),
        ("move", "/f", ""),
        ("copy", "/h", ""),
        ("test", "", "{}"),
        ("increment", "/n", "1"),
        ("union", "/t", '["x"]'),
        ("subtract", "/t", '["y"]'),
    ]
    assert from_of == ["", "", "", "/e", "/g", "", "", "", ""]
    assert not sent[1].HasField("value")


def test_plain_operation_ignores_members_that_it_does_not_define() -> None:
    plain = [{"op": "remove", "path": "/a", "value": 1, "from": "/b", "note": "x"}]
    assert patched(operations=plain) == patched(operations=[op.remove("/a")])


@pytest.mark.parametrize("operation", [{"op": "remove"}, {"path": "/a"}, {"op": "remove", "path": None}])
def test_operation_without_op_or_path_is_refused(operation: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="operation 0 has no"):
        patched(operations=[operation])


def test_pointer_escapes_its_keys() -> None:
    assert op.pointer() == ""
    assert op.pointer("Major Genre", "a/b", "~", 0) == "/Major Genre/a~1b/~0/0"


@given(st.lists(st.text()))
def test_pointer_resolves_to_its_keys(keys: list[str]) -> None:
    parts = op.pointer(*keys).split("/")[1:]
    assert [part.replace("~1", "/").replace("~0", "~") for part in parts] == keys


def test_create_without_an_id_leaves_it_to_the_service() -> None:
    request = create_content(
        "acme",
        "movies",
        {},
        record_id=None,
        parent_id=None,
        position=None,
        allow_deleted=False,
        validate_only=True,
        fields=(),
        **UNTOLD,
    ).request
    assert request.record_id == ""
    assert not request.allow_deleted
    assert request.HasField("content")
    assert not request.HasField("parent_id")
    assert not request.HasField("position")
    assert request.validate_only


def test_delete_without_a_version_sends_none() -> None:
    request = delete_content(
        "acme",
        "movies",
        "m-1",
        expected_version=None,
        condition="",
        allow_missing=True,
        validate_only=False,
        fields=(),
        **UNTOLD,
    ).request
    assert not request.HasField("expected_version")
    assert request.allow_missing


def test_batch_patches_may_name_a_collection_of_their_own() -> None:
    patches = [Patch("m-1", {"a": 1}), Patch("a-1", position=3, collection="actors")]
    request = batch_patch_content("acme", "movies", patches, allow_partial=True, validate_only=True, **UNTOLD).request
    assert [each.collection for each in request.requests] == ["movies", "actors"]
    assert {each.tenant_id for each in request.requests} == {"acme"}
    assert request.requests[1].WhichOneof("change") is None
    assert request.allow_partial
    assert request.validate_only
    assert not any(each.validate_only for each in request.requests)


@pytest.mark.parametrize("mode", list(ImportMode))
def test_import_header_has_its_mode(mode: ImportMode) -> None:
    header = import_content("acme", "movies", mode=mode.value, allow_empty=True, **UNTOLD).request.header
    assert content_pb2.ImportMode.Name(header.mode).endswith(f"_{mode.name}")
    assert header.allow_empty


def test_collection_fields_may_be_a_mapping_or_declared_fields() -> None:
    fields = put(fields={"/Title": "text"}).fields
    assert fields == put(fields=[DeclaredField("/Title", "text")]).fields
    assert fields[0] == collection_pb2.DeclaredField(
        path="/Title",
        type=collection_pb2.FIELD_TYPE_TEXT,
        on_type_mismatch=collection_pb2.ON_TYPE_MISMATCH_ACCEPT,
    )


def test_collection_fields_have_a_treatment_of_mistyped_values() -> None:
    (field,) = put(fields=[DeclaredField("/Title", "text", "refuse")]).fields
    assert field.on_type_mismatch == collection_pb2.ON_TYPE_MISMATCH_REFUSE
    with pytest.raises(ValueError, match="OnTypeMismatch"):
        put(fields=[DeclaredField("/Title", "text", "never")])


def test_collection_orders_take_every_shorthand() -> None:
    key = SortKey("/a", descending=True)
    orders = put(orders=["/a", key, ["/b", key], DeclaredOrder((key,))]).orders
    assert [[(each.path, each.descending) for each in order.keys] for order in orders] == [
        [("/a", False)],
        [("/a", True)],
        [("/b", False), ("/a", True)],
        [("/a", True)],
    ]


def test_collection_orders_as_a_lone_string_are_refused() -> None:
    with pytest.raises(TypeError, match="list of orders"):
        put(orders="/Title")


@pytest.mark.parametrize(
    ("order", "path", "fix"),
    [
        ("/n desc", "/n desc", "SortKey('/n', descending=True)"),
        ("/IMDB Rating DESC", "/IMDB Rating DESC", "SortKey('/IMDB Rating', descending=True)"),
        ("/n asc", "/n asc", "'/n'"),
        (["/n", "/m desc"], "/m desc", "SortKey('/m', descending=True)"),
        (SortKey("/n desc"), "/n desc", "SortKey('/n', descending=True)"),
        (DeclaredOrder((SortKey("/n desc"),)), "/n desc", "SortKey('/n', descending=True)"),
    ],
)
def test_collection_order_with_a_direction_in_its_path_is_refused(order: Any, path: str, fix: str) -> None:
    problem = f"orders[1] has the path {path!r}, which is not a declared field: write {fix}"
    with pytest.raises(ValueError, match=re.escape(problem)):
        put(fields={"/n": "number", "/m": "text", "/IMDB Rating": "number"}, orders=["/n", order])


def test_collection_order_of_a_field_whose_name_ends_like_a_direction_is_sent() -> None:
    (order,) = put(fields={"/n desc": "number"}, orders=["/n desc"]).orders
    assert [key.path for key in order.keys] == ["/n desc"]


def test_collection_schema_is_sent_as_text() -> None:
    assert put().json_schema == ""
    assert put(json_schema={}).json_schema == "{}"


def test_next_page_repeats_the_request_with_the_token() -> None:
    first = list_collections("acme", page_size=7)
    second = next_page(first, collection_pb2.ListCollectionsResponse(next_page_token="t"))
    assert second is not None
    assert second.request == collection_pb2.ListCollectionsRequest(tenant_id="acme", page_size=7, page_token="t")
    assert first.request.page_token == ""
    assert next_page(second, collection_pb2.ListCollectionsResponse()) is None
