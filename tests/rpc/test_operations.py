"""Patches by operations: the six of RFC 6902 and three transforms, on both of the ways to apply them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import grpc
import pytest
from draftline.v1 import content_pb2, types_pb2
from support.responses import INVALID, TIMEOUT_S, Records, content_of, refused, steps


def add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def step(op: str, path: str, **parts: Any) -> dict[str, Any]:
    return {"op": op, "path": path, **parts}


# (content, operations, content after)
APPLIED: dict[str, tuple[Any, list[dict[str, Any]], Any]] = {
    # RFC 6902, appendix A
    "A.1 member added": ({"foo": "bar"}, [add("/baz", "qux")], {"baz": "qux", "foo": "bar"}),
    "A.2 element added": ({"foo": ["bar", "baz"]}, [add("/foo/1", "qux")], {"foo": ["bar", "qux", "baz"]}),
    "A.3 member removed": ({"baz": "qux", "foo": "bar"}, [step("remove", "/baz")], {"foo": "bar"}),
    "A.4 element removed": ({"foo": ["bar", "qux", "baz"]}, [step("remove", "/foo/1")], {"foo": ["bar", "baz"]}),
    "A.5 value replaced": ({"a": 1, "f": 2}, [step("replace", "/a", value="boo")], {"a": "boo", "f": 2}),
    "A.6 value moved": (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [step("move", "/qux/thud", **{"from": "/foo/waldo"})],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    "A.7 element moved": (
        {"foo": ["all", "grass", "cows", "eat"]},
        [step("move", "/foo/3", **{"from": "/foo/1"})],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    "A.8 values tested": (
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [step("test", "/baz", value="qux"), step("test", "/foo/1", value=2)],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    "A.10 nested object added": ({"foo": "bar"}, [add("/child", {"g": {}})], {"foo": "bar", "child": {"g": {}}}),
    "A.14 escapes": ({"/": 9, "~1": 10}, [step("test", "/~01", value=10)], {"/": 9, "~1": 10}),
    "A.16 array added": ({"foo": ["bar"]}, [add("/foo/-", ["abc", "def"])], {"foo": ["bar", ["abc", "def"]]}),
    # and around them
    "added over": ({"a": 1}, [add("/a", None)], {"a": None}),
    "root added": ({"a": 1}, [add("", {"b": 2})], {"b": 2}),
    "root replaced": ({"a": 1}, [step("replace", "", value={"b": 2})], {"b": 2}),
    "root tested": ({"a": 1, "b": [True]}, [step("test", "", value={"b": [True], "a": 1.0})], {"a": 1, "b": [True]}),
    "at the end": ({"a": [1]}, [add("/a/1", 2), add("/a/0", 0)], {"a": [0, 1, 2]}),
    "empty key": ({"": 1}, [add("/", 2), add("/x", {}), add("/x/", 3)], {"": 2, "x": {"": 3}}),
    "digits as keys": ({"0": {"01": 1}}, [step("replace", "/0/01", value=2)], {"0": {"01": 2}}),
    "copied": ({"a": {"b": []}}, [step("copy", "/c", **{"from": "/a/b"}), add("/c/-", 2)], {"a": {"b": []}, "c": [2]}),
    "copied into itself": ({"a": {"b": 1}}, [step("copy", "/a/c", **{"from": "/a"})], {"a": {"b": 1, "c": {"b": 1}}}),
    "moved to itself": ({"a": 1}, [step("move", "/a", **{"from": "/a"})], {"a": 1}),
    "moved over": ({"a": 1, "b": 2}, [step("move", "/b", **{"from": "/a"})], {"b": 1}),
    "null tested": ({"a": None}, [step("test", "/a", value=None)], {"a": None}),
    "incremented": ({"n": 1}, [step("increment", "/n", value=2.5)], {"n": 3.5}),
    "incremented from nothing": ({}, [step("increment", "/n", value=-1)], {"n": -1}),
    "incremented inside": ({"a": [{"n": 1}]}, [step("increment", "/a/0/n", value=1)], {"a": [{"n": 2}]}),
    "united": ({"t": [1, "1"]}, [step("union", "/t", value=[1.0, "2", "2", True])], {"t": [1, "1", "2", True]}),
    "united with nothing": ({}, [step("union", "/t", value=["a", "a"])], {"t": ["a"]}),
    "subtracted": ({"t": [1, "1", 1, {"a": 1}]}, [step("subtract", "/t", value=[1, {"a": 1}])], {"t": ["1"]}),
    "subtracted from nothing": ({"a": 1}, [step("subtract", "/t", value=[1])], {"a": 1}),
}  # fmt: skip

# (content, operations, the index that fails, what is said)
REFUSED: dict[str, tuple[Any, list[dict[str, Any]], int | None, str]] = {
    "A.12 parent missing": ({"foo": "bar"}, [add("/baz/bat", "qux")], 0, "does not resolve"),
    "removed nothing": ({"a": 1}, [add("/b", 1), step("remove", "/c")], 1, "does not resolve"),
    "replaced nothing": ({"a": 1}, [step("replace", "/b", value=1)], 0, "does not resolve"),
    "copied nothing": ({"a": 1}, [step("copy", "/b", **{"from": "/c"})], 0, "does not resolve"),
    "moved nothing": ({"a": 1}, [step("move", "/b", **{"from": "/c"})], 0, "does not resolve"),
    "moved into itself": ({"a": {"b": {}}}, [step("move", "/a/b/c", **{"from": "/a"})], 0, "into itself"),
    "beyond the end": ({"a": [1]}, [add("/a/2", 1)], 0, "does not resolve"),
    "leading zero": ({"a": [1, 2]}, [step("remove", "/a/01")], 0, "does not resolve"),
    "negative index": ({"a": [1, 2]}, [step("remove", "/a/-1")], 0, "does not resolve"),
    "dash of a removal": ({"a": [1, 2]}, [step("remove", "/a/-")], 0, "does not resolve"),
    "index that is no number": ({"a": [1, 2]}, [add("/a/x", 1)], 0, "does not resolve"),
    "long index": ({"a": [1, 2]}, [add("/a/99999999999999999999", 1)], 0, "does not resolve"),
    "into a scalar": ({"a": 1}, [add("/a/b", 1)], 0, "does not resolve"),
    "into null": ({"a": None}, [add("/a/b", 1)], 0, "does not resolve"),
    "root removed": ({"a": 1}, [step("remove", "")], 0, "cannot be removed"),
    "root an array": ({"a": 1}, [add("", [1])], None, "not an object"),
    "incremented text": ({"a": "1"}, [step("increment", "/a", value=1)], 0, "does not lead to a number"),
    "incremented null": ({"a": None}, [step("increment", "/a", value=1)], 0, "does not lead to a number"),
    "incremented truth": ({"a": True}, [step("increment", "/a", value=1)], 0, "does not lead to a number"),
    "united a number": ({"a": 1}, [step("union", "/a", value=[1])], 0, "does not lead to an array"),
    "subtracted null": ({"a": None}, [step("subtract", "/a", value=[1])], 0, "does not lead to an array"),
}

FAILED_TESTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "A.9 another value": ({"baz": "qux"}, step("test", "/baz", value="bar")),
    "A.15 text is no number": ({"/": 9, "~1": 10}, step("test", "/~01", value="10")),
    "missing": ({}, step("test", "/a", value=None)),
    "truth is not 1": ({"a": True}, step("test", "/a", value=1)),
    "null is not missing": ({"a": None}, step("test", "/a", value=False)),
    "order of elements": ({"a": [1, 2]}, step("test", "/a", value=[2, 1])),
    "beyond the end": ({"a": [1]}, step("test", "/a/1", value=1)),
}


@pytest.mark.parametrize("name", APPLIED)
def test_operations_are_applied_in_order(patched: Records, name: str) -> None:
    content, operations, expected = APPLIED[name]
    patched.create("m-1", content)
    answer = patched.patch("m-1", operations=steps(*operations))
    assert content_of(answer.record) == patched.content("m-1") == expected
    assert answer.record.version == 1 + (content != expected)
    assert set(answer.changed_fields) == {
        key for key in {**content, **expected} if content.get(key, ...) != expected.get(key, ...)
    }


@pytest.mark.parametrize("name", REFUSED)
def test_operation_that_does_not_apply_refuses_all(patched: Records, name: str) -> None:
    content, operations, place, problem = REFUSED[name]
    patched.create("m-1", content)
    request = patched.patching("m-1", operations=steps(*operations))
    refusal = refused(patched.stub.PatchContent, request)
    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_OPERATION")
    assert problem in refusal.message
    assert refusal.metadata.get("operation") == (None if place is None else str(place))
    assert "path" in refusal.metadata
    field = "operations" if place is None else f"operations.operations[{place}]"
    assert [*refusal.fields] == [field]
    assert patched.get("m-1").version == 1


@pytest.mark.parametrize("name", FAILED_TESTS)
def test_failing_test_is_a_failed_precondition(patched: Records, name: str) -> None:
    content, test = FAILED_TESTS[name]
    patched.create("m-1", content)
    refusal = refused(patched.stub.PatchContent, patched.patching("m-1", operations=steps(add("/new", 1), test)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TEST_FAILED")
    assert (refusal.metadata["operation"], refusal.metadata["path"]) == ("1", test["path"])
    assert patched.content("m-1") == content


def test_increment_of_long_numbers_is_exact(patched: Records) -> None:
    patched.create("m-1", f'{{"i": {10**29}, "d": 0.{"1" * 40}}}')
    operations = steps(
        step("increment", "/i", value=1), step("increment", "/d", value=1), step("increment", "/i", value=-3)
    )
    patched.patch("m-1", operations=operations)
    assert patched.content("m-1") == {"i": 10**29 - 2, "d": Decimal("1." + "1" * 40)}


def test_operations_that_may_create_start_from_the_empty_object(patched: Records) -> None:
    operations = steps(step("increment", "/n", value=5), step("union", "/t", value=["a"]), step("test", "/n", value=5))
    answer = patched.patch("m-1", operations=operations, allow_missing=True)
    assert (answer.record.version, content_of(answer.record)) == (1, {"n": 5, "t": ["a"]})
    request = patched.patching("m-2", operations=steps(step("remove", "/n")), allow_missing=True)
    assert refused(patched.stub.PatchContent, request).reason == "INVALID_OPERATION"
    assert patched.is_missing("m-2")


def test_operations_that_cancel_out_write_nothing(patched: Records) -> None:
    patched.create("m-1", {"a": 1})
    answer = patched.patch("m-1", operations=steps(add("/b", 1), step("remove", "/b")))
    assert (answer.record.version, list(answer.changed_fields)) == (1, [])


def test_operand_may_be_a_value_message(patched: Records) -> None:
    patched.create("m-1", {})
    operations = types_pb2.OperationList()
    value = operations.operations.add(op="add", path="/a").value.value
    value.struct_value.update({"x": [None, True, "t", 2]})
    operations.operations.add(op="add", path="/n").value.value.null_value = 0
    patched.patch("m-1", operations=operations)
    assert patched.content("m-1") == {"a": {"x": [None, True, "t", 2]}, "n": None}


@pytest.mark.parametrize("from_", ["/a", ""])
def test_copies_that_double_again_and_again_are_refused(patched: Records, from_: str) -> None:
    patched.create("m-1", {"a": ["x" * 100]})
    doubling = [step("copy", "/a/-" if from_ else "/b", **{"from": from_})] * 40
    refusal = refused(patched.stub.PatchContent, patched.patching("m-1", operations=steps(*doubling)))
    assert (refusal.code, refusal.reason) == (INVALID, "DOCUMENT_TOO_LARGE")
    assert patched.content("m-1") == {"a": ["x" * 100]}


# RFC 6902, section 4: what an operation does not use is ignored, whatever it holds.
UNUSED: dict[str, tuple[dict[str, Any], Any]] = {
    "value of a removal": (step("remove", "/a", value=1), {"b": 2}),
    "source of a removal": (step("remove", "/a", **{"from": "no pointer"}), {"b": 2}),
    "value of a move": (step("move", "/c", value=[1], **{"from": "/a"}), {"b": 2, "c": 1}),
    "value of a copy": (step("copy", "/c", value=None, **{"from": "/a"}), {"a": 1, "b": 2, "c": 1}),
    "source of an addition": (step("add", "/c", value=3, **{"from": "/none"}), {"a": 1, "b": 2, "c": 3}),
    "source of a replacement": (step("replace", "/a", value=3, **{"from": "/~9"}), {"a": 3, "b": 2}),
    "source of a test": (step("test", "/a", value=1, **{"from": "/a"}), {"a": 1, "b": 2}),
    "source of a transform": (step("increment", "/a", value=1, **{"from": "/b"}), {"a": 2, "b": 2}),
}


@pytest.mark.parametrize("name", UNUSED)
def test_members_that_an_operation_does_not_use_are_ignored(patched: Records, name: str) -> None:
    operation, expected = UNUSED[name]
    patched.create("m-1", {"a": 1, "b": 2})
    assert content_of(patched.patch("m-1", operations=steps(operation)).record) == expected


def test_value_that_is_not_used_may_be_what_cannot_be_stored(patched: Records) -> None:
    patched.create("m-1", {"a": 1})
    operations = steps(step("remove", "/a"))
    operations.operations[0].value.json = '{"no": JSON \\u0000'
    assert content_of(patched.patch("m-1", operations=operations).record) == {}


def test_empty_list_of_operations_changes_nothing(patched: Records) -> None:
    patched.create("m-1", {"a": 1})
    answer = patched.patch("m-1", operations=types_pb2.OperationList())
    assert (answer.record.version, list(answer.changed_fields), content_of(answer.record)) == (1, [], {"a": 1})
    request = content_pb2.BatchPatchContentRequest(
        tenant_id=patched.tenant_id,
        requests=[
            patched.patching("m-1", operations=types_pb2.OperationList()),
            patched.patching("m-2", operations=types_pb2.OperationList(), allow_missing=True),
        ],
    )
    results = patched.stub.BatchPatchContent(request, timeout=TIMEOUT_S).results
    assert [(result.status.code, result.record.version) for result in results] == [(0, 1), (0, 1)]
    missing = patched.patching("m-3", operations=types_pb2.OperationList())
    assert refused(patched.stub.PatchContent, missing).reason == "RECORD_NOT_FOUND"


@pytest.mark.parametrize(
    ("operation", "field"),
    [
        (types_pb2.Operation(op="add", value=types_pb2.JsonValue(json='{"x": 1}')), "path"),
        (types_pb2.Operation(op="replace", value=types_pb2.JsonValue(json="{}")), "path"),
        (types_pb2.Operation(op="test", value=types_pb2.JsonValue(json='{"a": 1}')), "path"),
        (types_pb2.Operation(op="remove"), "path"),
        (types_pb2.Operation(op="copy", path="/b"), "from"),
        (types_pb2.Operation(op="move", path="/b"), "from"),
        (types_pb2.Operation(op="add", path="/b"), "value"),
        (types_pb2.Operation(op="add", path="/b", value=types_pb2.JsonValue()), "value"),
    ],
)
def test_operation_without_a_member_that_it_needs_is_refused(
    patched: Records, operation: types_pb2.Operation, field: str
) -> None:
    """A path that is not there is not the empty one, which is the whole document."""
    patched.create("m-1", {"a": 1})
    request = patched.patching("m-1", operations=types_pb2.OperationList(operations=[operation]))
    refusal = refused(patched.stub.PatchContent, request)
    assert (refusal.code, list(refusal.fields)) == (INVALID, [f"operations.operations[0].{field}"])


def test_value_that_is_not_used_may_be_empty(patched: Records) -> None:
    patched.create("m-1", {"a": 1, "b": 1})
    operation = types_pb2.Operation(op="remove", path="/a", value=types_pb2.JsonValue())
    answer = patched.patch("m-1", operations=types_pb2.OperationList(operations=[operation]))
    assert content_of(answer.record) == {"b": 1}
