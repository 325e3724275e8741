"""Errors of invalid input name the field and the limit, and nothing is stored."""

from __future__ import annotations

from typing import Any

import pytest
from draftline.v1 import collection_pb2, content_pb2, types_pb2
from support.responses import INVALID, Records, document, nested, refused, steps, struct

MIB = 1024 * 1024

# Documents that cannot be stored: (document, reason, what is said of it)
BAD_DOCUMENTS: dict[str, tuple[types_pb2.Document, str, str]] = {
    "no JSON": (document("{a: 1}"), "INVALID_DOCUMENT", "not valid JSON"),
    "no text": (document(""), "INVALID_DOCUMENT", "not valid JSON"),
    "cut off": (document('{"a": [1, 2'), "INVALID_DOCUMENT", "not valid JSON"),
    "two": (document("{} {}"), "INVALID_DOCUMENT", "not valid JSON"),
    "byte order mark": (document("\ufeff{}"), "INVALID_DOCUMENT", "not valid JSON"),
    "raw control character": (document('{"a": "\x01"}'), "INVALID_DOCUMENT", "not valid JSON"),
    "raw U+0000": (document('{"a": "\0"}'), "INVALID_DOCUMENT", "not valid JSON"),
    "bad escape": (document('{"a": "\\x"}'), "INVALID_DOCUMENT", "not valid JSON"),
    "NaN": (document('{"a": NaN}'), "INVALID_DOCUMENT", "not valid JSON"),
    "infinity": (document('{"a": -Infinity}'), "INVALID_DOCUMENT", "not valid JSON"),
    "leading zero": (document('{"a": 01}'), "INVALID_DOCUMENT", "not valid JSON"),
    "array": (document("[]"), "INVALID_DOCUMENT", "must be a JSON object"),
    "null": (document("null"), "INVALID_DOCUMENT", "must be a JSON object"),
    "text": (document('"a"'), "INVALID_DOCUMENT", "must be a JSON object"),
    "U+0000": (document('{"a": "x\\u0000y"}'), "INVALID_DOCUMENT", "U+0000"),
    "U+0000 in a key": (document('{"x\\u0000": 1}'), "INVALID_DOCUMENT", "U+0000"),
    "U+0000 in a Struct": (struct({"a": ["\0"]}), "INVALID_DOCUMENT", "U+0000"),
    "U+0000 in a Struct's key": (struct({"\0": 1}), "INVALID_DOCUMENT", "U+0000"),
    "high surrogate": (document('{"a": "\\ud800"}'), "INVALID_DOCUMENT", "lone surrogates"),
    "low surrogate": (document('{"a": "\\udc00x"}'), "INVALID_DOCUMENT", "lone surrogates"),
    "surrogates the wrong way round": (document('{"a": "\\udc00\\ud800"}'), "INVALID_DOCUMENT", "lone surrogates"),
    "surrogate in a key": (document('{"\\ud83d": 1}'), "INVALID_DOCUMENT", "lone surrogates"),
    "NaN in a Struct": (struct({"a": {"b": float("nan")}}), "INVALID_DOCUMENT", "NaN or infinity"),
    "infinity in a Struct": (struct({"a": [float("inf")]}), "INVALID_DOCUMENT", "NaN or infinity"),
    "large exponent": (document('{"a": 1e131072}'), "INVALID_DOCUMENT", "at most 1000 digits"),
    "huge exponent": (document('{"a": 1E+999999999999999999999}'), "INVALID_DOCUMENT", ""),
    "small exponent": (document('{"a": 1e-16384}'), "INVALID_DOCUMENT", "at most 1000 digits"),
    "many digits": (document('{"a": 1' + "0" * 131_072 + "}"), "INVALID_DOCUMENT", "at most 1000 digits"),
    "many digits after": (document('{"a": 0.' + "1" * 1001 + "}"), "INVALID_DOCUMENT", "at most 1000 digits"),
    "digits and exponent": (document('{"a": ' + "9" * 999 + "e99}"), "INVALID_DOCUMENT", "at most 1000 digits"),
    "digits, point, exponent": (document('{"a": ' + "9" * 999 + ".5e99}"), "INVALID_DOCUMENT", "at most 1000 digits"),
    "digits after, exponent": (document('{"a": 0.' + "9" * 999 + "e-99}"), "INVALID_DOCUMENT", "at most 1000 digits"),
    "1,001 digits": (document('{"a": -' + "9" * 1001 + "}"), "INVALID_DOCUMENT", "at most 1000 digits"),
    "33 levels": (document(nested(33)), "DOCUMENT_TOO_LARGE", "at most 32 levels"),
    "33 levels of a Struct": (struct(nested(33)), "DOCUMENT_TOO_LARGE", "at most 32 levels"),
    "arrays": (document('{"a": ' + "[" * 32 + "]" * 32 + "}"), "DOCUMENT_TOO_LARGE", "at most 32 levels"),
    "100,000 levels": (document('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"), "DOCUMENT_TOO_LARGE", "32 levels"),
    "over 1 MiB": (document({"a": "x" * MIB}), "DOCUMENT_TOO_LARGE", str(MIB)),
    "over 1 MiB in UTF-8": (document({"a": "🎬" * (MIB // 4)}), "DOCUMENT_TOO_LARGE", str(MIB)),
    "over 1 MiB as a Struct": (struct({"a": "x" * MIB}), "DOCUMENT_TOO_LARGE", str(MIB)),
    "10,001 values": (document({"a": [0] * 9_999}), "DOCUMENT_TOO_LARGE", "at most 10000 values"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_DOCUMENTS)
def test_document_that_cannot_be_stored_is_refused_by_every_write(records: Records, name: str) -> None:
    bad, reason, problem = BAD_DOCUMENTS[name]
    records.create("m-1", {"a": "kept"})
    patch = content_pb2.PatchContentRequest(**records.ids("m-1"), delta=bad)
    creation = content_pb2.PatchContentRequest(**records.ids("m-2"), delta=bad, allow_missing=True)
    header = content_pb2.ImportHeader(tenant_id=records.tenant_id, collection="films")
    chunk = content_pb2.ImportChunk(
        records=[
            content_pb2.ImportRecord(record_id="m-1", content=document({"a": "replaced"})),
            content_pb2.ImportRecord(record_id="m-2", content=bad),
        ]
    )
    stream = [content_pb2.ImportContentRequest(header=header), content_pb2.ImportContentRequest(chunk=chunk)]
    batch = content_pb2.BatchPatchContentRequest(
        tenant_id=records.tenant_id, requests=[records.patching("m-1", {"a": 2}), creation]
    )
    calls = {
        "content": (
            records.stub.CreateContent,
            content_pb2.CreateContentRequest(**records.ids("m-2"), content=bad),
        ),
        "delta": (records.stub.PatchContent, patch),
        "requests[1].delta": (records.stub.BatchPatchContent, batch),
        "records[1].content": (records.stub.ImportContent, iter(stream)),
    }
    for field, (method, request) in calls.items():
        refusal = refused(method, request)
        assert (refusal.code, refusal.reason) == (INVALID, reason)
        (named,) = refusal.fields
        assert named in (field, f"{field}.json")
        assert problem in refusal.fields[named]
        if reason == "DOCUMENT_TOO_LARGE":
            assert refusal.metadata["limit"] in refusal.fields[named]
    assert records.content("m-1") == {"a": "kept"}
    assert records.get("m-1").version == 1
    assert records.is_missing("m-2")


# An operand may be any value, and stands so deep in the message that protobuf takes fewer levels of Struct.
BAD_OPERANDS = [
    name
    for name, (_, _, problem) in BAD_DOCUMENTS.items()
    if problem != "must be a JSON object" and name != "33 levels of a Struct"
]


@pytest.mark.parametrize("name", BAD_OPERANDS)
def test_operand_that_cannot_be_stored_is_refused(records: Records, name: str) -> None:
    bad, reason, _ = BAD_DOCUMENTS[name]
    records.create("m-1", {"a": "kept"})
    operations = types_pb2.OperationList()
    value = operations.operations.add(op="add", path="/b").value
    if bad.HasField("struct"):
        value.value.struct_value.CopyFrom(bad.struct)
    else:
        value.json = bad.json
    refusal = refused(records.stub.PatchContent, records.patching("m-1", operations=operations))
    assert (refusal.code, refusal.reason) == (INVALID, reason)
    assert next(iter(refusal.fields)).startswith("operations.operations[0].value")
    assert records.content("m-1") == {"a": "kept"}


def test_merge_that_goes_too_deep_is_refused(patched: Records) -> None:
    patched.create("m-1", {"a": nested(31)})
    too_deep = [
        patched.patching("m-1", {"b": nested(32)}),
        patched.patching("m-1", operations=steps({"op": "copy", "from": "/a", "path": "/a/n/b"})),
        patched.patching("m-1", operations=steps({"op": "add", "path": "/b", "value": nested(32)})),
    ]
    for request in too_deep:
        refusal = refused(patched.stub.PatchContent, request)
        assert (refusal.code, refusal.reason, refusal.metadata["limit"]) == (INVALID, "DOCUMENT_TOO_LARGE", "32")
        assert [problem for problem in refusal.fields.values() if "32 levels" in problem]
    assert patched.content("m-1") == {"a": nested(31)}
    deep: dict[str, Any] = {"x": 1}
    for _ in range(16):
        deep = {"n": deep}
    patched.create("m-2", {"n": nested(17)})
    refusal = refused(
        patched.stub.PatchContent,
        patched.patching("m-2", operations=steps({"op": "add", "path": "/n" * 17, "value": deep})),
    )
    assert (refusal.reason, refusal.metadata["limit"]) == ("DOCUMENT_TOO_LARGE", "32")


@pytest.mark.parametrize("strategy", ["SHALLOW", "DEEP", "MERGE_PATCH"])
def test_merge_that_grows_too_large_is_refused(patched: Records, strategy: str) -> None:
    half = "x" * (MIB // 2)
    patched.create("m-1", {"a": half})
    value = types_pb2.MergeStrategy.Value(f"MERGE_STRATEGY_{strategy}")
    refusal = refused(patched.stub.PatchContent, patched.patching("m-1", {"b": half}, strategy=value, fields=["none"]))
    assert (refusal.code, refusal.reason, refusal.metadata["limit"]) == (INVALID, "DOCUMENT_TOO_LARGE", str(MIB))
    assert str(MIB) in refusal.fields["delta"]
    assert patched.get("m-1", fields=["b"]).version == 1
    exactly = "x" * (MIB // 2 - len('{"a": "", "b": ""}'))
    assert patched.patch("m-1", {"b": exactly}, strategy=value, fields=["none"]).record.version == 2


BAD_IDS = {"empty": "", "long": "x" * 129, "control": "a\x00b", "newline": "a\n", "delete": "a\x7f", "C1": "\x85"}


@pytest.mark.parametrize("name", BAD_IDS)
@pytest.mark.parametrize("field", ["tenant_id", "collection", "record_id", "parent_id"])
def test_bad_ids_are_refused_by_every_method(records: Records, field: str, name: str) -> None:
    ids = {**records.ids("m-1"), field: BAD_IDS[name]}
    delta, stub = document({"a": 1}), records.stub
    requests = [
        (stub.CreateContent, content_pb2.CreateContentRequest, {"content": delta}),
        (stub.PatchContent, content_pb2.PatchContentRequest, {"delta": delta, "allow_missing": True}),
        (stub.GetContent, content_pb2.GetContentRequest, {}),
        (stub.DeleteContent, content_pb2.DeleteContentRequest, {"allow_missing": True}),
        (stub.UndeleteContent, content_pb2.UndeleteContentRequest, {}),
    ]
    for method, message, more in requests:
        if field == "parent_id" and (not more.keys() & {"content", "delta"} or name == "empty"):
            continue
        if (field, name, method) == ("record_id", "empty", stub.CreateContent):
            continue  # asks for one
        refusal = refused(method, message(**ids, **more))
        assert (refusal.code, refusal.reason, [*refusal.fields]) == (INVALID, "INVALID_FIELD", [field])
        told = {"empty": "at least 1 character", "long": "128 characters"}.get(name, "not contain control characters")
        assert told in refusal.fields[field]
        assert told in refusal.message
    if field == "record_id":
        return
    assert records.is_missing("m-1")


def _patch_request(records: Records, **parts: Any) -> content_pb2.PatchContentRequest:
    return content_pb2.PatchContentRequest(**records.ids("m-1"), **parts)


DELTA = document({"a": 2})
TEST = {"op": "test", "path": "/a", "value": 1}
# Parts of a patch that are wrong, or do not go together: (parts, field, what is said of it)
BAD_PATCHES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no change": ({}, "change", "one of delta, operations, parent_id and position"),
    "empty document": ({"delta": types_pb2.Document()}, "delta.encoding", "exactly one"),
    "unknown strategy": ({"delta": DELTA, "strategy": 99}, "strategy", "defined enum values"),
    "negative strategy": ({"delta": DELTA, "strategy": -1}, "strategy", "defined enum values"),
    "unknown encoding": ({"delta": DELTA, "response_encoding": 3}, "response_encoding", "defined enum values"),
    "strategy with operations": ({"operations": steps(TEST), "strategy": 1}, "strategy", "only with delta"),
    "strategy alone": ({"position": 1, "strategy": 1}, "strategy", "only with delta"),
    "depth of another strategy": ({"delta": DELTA, "depth": 1}, "depth", "only with MERGE_STRATEGY_DEEP"),
    "depth with operations": ({"operations": steps(TEST), "depth": 1}, "depth", "only with MERGE_STRATEGY_DEEP"),
    "depth over the limit": ({"delta": DELTA, "strategy": 2, "depth": 33}, "depth", "32"),
    "negative version": ({"delta": DELTA, "expected_version": -1}, "expected_version", "0"),
    "many fields": ({"delta": DELTA, "fields": ["a"] * 101}, "fields", "100"),
    "many operations": ({"operations": steps(*[TEST] * 1001)}, "operations.operations", "1000"),
    "unknown operation": ({"operations": steps({"op": "Add", "path": ""})}, "operations.operations[0].op", "in list"),
    "no pointer": ({"operations": steps({**TEST, "path": "a"})}, "operations.operations[0].path", "JSON Pointer"),
    "bad escape": ({"operations": steps({**TEST, "path": "/~2"})}, "operations.operations[0].path", "0 or 1"),
    "tilde at the end": ({"operations": steps({**TEST, "path": "/a~"})}, "operations.operations[0].path", "0 or 1"),
    "U+0000": ({"operations": steps({**TEST, "path": "/\0"})}, "operations.operations[0].path", "U+0000"),
    "long pointer": ({"operations": steps({**TEST, "path": "/" * 2049})}, "operations.operations[0].path", "2048"),
    "bad source": (
        {"operations": steps(TEST, {"op": "copy", "path": "/b", "from": "a"})},
        "operations.operations[1].from",
        "JSON Pointer",
    ),
    "no value": (
        {"operations": steps({"op": "add", "path": "/b"})},
        "operations.operations[0].value",
        "is required for add",
    ),
    "increment by text": (
        {"operations": steps({"op": "increment", "path": "/a", "value": "1"})},
        "operations.operations[0].value",
        "must be a number for increment",
    ),
    "union with a number": (
        {"operations": steps({"op": "union", "path": "/a", "value": 1})},
        "operations.operations[0].value",
        "must be an array for ",
    ),
    "long condition": ({"delta": DELTA, "condition": "a = " + "1" * 4096}, "condition", "4096 bytes"),
}


@pytest.mark.parametrize("name", BAD_PATCHES)
def test_patch_of_parts_that_do_not_go_together_is_refused(patched: Records, name: str) -> None:
    parts, field, problem = BAD_PATCHES[name]
    patched.create("m-1", {"a": 1})
    refusal = refused(patched.stub.PatchContent, _patch_request(patched, **parts))
    assert (refusal.code, refusal.reason, [*refusal.fields]) == (INVALID, "INVALID_FIELD", [field])
    assert problem in refusal.fields[field]
    assert field in refusal.message
    assert patched.get("m-1").version == 1


@pytest.mark.parametrize(
    "condition", ["=", "a =", "a = 1 AND", "(a = 1", "a = 1)", "a == 1", "f(a)", '"a', "record.unknown = 1", "a = \0"]
)
def test_condition_that_does_not_parse_is_refused_with_its_position(patched: Records, condition: str) -> None:
    patched.create("m-1", {"a": 1})
    patch = _patch_request(patched, delta=DELTA, condition=condition)
    delete = content_pb2.DeleteContentRequest(**patched.ids("m-1"), condition=condition)
    for method, request in ((patched.stub.PatchContent, patch), (patched.stub.DeleteContent, delete)):
        refusal = refused(method, request)
        assert (refusal.code, refusal.reason, [*refusal.fields]) == (INVALID, "INVALID_FILTER", ["condition"])
        assert 0 <= int(refusal.metadata["position"]) <= len(condition)
    assert patched.get("m-1").version == 1


def test_indexed_text_over_the_limit_is_refused_by_every_write(patched: Records, patching_collection_stub: Any) -> None:
    field = collection_pb2.DeclaredField(path="/in/name", type=collection_pb2.FIELD_TYPE_TEXT)
    patching_collection_stub.PutCollection(
        collection_pb2.PutCollectionRequest(tenant_id=patched.tenant_id, collection="films", fields=[field])
    )
    patched.create("m-1", {"in": {"name": "ü" * 400}})
    long = {"in": {"name": "ü" * 400 + "x"}}
    refusals = {
        "content": refused(patched.stub.CreateContent, patched.creation("m-2", long)),
        "delta": refused(patched.stub.PatchContent, patched.patching("m-1", long)),
        "operations": refused(
            patched.stub.PatchContent,
            patched.patching("m-1", operations=steps({"op": "add", "path": "/in/name", "value": "x" * 801})),
        ),
    }
    for where, refusal in refusals.items():
        assert (refusal.code, refusal.reason) == (INVALID, "INDEXED_TEXT_TOO_LONG")
        assert (refusal.metadata["path"], refusal.metadata["limit"]) == ("/in/name", "800")
        assert "/in/name" in refusal.fields[where]
        assert "800 bytes" in refusal.fields[where]
    assert patched.is_missing("m-2")
    assert patched.get("m-1").version == 1
    patched.patch("m-1", {"in": {"name": [long], "title": "x" * 900}})
