"""Patches by delta, on both of the ways to apply them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import grpc
import pytest
from draftline.v1 import content_pb2, types_pb2
from support.responses import Records, content_of, document, nested, refused, struct

SHALLOW = types_pb2.MERGE_STRATEGY_SHALLOW
DEEP = types_pb2.MERGE_STRATEGY_DEEP
MERGE_PATCH = types_pb2.MERGE_STRATEGY_MERGE_PATCH
REPLACE = types_pb2.MERGE_STRATEGY_REPLACE

DOCUMENT = {
    "title": "A",
    "metadata": {"version": 1, "tags": ["x"], "author": "ada"},
    "config": {"ui": {"theme": "light", "size": 3}, "api": {"url": "u"}},
    "none": None,
}

# RFC 7396, appendix A: those whose original and patch are objects.
RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]
# The rest, whose original or patch is an array or a scalar, one level down.
RFC_7396_NESTED = [
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, "bar", "bar"),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
]


def same(one: types_pb2.Record, other: types_pb2.Record) -> bool:
    """Equal but for the spelling of the content."""
    contents = [content_of(record) for record in (one, other)]
    bare = types_pb2.Record(), types_pb2.Record()
    for copy, record in zip(bare, (one, other), strict=True):
        copy.CopyFrom(record)
        copy.ClearField("content")
    return contents[0] == contents[1] and bare[0] == bare[1]


def test_shallow_patch_of_one_key_keeps_the_others(patched: Records) -> None:
    patched.create("m-1", DOCUMENT)
    answer = patched.patch("m-1", {"title": "B"})
    assert content_of(answer.record) == {**DOCUMENT, "title": "B"}
    assert (answer.record.version, list(answer.changed_fields)) == (2, ["title"])
    assert same(patched.get("m-1"), answer.record)


@pytest.mark.parametrize("strategy", [types_pb2.MERGE_STRATEGY_UNSPECIFIED, SHALLOW])
def test_shallow_patch_replaces_nested_objects_and_arrays(patched: Records, strategy: int) -> None:
    patched.create("m-1", DOCUMENT)
    delta = {"metadata": {"version": 2}, "config": [1], "new": {"a": []}}
    answer = patched.patch("m-1", delta, strategy=strategy)
    assert patched.content("m-1") == {**DOCUMENT, **delta}
    assert list(answer.changed_fields) == ["config", "metadata", "new"]


def test_deep_patch_of_depth_2_merges_one_level_of_objects(patched: Records) -> None:
    patched.create("m-1", DOCUMENT)
    patched.patch("m-1", {"metadata": {"version": 2, "tags": ["y", "z"]}}, strategy=DEEP, depth=2)
    patched.patch("m-1", {"config": {"ui": {"theme": "dark"}}}, strategy=DEEP, depth=2)
    content = patched.content("m-1")
    assert content["metadata"] == {"version": 2, "tags": ["y", "z"], "author": "ada"}
    assert content["config"] == {"ui": {"theme": "dark"}, "api": {"url": "u"}}


def test_deep_patch_without_a_depth_merges_all_the_way(patched: Records) -> None:
    patched.create("m-1", {**DOCUMENT, "deep": {"a": {"b": {"c": {"d": 1, "e": [1, 2]}}}}})
    delta = {"config": {"ui": {"theme": "dark"}}, "deep": {"a": {"b": {"c": {"e": [3], "f": None}}}}, "none": {"x": {}}}
    patched.patch("m-1", delta, strategy=DEEP)
    content = patched.content("m-1")
    assert content["config"] == {"ui": {"theme": "dark", "size": 3}, "api": {"url": "u"}}
    assert content["deep"] == {"a": {"b": {"c": {"d": 1, "e": [3], "f": None}}}}
    assert content["none"] == {"x": {}}


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 32])
def test_deep_patch_replaces_what_is_below_its_depth(patched: Records, depth: int) -> None:
    content: dict[str, Any] = {}
    delta: dict[str, Any] = {}
    for level in range(5, 0, -1):
        content, delta = {"old": level, "n": content}, {"new": level, "n": delta}
    patched.create("m-1", content)
    found = content_of(patched.patch("m-1", delta, strategy=DEEP, depth=depth).record)
    for level in range(1, 6):
        assert ("old" in found) == (level <= depth)
        assert found["new"] == level
        found = found["n"]


@pytest.mark.parametrize("strategy", [SHALLOW, DEEP, REPLACE])
def test_null_is_stored_unless_by_merge_patch(patched: Records, strategy: int) -> None:
    patched.create("m-1", DOCUMENT)
    answer = patched.patch("m-1", {"title": None, "added": None}, strategy=strategy)
    content = content_of(answer.record)
    assert (content["title"], content["added"]) == (None, None)
    kept = {} if strategy == REPLACE else {key: DOCUMENT[key] for key in ("metadata", "config", "none")}
    assert content == {"title": None, "added": None, **kept}


@pytest.mark.parametrize(("original", "patch", "result"), RFC_7396)
def test_merge_patch_gives_the_results_of_rfc_7396(patched: Records, original: Any, patch: Any, result: Any) -> None:
    patched.create("m-1", original)
    assert content_of(patched.patch("m-1", patch, strategy=MERGE_PATCH).record) == result
    assert patched.content("m-1") == result


@pytest.mark.parametrize(("original", "patch", "result"), [*RFC_7396, *RFC_7396_NESTED])
def test_merge_patch_gives_the_results_of_rfc_7396_below_the_root(
    patched: Records, original: Any, patch: Any, result: Any
) -> None:
    patched.create("m-1", {"at": original, "kept": None})
    assert content_of(patched.patch("m-1", {"at": patch}, strategy=MERGE_PATCH).record) == {"at": result, "kept": None}


def test_merge_patch_removes_fields(patched: Records) -> None:
    patched.create("m-1", DOCUMENT)
    answer = patched.patch("m-1", {"title": None, "config": {"ui": None}, "unknown": None}, strategy=MERGE_PATCH)
    assert patched.content("m-1") == {"metadata": DOCUMENT["metadata"], "config": {"api": {"url": "u"}}, "none": None}
    assert list(answer.changed_fields) == ["config", "title"]


def test_replace_makes_the_delta_the_content(patched: Records) -> None:
    patched.create("m-1", DOCUMENT)
    answer = patched.patch("m-1", {"title": "A", "x": []}, strategy=REPLACE)
    assert patched.content("m-1") == {"title": "A", "x": []}
    assert list(answer.changed_fields) == ["config", "metadata", "none", "x"]
    assert patched.patch("m-1", {}, strategy=REPLACE).record.content.json == "{}"


@pytest.mark.parametrize("strategy", [SHALLOW, DEEP, MERGE_PATCH])
@pytest.mark.parametrize("delta", [{}, {"title": "A"}, {"n": 1}])
def test_patch_that_changes_nothing_writes_nothing(patched: Records, strategy: int, delta: Any) -> None:
    created = patched.create("m-1", {**DOCUMENT, "n": 1}, response_encoding=types_pb2.ENCODING_JSON)
    answer = patched.patch("m-1", delta, strategy=strategy)
    assert answer.record == created
    assert not answer.changed_fields
    assert patched.get("m-1") == created


def test_equal_number_in_another_spelling_changes_nothing(patched: Records) -> None:
    patched.create("m-1", '{"n": 1.50, "i": 100}')
    answer = patched.patch("m-1", '{"n": 1.5, "i": 1e2}')
    assert (answer.record.version, list(answer.changed_fields)) == (1, [])


def test_changed_fields_are_those_whose_values_changed(patched: Records) -> None:
    patched.create("m-1", {"a": {"x": 1, "y": 2}, "b": [1, 2], "ä": 1, "Z": 1})
    answer = patched.patch("m-1", {"a": {"y": 2, "x": 1}, "b": [2, 1], "ä": True, "Z": 2, "😀": 0})
    assert list(answer.changed_fields) == ["Z", "b", "ä", "😀"]


def test_parent_and_position_are_patched_alone(patched: Records) -> None:
    patched.create("m-1", {"a": 1}, parent_id="p", position=1)
    answer = patched.patch("m-1", parent_id="q")
    assert (answer.record.parent_id, answer.record.position, answer.record.version) == ("q", 1, 2)
    answer = patched.patch("m-1", position=-(2**63))
    assert (answer.record.parent_id, answer.record.position, answer.record.version) == ("q", -(2**63), 3)
    assert not answer.changed_fields
    answer = patched.patch("m-1", parent_id="", position=0)
    assert not answer.record.HasField("parent_id")
    assert (answer.record.position, answer.record.version) == (0, 4)
    assert patched.patch("m-1", parent_id="", position=0).record.version == 4
    assert same(patched.get("m-1"), answer.record)
    assert patched.content("m-1") == {"a": 1}


def test_parent_position_and_delta_go_together(patched: Records) -> None:
    patched.create("m-1", {"a": 1})
    record = patched.patch("m-1", {"b": 2}, parent_id="p", position=9).record
    assert (content_of(record), record.parent_id, record.position) == ({"a": 1, "b": 2}, "p", 9)
    assert record.version == 2


def test_text_of_every_plane_is_patched_exactly(patched: Records) -> None:
    planes = {f"{p:x}": chr(0x10000 * p + 0x41) + chr(0x10000 * p + 0xFF5E) for p in range(17)}
    odd = {'"': '\\"', "\\": "\\\\", "'": "''; DROP TABLE record; --", "🎬": "👩‍👩‍👧‍👦", "\t": "\x7f"}
    patched.create("m-1", {"a": 1})
    patched.patch("m-1", {**planes, **odd})
    assert patched.content("m-1") == {"a": 1, **planes, **odd}
    patched.patch("m-1", {"in": {**planes, **odd}}, strategy=DEEP)
    patched.patch("m-1", {"in": dict.fromkeys(odd)}, strategy=MERGE_PATCH)
    assert patched.content("m-1")["in"] == planes


@pytest.mark.parametrize("strategy", [SHALLOW, DEEP, MERGE_PATCH, REPLACE])
def test_long_numbers_are_patched_exactly(patched: Records, strategy: int) -> None:
    integer, decimal = int("1234567890" * 3), Decimal("1.2345678901234567890123456789012345678901")
    patched.create("m-1", f'{{"kept": {integer}}}')
    patched.patch("m-1", f'{{"i": {integer + 1}, "in": {{"d": {decimal}}}}}', strategy=strategy)
    kept = {} if strategy == REPLACE else {"kept": integer}
    assert patched.content("m-1") == {"i": integer + 1, "in": {"d": decimal}, **kept}
    answer = patched.patch("m-1", f'{{"i": {integer + 2}}}')
    assert list(answer.changed_fields) == ["i"]


def test_delta_may_be_a_struct(patched: Records) -> None:
    patched.create("m-1", DOCUMENT)
    request = content_pb2.PatchContentRequest(**patched.ids("m-1"), delta=struct({"n": 3, "title": None}))
    record = patched.stub.PatchContent(request).record
    assert record.content.WhichOneof("encoding") == "struct"
    assert content_of(record) == {**DOCUMENT, "n": 3, "title": None}
    assert '"n": 3,' in patched.get("m-1").content.json


def test_stale_expected_version_is_aborted_with_the_current_one(patched: Records) -> None:
    patched.create("m-1", {"a": 1})
    patched.patch("m-1", {"a": 2}, expected_version=1)
    for stale in (0, 1, 3, 2**63 - 1):
        refusal = refused(patched.stub.PatchContent, patched.patching("m-1", {"a": 3}, expected_version=stale))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "VERSION_MISMATCH")
        assert refusal.metadata["current_version"] == "2"
    assert patched.content("m-1") == {"a": 2}


def test_unmet_condition_is_a_failed_precondition(patched: Records) -> None:
    patched.create("m-1", {"owner": "ada", "stock": 3, "tags": ["a"]}, parent_id="p")
    for condition in ('owner = "bob"', "stock < 3", "record.version = 2", 'tags:"b"', "unknown = 1"):
        refusal = refused(patched.stub.PatchContent, patched.patching("m-1", {"stock": 0}, condition=condition))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONDITION_NOT_MET")
    assert patched.get("m-1").version == 1
    condition = 'owner = "ada" AND stock >= 3 AND tags:"a" AND record.parent_id = "p" AND record.version = 1'
    assert patched.patch("m-1", {"stock": 0}, condition=condition).record.version == 2
    refusal = refused(patched.stub.PatchContent, patched.patching("m-1", {}, condition="stock > 0"))
    assert refusal.reason == "CONDITION_NOT_MET"


def test_patch_of_what_is_not_there_is_not_found(patched: Records) -> None:
    refusal = refused(patched.stub.PatchContent, patched.patching("m-1", {"a": 1}))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "RECORD_NOT_FOUND")
    patched.create("m-1", {"a": 1})
    patched.delete("m-1")
    for allow_missing in (False, True):
        request = patched.patching("m-1", {"a": 2}, allow_missing=allow_missing)
        refusal = refused(patched.stub.PatchContent, request)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "RECORD_DELETED")
    assert json.loads(patched.get("m-1", show_deleted=True).content.json) == {"a": 1}


def test_patch_that_may_create_starts_from_the_empty_object(patched: Records) -> None:
    answer = patched.patch("m-1", {"b": None, "a": 1}, allow_missing=True, parent_id="p", position=4)
    assert (answer.record.version, content_of(answer.record)) == (1, {"a": 1, "b": None})
    assert (answer.record.parent_id, answer.record.position) == ("p", 4)
    assert list(answer.changed_fields) == ["a", "b"]
    assert same(patched.get("m-1"), answer.record)
    assert patched.patch("m-1", {"a": 2}, allow_missing=True).record.version == 2
    merged = patched.patch("m-2", {"a": None, "b": {"c": None}}, allow_missing=True, strategy=MERGE_PATCH)
    assert content_of(merged.record) == {"b": {}}
    assert patched.patch("m-3", allow_missing=True, position=1).record.content.json == "{}"


def test_patch_that_may_create_keeps_its_preconditions(patched: Records) -> None:
    request = patched.patching("m-1", {"a": 1}, allow_missing=True, expected_version=1)
    refusal = refused(patched.stub.PatchContent, request)
    assert (refusal.reason, refusal.metadata["current_version"]) == ("VERSION_MISMATCH", "0")
    request = patched.patching("m-1", {"a": 1}, allow_missing=True, condition="NOT a = 2")
    assert refused(patched.stub.PatchContent, request).reason == "CONDITION_NOT_MET"
    assert patched.is_missing("m-1")
    assert patched.patch("m-1", {"a": 1}, allow_missing=True, expected_version=0).record.version == 1


def test_validate_only_patch_answers_and_writes_nothing(patched: Records) -> None:
    patched.create("m-1", {"a": 1})
    answer = patched.patch("m-1", {"b": 2}, validate_only=True)
    assert (answer.record.version, list(answer.changed_fields)) == (2, ["b"])
    assert content_of(answer.record) == {"a": 1, "b": 2}
    assert patched.content("m-1") == {"a": 1}
    assert patched.patch("m-2", {"b": 2}, validate_only=True, allow_missing=True).record.version == 1
    assert patched.is_missing("m-2")
    request = patched.patching("m-1", {"n": nested(32)}, validate_only=True)
    assert refused(patched.stub.PatchContent, request).reason == "DOCUMENT_TOO_LARGE"


def test_patch_takes_the_user_and_the_time(patched: Records) -> None:
    created = patched.create("m-1", {"a": 1})
    request = content_pb2.PatchContentRequest(**patched.ids("m-1"), delta=document({"a": 2}))
    record = patched.stub.PatchContent(request, metadata=(("x-draftline-user", "ada"),)).record
    assert (record.created_by, record.updated_by) == ("dev", "ada")
    assert record.create_time == created.create_time
    assert record.update_time.ToNanoseconds() > created.update_time.ToNanoseconds()
