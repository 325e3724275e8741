"""Bytes that no client library would send are answered as any other mistake."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from draftline.v1 import collection_pb2, content_pb2, types_pb2
from draftline_server.rpc.server import SERVICES
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from support.authenticated_server import TENANT_METHODS
from support.responses import INVALID, TIMEOUT_S, Records, content_of, document, refusal_of, steps

METHODS: list[MethodDescriptor] = [method for service in SERVICES for method in service.methods]
UNDECODABLE = {
    "text": b"no protobuf",
    "cut off": b"\x0a\x7fabc",
    "endless varint": b"\xff" * 12,
    "field 0": b"\x00\x01",
    "end of no group": b"\x0c",
    "no UTF-8": b"\x0a\x02\xff\xfe",
    "reserved wire type": b"\x0e\x01",
    "200 groups deep": b"\x7b" * 200 + b"\x7c" * 200,
}


def raw(channel: grpc.Channel, method: MethodDescriptor) -> Any:
    """The method as a call of bytes that answers bytes."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    if method.server_streaming:
        many = channel.unary_stream(path)
        return lambda data, **options: list(many(data, **options))
    if not method.client_streaming:
        return channel.unary_unary(path)
    call = channel.stream_unary(path)
    return lambda data, **options: call(iter([data]), **options)


