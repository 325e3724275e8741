"""The pure edits: what SQL is held to in tests/store/test_edits.py."""

from decimal import Decimal
from typing import Any

import pytest
from draftline_server.domain.content import Limits, changed_fields, equal
from draftline_server.domain.edits import (
    MISSING,
    Operation,
    Strategy,
    apply_delta,
    apply_operations,
    format_pointer,
    parse_pointer,
    resolve,
)
from draftline_server.domain.errors import (
    DocumentTooLargeError,
    InvalidFieldError,
    InvalidOperationError,
    OperationTestFailedError,
)
from support.edit_cases import MERGE_PATCH_EXAMPLES, OPERATION_EXAMPLES, operations_of

POINTED = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7, "m~n": 8}
CONFIGURED = {
    "metadata": {"version": 1, "tags": ["a", "b"], "author": {"name": "ada"}},
    "config": {"ui": {"theme": "light", "size": 3}, "api": {"url": "x"}},
}


def edited(content: Any, *steps: dict[str, Any]) -> Any:
    return apply_operations(content, operations_of(steps), Limits())


@pytest.mark.parametrize(("target", "patch", "result"), MERGE_PATCH_EXAMPLES)
def test_merge_patch_gives_the_result_of_rfc_7396(target: Any, patch: Any, result: Any) -> None:
    assert equal(apply_delta(target, patch, Strategy.MERGE_PATCH), result)


@pytest.mark.parametrize(("document", "steps", "expected"), OPERATION_EXAMPLES.values(), ids=OPERATION_EXAMPLES.keys())
def test_operations_give_the_result_of_rfc_6902(document: Any, steps: list[dict[str, Any]], expected: Any) -> None:
    if isinstance(expected, type):
        with pytest.raises(expected):
            edited(document, *steps)
    else:
        assert equal(edited(document, *steps), expected)


def test_operation_with_a_member_twice_cannot_be_said() -> None:
    # A.13 of RFC 6902: {"op": "add", ..., "op": "remove"}. An operation has one `op`, here and in the contract.
    with pytest.raises(TypeError):
        Operation("add", ("baz",), **{"op": "remove"})


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", POINTED),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
        ("/foo/-", MISSING),
        ("/foo/00", MISSING),
        ("/foo/-1", MISSING),
        ("/foo/+1", MISSING),
        ("/foo/²", MISSING),
        ("/foo/2", MISSING),
        ("/foo/0/0", MISSING),
    ],
)
def test_pointer_resolves_as_in_rfc_6901(pointer: str, value: Any) -> None:
    path = parse_pointer(pointer, "path")
    assert resolve(POINTED, path) is value or equal(resolve(POINTED, path), value)
    assert format_pointer(path) == pointer


@pytest.mark.parametrize("pointer", ["a", "#/a", "/m~n", "/~", "/a~", "/~2", "/~~01", "/~~1", "/a/~/b", "/a\0"])
def test_malformed_pointer_is_refused(pointer: str) -> None:
    with pytest.raises(InvalidFieldError):
        parse_pointer(pointer, "path")


def test_escapes_of_a_pointer_are_read_once() -> None:
    assert parse_pointer("/~01/~00/~10", "path") == ("~1", "~0", "/0")


def test_shallow_delta_replaces_top_level_keys() -> None:
    delta = {"metadata": {"version": 2}, "new": None}
    assert apply_delta(CONFIGURED, delta, Strategy.SHALLOW) == {**CONFIGURED, **delta}


def test_deep_delta_of_depth_1_is_shallow() -> None:
    delta = {"metadata": {"version": 2}}
    expected = apply_delta(CONFIGURED, delta, Strategy.SHALLOW)
    assert apply_delta(CONFIGURED, delta, Strategy.DEEP, 1) == expected


def test_deep_delta_of_depth_2_merges_two_levels() -> None:
    delta = {"metadata": {"version": 2, "tags": ["c"]}, "config": {"ui": {"theme": "dark"}}}
    assert apply_delta(CONFIGURED, delta, Strategy.DEEP, 2) == {
        "metadata": {"version": 2, "tags": ["c"], "author": {"name": "ada"}},
        "config": {"ui": {"theme": "dark"}, "api": {"url": "x"}},
    }


def test_deep_delta_without_a_depth_merges_all_the_way() -> None:
    merged = apply_delta(CONFIGURED, {"config": {"ui": {"theme": "dark"}}}, Strategy.DEEP, 0)
    assert merged["config"] == {"ui": {"theme": "dark", "size": 3}, "api": {"url": "x"}}
    assert merged["metadata"] == CONFIGURED["metadata"]


