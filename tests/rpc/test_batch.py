"""Many patches in one call: all or none, or each on its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from draftline.v1 import collection_pb2, content_pb2, types_pb2
from support.responses import INVALID, TIMEOUT_S, Records, content_of, exact, refusal_in, refused, steps


def batch(records: Records, *requests: Any, **options: Any) -> content_pb2.BatchPatchContentRequest:
    return content_pb2.BatchPatchContentRequest(tenant_id=records.tenant_id, requests=requests, **options)


def sent(records: Records, *requests: Any, **options: Any) -> Any:
    return records.stub.BatchPatchContent(batch(records, *requests, **options), timeout=TIMEOUT_S).results


def contents(records: Records, *record_ids: str) -> list[Any]:
    return [records.content(record_id) for record_id in record_ids]


def test_patches_are_answered_in_their_order(patched: Records) -> None:
    for name in "abc":
        patched.create(name, {"n": name})
    results = sent(
        patched,
        patched.patching("c", {"x": 1}),
        patched.patching("a", operations=steps({"op": "increment", "path": "/y", "value": 2})),
        patched.patching("b", {"n": "b"}),
        patched.patching("new", {"z": 3}, allow_missing=True),
        patched.patching("b2", position=7, allow_missing=True, response_encoding=types_pb2.ENCODING_STRUCT),
    )
    assert [result.status.code for result in results] == [0] * 5
    assert [result.record.record_id for result in results] == ["c", "a", "b", "new", "b2"]
    assert [result.record.version for result in results] == [2, 2, 1, 1, 1]
    assert [list(result.changed_fields) for result in results] == [["x"], ["y"], [], ["z"], []]
    assert [content_of(result.record) for result in results[:2]] == [{"n": "c", "x": 1}, {"n": "a", "y": 2}]
    assert results[4].record.content.WhichOneof("encoding") == "struct"
    assert contents(patched, "a", "b", "c", "new") == [{"n": "a", "y": 2}, {"n": "b"}, {"n": "c", "x": 1}, {"z": 3}]


FAILING: dict[str, tuple[dict[str, Any], grpc.StatusCode, str]] = {
    "missing": ({"delta": {"x": 1}}, grpc.StatusCode.NOT_FOUND, "RECORD_NOT_FOUND"),
    "stale": ({"delta": {"x": 1}, "expected_version": 7}, grpc.StatusCode.ABORTED, "VERSION_MISMATCH"),
    "unmet": ({"delta": {}, "condition": "a = 7"}, grpc.StatusCode.FAILED_PRECONDITION, "CONDITION_NOT_MET"),
    "test": (
        {"operations": steps({"op": "test", "path": "/a", "value": 7})},
        grpc.StatusCode.FAILED_PRECONDITION,
        "TEST_FAILED",
    ),
    "operation": ({"operations": steps({"op": "remove", "path": "/x"})}, INVALID, "INVALID_OPERATION"),
    "large": ({"delta": {"x": "x" * (1024 * 1024 - 10)}}, INVALID, "DOCUMENT_TOO_LARGE"),
    "json": ({"delta": "{"}, INVALID, "INVALID_DOCUMENT"),
    "filter": ({"delta": {}, "condition": "a ="}, INVALID, "INVALID_FILTER"),
    "nothing": ({}, INVALID, "INVALID_FIELD"),
}


@pytest.mark.parametrize("name", FAILING)
def test_batch_with_a_failing_patch_writes_nothing(patched: Records, name: str) -> None:
    parts, code, reason = FAILING[name]
    patched.create("a", {"a": 1})
    if name != "missing":
        patched.create(name, {"a": 1})
    requests = [
        patched.patching("a", {"a": 2}),
        patched.patching("new", {"a": 2}, allow_missing=True),
        patched.patching(name, **parts),
        patched.patching("b", {"a": 2}, allow_missing=True),
    ]
    refusal = refused(patched.stub.BatchPatchContent, batch(patched, *requests))
    assert (refusal.code, refusal.reason) == (code, reason)
    assert refusal.message.startswith("requests[2]: ")
    assert all(field.startswith("requests[2].") for field in refusal.fields)
    assert bool(refusal.fields) == (code is INVALID)
    assert contents(patched, "a") == [{"a": 1}]
    assert patched.is_missing("new")
    assert patched.is_missing("b")


def test_partial_batch_tells_of_each_patch_what_became_of_it(patched: Records) -> None:
    for name in ("a", *FAILING):
        if name != "missing":
            patched.create(name, {"a": 1})
    requests = [patched.patching("a", {"a": 2})]
    requests += [patched.patching(name, **parts) for name, (parts, _, _) in FAILING.items()]
    requests += [patched.patching("z", {"a": 2}, allow_missing=True)]
    results = sent(patched, *requests, allow_partial=True)
    assert [results[0].status.code, results[-1].status.code] == [0, 0]
    for place, (name, (_, code, reason)) in enumerate(FAILING.items(), start=1):
        result = results[place]
        refusal = refusal_in(result.status)
        assert (refusal.code, refusal.reason) == (code, reason)
        assert refusal.message.startswith(f"requests[{place}]: ")
        assert all(field.startswith(f"requests[{place}].") for field in refusal.fields)
        assert bool(refusal.fields) == (code is INVALID)
        assert not result.HasField("record")
        assert not result.changed_fields
        if name != "missing":
            assert patched.get(name).version == 1
    assert refusal_in(results[2].status).metadata["current_version"] == "1"
    assert contents(patched, "a", "z") == [{"a": 2}, {"a": 2}]


def test_partial_batch_of_failures_alone_is_answered(patched: Records) -> None:
    results = sent(patched, patched.patching("m-1", {"a": 1}), patched.patching("m-2", "{"), allow_partial=True)
    assert [refusal_in(result.status).reason for result in results] == ["RECORD_NOT_FOUND", "INVALID_DOCUMENT"]


@pytest.mark.parametrize("allow_partial", [False, True])
def test_record_that_stands_twice_is_refused(patched: Records, allow_partial: bool) -> None:
    patched.create("a", {})
    requests = [patched.patching("b", {"n": 1}, allow_missing=True), patched.patching("a", {"n": 1})]
    request = batch(patched, *requests, patched.patching("b", position=1), allow_partial=allow_partial)
    refusal = refused(patched.stub.BatchPatchContent, request)
    assert (refusal.code, refusal.reason) == (INVALID, "DUPLICATE_RECORD")
    assert (refusal.metadata["record_id"], [*refusal.fields]) == ("b", ["requests[2].record_id"])
    assert contents(patched, "a") == [{}]
    assert patched.is_missing("b")


def test_batch_of_another_tenants_record_is_refused(patched: Records) -> None:
    other = Records(patched.stub, f"{patched.tenant_id}-other")
    other.create("a", {"a": 1})
    request = batch(patched, patched.patching("b", {}, allow_missing=True), other.patching("a", {"a": 2}))
    request.allow_partial = True
    refusal = refused(patched.stub.BatchPatchContent, request)
    assert (refusal.code, [*refusal.fields]) == (INVALID, ["requests[1].tenant_id"])
    assert other.content("a") == {"a": 1}
    assert patched.is_missing("b")


def test_preview_of_one_patch_of_a_batch_is_refused(patched: Records) -> None:
    request = batch(patched, patched.patching("a", {}, allow_missing=True, validate_only=True))
    assert [*refused(patched.stub.BatchPatchContent, request).fields] == ["requests[0].validate_only"]
    assert patched.is_missing("a")


@pytest.mark.parametrize(("count", "problem"), [(0, "at least 1"), (1001, "1000")])
def test_batch_of_too_few_or_too_many_is_refused(patched: Records, count: int, problem: str) -> None:
    requests = [patched.patching(f"m-{n}", {}, allow_missing=True) for n in range(count)]
    refusal = refused(patched.stub.BatchPatchContent, batch(patched, *requests))
    assert (refusal.code, refusal.reason, [*refusal.fields]) == (INVALID, "INVALID_FIELD", ["requests"])
    assert problem in refusal.fields["requests"]
    assert patched.is_missing("m-0")


def test_largest_batch_is_applied(patched: Records) -> None:
    names = [f"m-{n}" for n in range(1000)]
    created = sent(patched, *(patched.patching(name, {"n": 1}, allow_missing=True) for name in names))
    assert {result.record.version for result in created} == {1}
    increment = steps({"op": "increment", "path": "/n", "value": 1})
    results = sent(patched, *(patched.patching(name, operations=increment) for name in reversed(names)))
    assert [result.record.record_id for result in results] == names[::-1]
    assert {exact(result.record.content.json)["n"] for result in results} == {2}


def test_batch_may_span_collections(patched: Records) -> None:
    books = Records(patched.stub, patched.tenant_id, "books")
    patched.create("a", {"film": 1})
    books.create("a", {"book": 1})
    results = sent(patched, books.patching("a", {"x": 1}), patched.patching("a", {"x": 2}))
    assert [result.record.collection for result in results] == ["books", "films"]
    assert (patched.content("a"), books.content("a")) == ({"film": 1, "x": 2}, {"book": 1, "x": 1})


def test_validate_only_batch_answers_and_writes_nothing(patched: Records) -> None:
    patched.create("a", {"n": 1})
    requests = [patched.patching("a", {"n": 2}), patched.patching("b", {"n": 2}, allow_missing=True)]
    results = sent(patched, *requests, validate_only=True)
    assert [result.record.version for result in results] == [2, 1]
    failing = patched.patching("c", {"n": 2})
    results = sent(patched, *requests, failing, validate_only=True, allow_partial=True)
    assert [result.status.code for result in results] == [0, 0, grpc.StatusCode.NOT_FOUND.value[0]]
    request = batch(patched, *requests, failing, validate_only=True)
    assert refused(patched.stub.BatchPatchContent, request).reason == "RECORD_NOT_FOUND"
    assert patched.content("a") == {"n": 1}
    assert patched.is_missing("b")


def test_partial_batch_keeps_what_satisfies_the_schema(patched: Records, patching_collection_stub: Any) -> None:
    put = collection_pb2.PutCollectionRequest(
        tenant_id=patched.tenant_id, collection="films", json_schema='{"properties": {"n": {"maximum": 9}}}'
    )
    patching_collection_stub.PutCollection(put, timeout=TIMEOUT_S)
    patched.create("a", {"n": 1})
    patched.create("b", {"n": 8})
    increment = steps({"op": "increment", "path": "/n", "value": 5})
    requests = [patched.patching(name, operations=increment) for name in ("a", "b")]
    refusal = refused(patched.stub.BatchPatchContent, batch(patched, *requests))
    assert (refusal.reason, refusal.metadata["path"]) == ("SCHEMA_VIOLATION", "/n")
    assert refusal.message.startswith("requests[1]: ")
    assert contents(patched, "a", "b") == [{"n": 1}, {"n": 8}]
    results = sent(patched, *requests, allow_partial=True)
    assert results[0].record.version == 2
    assert refusal_in(results[1].status).reason == "SCHEMA_VIOLATION"
    assert contents(patched, "a", "b") == [{"n": 6}, {"n": 8}]


def test_overlapping_batches_in_opposite_orders_are_all_applied(patched: Records) -> None:
    names = [f"m-{n}" for n in range(40)]
    increment = steps({"op": "increment", "path": "/n", "value": 1})

    def send(caller: int) -> None:
        for _ in range(5):
            order = names if caller % 2 else names[::-1]
            sent(patched, *(patched.patching(name, operations=increment, allow_missing=True) for name in order))

    with ThreadPoolExecutor(8) as callers:
        list(callers.map(send, range(8)))
    assert [patched.content(name) for name in names] == [{"n": 40}] * 40
    assert {patched.get(name).version for name in names} == {40}