def refused_bytes(channel: grpc.Channel, method: MethodDescriptor, data: bytes, **options: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        raw(channel, method)(data, timeout=TIMEOUT_S, **options)
    return refusal_of(caught.value)


def method_named(name: str) -> MethodDescriptor:
    return next(method for method in METHODS if method.name == name)


@pytest.mark.parametrize("name", UNDECODABLE)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_bytes_that_do_not_decode_are_refused(grpc_channel: grpc.Channel, method: MethodDescriptor, name: str) -> None:
    refusal = refused_bytes(grpc_channel, method, UNDECODABLE[name])
    assert (refusal.code, refusal.reason) == (INVALID, "UNDECODABLE_REQUEST")
    assert refusal.message == f"the request is not a valid {method.input_type.full_name}"


FIRST_FIELDS = {"ImportContent": "part", "StreamPatches": "items"}


@pytest.mark.parametrize("method", TENANT_METHODS, ids=lambda method: method.name)
def test_empty_request_is_refused_by_its_fields(grpc_channel: grpc.Channel, method: MethodDescriptor) -> None:
    refusal = refused_bytes(grpc_channel, method, b"")
    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_FIELD")
    assert FIRST_FIELDS.get(method.name, "tenant_id") in refusal.fields


def test_bytes_that_do_not_decode_break_an_import_in_the_middle(grpc_channel: grpc.Channel, records: Records) -> None:
    header = content_pb2.ImportHeader(tenant_id=records.tenant_id, collection="films")
    chunk = content_pb2.ImportChunk(records=[content_pb2.ImportRecord(record_id="m-1", content=document({}))])
    stream = [
        content_pb2.ImportContentRequest(header=header).SerializeToString(),
        content_pb2.ImportContentRequest(chunk=chunk).SerializeToString(),
        b"no protobuf",
    ]
    with pytest.raises(grpc.RpcError) as caught:
        grpc_channel.stream_unary("/draftline.v1.ContentService/ImportContent")(iter(stream), timeout=TIMEOUT_S)
    assert refusal_of(caught.value).reason == "UNDECODABLE_REQUEST"
    assert records.is_missing("m-1")


def _both() -> Iterator[tuple[str, str, Any]]:
    """(rpc, the oneof as it is told, makes bytes with two of its members from the fields of a record's identity)"""
    patch, delta = content_pb2.PatchContentRequest, document({"a": 2})
    operations = steps({"op": "add", "path": "/a", "value": 3})
    two_forms = delta.SerializeToString() + types_pb2.Document(struct={"a": 4}).SerializeToString()

    def of_patch(ids: dict[str, str]) -> bytes:
        return patch(**ids, delta=delta).SerializeToString() + patch(operations=operations).SerializeToString()

    def of_document(ids: dict[str, str]) -> bytes:
        return patch(**ids).SerializeToString() + _field(4, two_forms)

    def of_value(ids: dict[str, str]) -> bytes:
        value = types_pb2.JsonValue(json="1").SerializeToString() + types_pb2.JsonValue(value=None).SerializeToString()
        value += _field(1, b"\x20\x01")
        operation = types_pb2.Operation(op="add", path="/a").SerializeToString() + _field(4, value)
        return patch(**ids).SerializeToString() + _field(5, _field(1, operation))

    def of_batch(ids: dict[str, str]) -> bytes:
        batch = content_pb2.BatchPatchContentRequest(tenant_id=ids["tenant_id"])
        batch.requests.add(**{**ids, "record_id": "m-0"}, delta=delta, allow_missing=True)
        return batch.SerializeToString() + _field(2, of_patch(ids))

    def of_creation(ids: dict[str, str]) -> bytes:
        return content_pb2.CreateContentRequest(**ids).SerializeToString() + _field(4, two_forms)

    yield "PatchContent", "change", of_patch
    yield "PatchContent", "delta.encoding", of_document
    yield "PatchContent", "operations.operations[0].value.encoding", of_value
    yield "BatchPatchContent", "requests[1].change", of_batch
    yield "CreateContent", "content.encoding", of_creation


def _field(number: int, payload: bytes) -> bytes:
    length, size = b"", len(payload)
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + payload


@pytest.mark.parametrize(("name", "oneof", "make"), list(_both()), ids=[f"{n}.{o}" for n, o, _ in _both()])
def test_two_members_of_a_oneof_are_refused(
    grpc_channel: grpc.Channel, records: Records, name: str, oneof: str, make: Any
) -> None:
    records.create("m-1", {"a": 1})
    data = make(records.ids("m-1"))
    request_type = message_factory.GetMessageClass(method_named(name).input_type)
    assert request_type.FromString(data) is not None  # which protobuf takes without a word
    refusal = refused_bytes(grpc_channel, method_named(name), data)
    assert (refusal.code, refusal.reason, [*refusal.fields]) == (INVALID, "INVALID_FIELD", [oneof])
    assert "only one of" in refusal.fields[oneof]
    assert records.content("m-1") == {"a": 1}
    assert records.is_missing("m-0")


def test_fields_that_nobody_knows_are_ignored(grpc_channel: grpc.Channel, records: Records) -> None:
    unknown = _field(15, b"what a later version may say") + b"\xf8\x7f\x01" + b"\xf9\x7f" + struct.pack("<d", 1.0)
    creation = records.creation("m-1", {"a": 1}).SerializeToString() + unknown
    raw(grpc_channel, method_named("CreateContent"))(creation, timeout=TIMEOUT_S)
    request = records.patching("m-1", {"b": 2}).SerializeToString() + b"\xa3\x06\x08\x01\xa4\x06"  # a group
    raw(grpc_channel, method_named("PatchContent"))(request, timeout=TIMEOUT_S)
    assert records.content("m-1") == {"a": 1, "b": 2}


@pytest.mark.parametrize("number", [99, 2**31 - 1, -1, -(2**31)])
def test_unknown_enum_numbers_are_refused(records: Records, collection_stub: Any, number: int) -> None:
    ids, stub = records.ids("m-1"), records.stub
    header = content_pb2.ImportHeader(tenant_id=records.tenant_id, collection="films", mode=number)
    patches = [content_pb2.PatchContentRequest(**ids, delta=document({}), strategy=number)]
    put = collection_pb2.PutCollectionRequest(tenant_id=records.tenant_id, collection="films")
    put.fields.add(path="/a", type=number)
    requests = [
        (stub.CreateContent, records.creation("m-1", {}, response_encoding=number), "response_encoding"),
        (stub.GetContent, content_pb2.GetContentRequest(**ids, response_encoding=number), "response_encoding"),
        (stub.PatchContent, patches[0], "strategy"),
        (
            stub.BatchPatchContent,
            content_pb2.BatchPatchContentRequest(tenant_id=records.tenant_id, requests=patches),
            "requests[0].strategy",
        ),
        (stub.DeleteContent, content_pb2.DeleteContentRequest(**ids, response_encoding=number), "response_encoding"),
        (stub.ImportContent, iter([content_pb2.ImportContentRequest(header=header)]), "header.mode"),
        (collection_stub.PutCollection, put, "fields[0].type"),
    ]  # fmt: skip
    for method, request, field in requests:
        with pytest.raises(grpc.RpcError) as caught:
            method(request, timeout=TIMEOUT_S)
        refusal = refusal_of(caught.value)
        assert (refusal.code, refusal.reason, [*refusal.fields]) == (INVALID, "INVALID_FIELD", [field])
    assert records.is_missing("m-1")


@pytest.mark.parametrize("users", [[""], ["x" * 129], ["ada", "bob"]])
def test_user_that_cannot_be_is_refused(records: Records, users: list[str]) -> None:
    metadata = tuple(("x-draftline-user", user) for user in users)
    try:
        records.stub.CreateContent(records.creation("m-1", {}), metadata=metadata, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        refusal = refusal_of(error)
        assert (refusal.code, refusal.reason, [*refusal.fields]) == (INVALID, "INVALID_FIELD", ["x-draftline-user"])
        assert records.is_missing("m-1")
    else:
        pytest.fail("it was taken")


@pytest.mark.parametrize("user", ["x" * 128, "ada lovelace", "ada@example.org", "'; --"])
def test_user_of_printable_characters_is_kept(records: Records, user: str) -> None:
    metadata = (("x-draftline-user", user),)
    record = records.stub.CreateContent(records.creation("m-1", {}), metadata=metadata, timeout=TIMEOUT_S).record
    assert record.created_by == user


def test_huge_metadata_is_refused_and_the_channel_goes_on(grpc_channel: grpc.Channel, records: Records) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        records.stub.CreateContent(
            records.creation("m-1", {}), metadata=(("x-large", "x" * 100_000),), timeout=TIMEOUT_S
        )
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert records.is_missing("m-1")


def test_error_about_long_text_of_any_script_still_reaches_the_caller(records: Records, collection_stub: Any) -> None:
    key = "🎬" * 400
    schema = f'{{"properties": {{"{key}": {{"maxLength": 1}}}}}}'
    declared = collection_pb2.PutCollectionRequest(tenant_id=records.tenant_id, collection="films", json_schema=schema)
    collection_stub.PutCollection(declared, timeout=TIMEOUT_S)
    record_id = "🎬" * 128
    with pytest.raises(grpc.RpcError) as caught:
        records.stub.CreateContent(records.creation(record_id, {key: "🎬" * 1000}), timeout=TIMEOUT_S)
    assert refusal_of(caught.value).reason == "SCHEMA_VIOLATION"
    pointer = "/" + "%🎬" * 1000
    records.create(record_id, {"a": 1})
    for operation in ({"op": "test", "path": pointer, "value": 1}, {"op": "remove", "path": pointer}):
        with pytest.raises(grpc.RpcError) as caught:
            records.patch(record_id, operations=steps(operation))
        assert refusal_of(caught.value).reason in ("TEST_FAILED", "INVALID_OPERATION")
    assert content_of(records.get(record_id)) == {"a": 1}