@pytest.mark.parametrize("strategy", [Strategy.SHALLOW, Strategy.DEEP])
def test_null_in_a_delta_is_stored(strategy: Strategy) -> None:
    assert apply_delta({"a": 1, "b": {"c": 1}}, {"a": None, "d": None}, strategy) == {
        "a": None,
        "b": {"c": 1},
        "d": None,
    }


def test_null_deep_in_a_delta_is_stored_or_deletes() -> None:
    content, delta = {"a": {"b": 1, "c": 2}}, {"a": {"b": None}}
    assert apply_delta(content, delta, Strategy.DEEP) == {"a": {"b": None, "c": 2}}
    assert apply_delta(content, delta, Strategy.MERGE_PATCH) == {"a": {"c": 2}}


@pytest.mark.parametrize("strategy", [Strategy.SHALLOW, Strategy.DEEP, Strategy.MERGE_PATCH])
def test_array_in_a_delta_replaces_the_array(strategy: Strategy) -> None:
    assert apply_delta({"a": [1, {"b": 2}]}, {"a": [{"c": 3}]}, strategy) == {"a": [{"c": 3}]}


def test_replace_makes_the_delta_the_content() -> None:
    assert apply_delta({"a": 1}, {"b": None}, Strategy.REPLACE) == {"b": None}


@pytest.mark.parametrize("strategy", list(Strategy))
def test_delta_leaves_its_arguments_as_they_were(strategy: Strategy) -> None:
    content, delta = {"a": {"b": [1]}, "c": 1}, {"a": {"d": {"e": 1}}, "c": None}
    apply_delta(content, delta, strategy)
    assert (content, delta) == ({"a": {"b": [1]}, "c": 1}, {"a": {"d": {"e": 1}}, "c": None})


@pytest.mark.parametrize(
    ("content", "step", "result"),
    [
        ({"n": 1}, {"op": "increment", "path": "/n", "value": 2}, {"n": 3}),
        ({"n": 10**29}, {"op": "increment", "path": "/n", "value": 1}, {"n": 10**29 + 1}),
        (
            {"n": Decimal("0." + "1" * 40)},
            {"op": "increment", "path": "/n", "value": 10**40},
            {"n": Decimal("1" + "0" * 40 + "." + "1" * 40)},
        ),
        ({"n": Decimal("0.1")}, {"op": "increment", "path": "/n", "value": 0.2}, {"n": Decimal("0.3")}),
        ({"n": Decimal("1E+999")}, {"op": "increment", "path": "/n", "value": -1}, {"n": 10**999 - 1}),
        ({}, {"op": "increment", "path": "/n", "value": -2}, {"n": -2}),
        ({"a": [1]}, {"op": "increment", "path": "/a/-", "value": 2}, {"a": [1, 2]}),
        ({"a": [1, 2]}, {"op": "union", "path": "/a", "value": [2, 3, 3, Decimal("3.0")]}, {"a": [1, 2, 3]}),
        ({"a": [1, 1]}, {"op": "union", "path": "/a", "value": [True, "1"]}, {"a": [1, 1, True, "1"]}),
        ({}, {"op": "union", "path": "/a", "value": [1, 1, 2]}, {"a": [1, 2]}),
        ({"a": [1, 2, 1, "1", True]}, {"op": "subtract", "path": "/a", "value": [1]}, {"a": [2, "1", True]}),
        (
            {"a": [{"b": 1, "c": 2}]},
            {"op": "subtract", "path": "/a", "value": [{"c": 2, "b": Decimal("1.0")}]},
            {"a": []},
        ),
        ({"b": 1}, {"op": "subtract", "path": "/a", "value": [1]}, {"b": 1}),
        ({"b": 1}, {"op": "subtract", "path": "/b/c", "value": [1]}, {"b": 1}),
    ],
)
def test_transform_gives_the_expected_content(content: Any, step: dict[str, Any], result: Any) -> None:
    assert equal(edited(content, step), result)


