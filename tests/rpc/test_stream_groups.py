"""Patches of a stream that arrive together: each has the outcome that its call would have."""

from __future__ import annotations

import itertools
import queue
import uuid
from typing import Any

import grpc
from draftline.v1 import collection_pb2, content_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.responses import TIMEOUT_S, Records, content_of, refusal_in, refusal_of, steps
from support.soak_scale import examples

Item = content_pb2.StreamPatchesItem
_examples = itertools.count()
SCHEMA = '{"properties": {"n": {"type": "integer", "maximum": 3}}}'

IDS = st.sampled_from(["a", "b", "c", "missing", ""])
CHANGES = st.one_of(
    st.builds(lambda n: {"delta": {"n": n}}, st.integers(0, 5)),
    st.sampled_from([
        {"delta": "[1]"},
        {"delta": {"s": "x" * 9}},
        {},
        {"operations": steps({"op": "increment", "path": "/n", "value": 1})},
        {"operations": steps({"op": "test", "path": "/n", "value": 1})},
    ]),
)  # fmt: skip
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "expected_version": st.integers(-1, 2),
        "condition": st.sampled_from(["n < 2", "n = "]),
        "allow_missing": st.booleans(),
        "validate_only": st.booleans(),
        "fields": st.just(["n"]),
        "number": st.integers(0, 2),  # of the request id
    },
)
PATCHES = st.lists(st.tuples(IDS, st.sampled_from(["films", "checked"]), CHANGES, OPTIONS), min_size=1, max_size=12)


def request_of(records: Records, drawn: Any) -> content_pb2.PatchContentRequest:
    record_id, collection, change, options = drawn
    options = dict(options)
    number = options.pop("number", None)
    if number is not None:  # ids are reused only for the same record, whose patches keep their order
        name = f"{records.tenant_id} {collection} {record_id} {number}"
        options["request_id"] = str(uuid.uuid5(uuid.NAMESPACE_OID, name)).upper()
    return Records(records.stub, records.tenant_id, collection).patching(record_id, **change, **options)


def shown(code: int, refusal: Any, response: Any) -> Any:
    if code:
        return refusal.code, refusal.reason, refusal.message, dict(refusal.fields)
    record = response.record
    content = content_of(record) if record.HasField("content") else None
    return record.record_id, record.version, content, list(response.changed_fields)


def called(records: Records, request: content_pb2.PatchContentRequest) -> Any:
    try:
        return shown(0, None, records.stub.PatchContent(request, timeout=TIMEOUT_S))
    except grpc.RpcError as error:
        return shown(1, refusal_of(error), None)


@settings(max_examples=examples(6), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=PATCHES)
def test_streamed_patches_have_the_outcomes_of_calls(records: Records, collection_stub: Any, drawn: Any) -> None:
    sides = [Records(records.stub, f"{records.tenant_id}-{next(_examples)}") for _ in range(2)]
    for side in sides:
        put = collection_pb2.PutCollectionRequest(tenant_id=side.tenant_id, collection="checked", json_schema=SCHEMA)
        collection_stub.PutCollection(put, timeout=TIMEOUT_S)
        for name, collection in itertools.product("ab", ("films", "checked")):
            Records(side.stub, side.tenant_id, collection).create(name, {"n": 0})
    streamed, single = ([request_of(side, each) for each in drawn] for side in sides)
    message = content_pb2.StreamPatchesRequest(items=[Item(patch=patch) for patch in streamed])
    found: dict[int, Any] = {}
    for response in sides[0].stub.StreamPatches(iter([message]), timeout=TIMEOUT_S):
        for result in response.results:
            refusal = refusal_in(result.status) if result.status.code else None
            found[result.index] = shown(result.status.code, refusal, result)
    assert [found[index] for index in range(len(drawn))] == [called(sides[1], each) for each in single]


def test_patch_of_a_locked_record_does_not_delay_the_others_of_its_message(
    records: Records, server: Any, locked_record: Any
) -> None:
    for name in ("a", "held", "b"):
        records.create(name, {"n": 1})
    sent: queue.Queue[Any] = queue.Queue()
    sent.put(content_pb2.StreamPatchesRequest(
        items=[Item(patch=records.patching(name, {"n": 2})) for name in ("a", "held", "b")]
    ))  # fmt: skip
    with locked_record(server.url, "held", records.tenant_id):
        call = records.stub.StreamPatches(iter(sent.get, None), timeout=TIMEOUT_S)
        found: set[int] = set()
        while len(found) < 2:
            found |= {result.index for result in next(call).results}
        assert found == {0, 2}
    sent.put(None)
    assert [result.index for response in call for result in response.results] == [1]
    assert records.content("held") == {"n": 2}