@pytest.mark.parametrize(
    ("content", "step", "path"),
    [
        ({"n": "1"}, {"op": "increment", "path": "/n", "value": 2}, "/n"),
        ({"n": True}, {"op": "increment", "path": "/n", "value": 2}, "/n"),
        ({"n": None}, {"op": "increment", "path": "/n", "value": 2}, "/n"),
        ({}, {"op": "increment", "path": "/a/n", "value": 2}, "/a/n"),
        ({"a": {}}, {"op": "union", "path": "/a", "value": []}, "/a"),
        ({}, {"op": "union", "path": "/a~1b/c", "value": []}, "/a~1b/c"),
        ({"a": 1}, {"op": "subtract", "path": "/a", "value": []}, "/a"),
        ({"a": {"b": {}}}, {"op": "move", "from": "/a", "path": "/a/b/c"}, "/a"),
        ({}, {"op": "move", "from": "/a", "path": "/a"}, "/a"),
        ({}, {"op": "remove", "path": ""}, ""),
        ({"a": [1]}, {"op": "add", "path": "/a/2", "value": 0}, "/a/2"),
        ({"a": [1]}, {"op": "add", "path": "/a/01", "value": 0}, "/a/01"),
        ({"a": [1]}, {"op": "remove", "path": "/a/-"}, "/a/-"),
        ({"a": [1]}, {"op": "copy", "from": "/a/-1", "path": "/b"}, "/a/-1"),
    ],
)
def test_impossible_operation_names_its_place_and_path(content: Any, step: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidOperationError) as caught:
        edited(content, {"op": "test", "path": "", "value": content}, step)
    assert caught.value.metadata == {"operation": "1", "path": path}
    assert caught.value.fields[0][0] == "operations.operations[1]"


def test_test_of_a_missing_path_fails_as_a_test() -> None:
    with pytest.raises(OperationTestFailedError) as caught:
        edited({"a": 1}, {"op": "test", "path": "/b", "value": None})
    assert caught.value.metadata == {"operation": "0", "path": "/b"}


def test_move_onto_itself_changes_nothing() -> None:
    assert edited({"a": 1}, {"op": "move", "from": "/a", "path": "/a"}) == {"a": 1}


@pytest.mark.parametrize("value", [1, None, [], "a"])
def test_operations_that_leave_no_object_are_refused(value: Any) -> None:
    with pytest.raises(InvalidOperationError):
        edited({"a": 1}, {"op": "add", "path": "", "value": value})
    assert edited({}, {"op": "add", "path": "", "value": value}, {"op": "add", "path": "", "value": {}}) == {}


def test_doubling_copies_are_refused_while_the_content_is_small() -> None:
    steps = [{"op": "add", "path": "/a", "value": ["x" * 1000]}, {"op": "add", "path": "/b", "value": []}]
    for _ in range(400):
        steps += [{"op": "copy", "from": "/a", "path": "/b/-"}, {"op": "copy", "from": "/a", "path": "/b/-"}]
        steps += [{"op": "move", "from": "/b", "path": "/a"}, {"op": "add", "path": "/b", "value": []}]
    with pytest.raises(DocumentTooLargeError) as caught:
        edited({}, *steps)
    assert caught.value.metadata == {"limit": str(Limits().max_bytes)}


def test_operations_that_nest_step_by_step_are_refused_while_the_content_is_flat() -> None:
    steps = [{"op": "add", "path": "/" * (30 * n + 1), "value": deep(30)} for n in range(60)]
    with pytest.raises(DocumentTooLargeError) as caught:
        edited({}, *steps)
    assert caught.value.metadata == {"limit": "32"}


def deep(levels: int) -> Any:
    """Objects in objects, under empty keys."""
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"": value}
    return value


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, Decimal("1.0")),
        (1, 1.0),
        (Decimal("0.1"), 0.1),
        (10**30, Decimal("1E+30")),
        (Decimal("-0.0"), 0),
        ({"a": 1, "b": [2]}, {"b": [Decimal("2.00")], "a": 1}),
    ],
)
def test_numbers_of_one_value_are_equal(a: Any, b: Any) -> None:
    assert equal(a, b)
    assert equal(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, True),
        (0, False),
        (0, None),
        (False, None),
        (1, "1"),
        ("", None),
        ([], {}),
        ([], None),
        ({}, None),
        ([1], 1),
        ([1, 2], [2, 1]),
        ({"a": None}, {}),
        ("é", "e\u0301"),
        (10**30, 10**30 + 1),
        ([True], [1]),
    ],
)
def test_values_of_different_kinds_are_not_equal(a: Any, b: Any) -> None:
    assert not equal(a, b)
    assert not equal(b, a)


def test_changed_fields_are_in_code_point_order() -> None:
    old = {"b": 1, "gone": None, "same": {"x": [1]}}
    new = {"b": True, "\U0001f600": 1, "\uffff": 1, "": 1, "same": {"x": [Decimal("1.0")]}}
    assert changed_fields(old, new) == ["", "b", "gone", "\uffff", "\U0001f600"]
