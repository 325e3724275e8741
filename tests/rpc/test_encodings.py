"""Documents go through exactly, in both forms."""

from __future__ import annotations

import json
import unicodedata
from decimal import Decimal
from typing import Any

import pytest
from draftline.v1 import content_pb2, types_pb2
from support.responses import TIMEOUT_S, Records, content_of, document, exact, nested, steps, struct

INTEGER = 123456789012345678901234567890
DECIMAL = Decimal("0.1234567890123456789012345678901234567891")


def test_long_numbers_are_exact_through_json(records: Records) -> None:
    text = f'{{"i": {INTEGER}, "n": -{INTEGER}, "d": {DECIMAL}, "list": [{INTEGER}.5, 1e-40, 1E+25]}}'
    records.create("m-1", text)
    expected = {"i": INTEGER, "n": -INTEGER, "d": DECIMAL, "list": [Decimal(f"{INTEGER}.5"), Decimal("1e-40"), 10**25]}
    assert records.content("m-1") == expected
    assert records.patch("m-1", '{"more": 9007199254740993}').record.content.json.count("9007199254740993") == 1
    assert records.content("m-1") == {**expected, "more": 2**53 + 1}


def test_numbers_at_the_limit_are_exact(records: Records) -> None:
    number = "9" * 1000 + "." + "1" * 1000
    records.create("m-1", f'{{"n": {number}, "large": 1e999, "small": 1e-1000}}')
    assert records.content("m-1") == {"n": Decimal(number), "large": 10**999, "small": Decimal("1e-1000")}


@pytest.mark.parametrize("number", ["9007199254740993", str(INTEGER), str(DECIMAL), "1e400", "0.30000000000000004441"])
def test_answer_with_an_inexact_number_comes_as_json(records: Records, number: str) -> None:
    record = records.create("m-1", f'{{"deep": [{{"n": {number}}}], "a": 1}}')
    assert record.content.WhichOneof("encoding") == "json"
    found = exact(record.content.json)["deep"][0]["n"]
    assert Decimal(found) == Decimal(number)
    assert records.get("m-1", response_encoding=types_pb2.ENCODING_STRUCT).content.WhichOneof("encoding") == "json"
    asked = records.get("m-1", response_encoding=types_pb2.ENCODING_STRUCT, fields=["a"])
    assert asked.content.WhichOneof("encoding") == "struct"


@pytest.mark.parametrize("number", ["0.1", "1.5", "9007199254740992", "-0.25", "1e300" + "", "5e-324", "1e22", "0"])
def test_answer_with_exact_numbers_comes_as_struct(records: Records, number: str) -> None:
    if number == "1e300":
        number = str(int(1e300))
    record = records.create("m-1", f'{{"n": {number}}}')
    assert record.content.WhichOneof("encoding") == "struct"
    assert record.content.struct["n"] == float(number)


def test_integers_of_a_struct_are_stored_as_integers(records: Records) -> None:
    request = content_pb2.CreateContentRequest(
        **records.ids("m-1"),
        content=struct({"n": 5, "big": 2**53, "half": 2.5, "zero": -0.0}),
        response_encoding=types_pb2.ENCODING_JSON,
    )
    created = records.stub.CreateContent(request, timeout=TIMEOUT_S).record
    assert json.loads(created.content.json) == {"n": 5, "big": 2**53, "half": 2.5, "zero": 0}
    types = {key: type(value) for key, value in json.loads(created.content.json).items()}
    assert types == {"n": int, "big": int, "half": float, "zero": int}


def test_integers_of_a_struct_operand_are_stored_as_integers(records: Records) -> None:
    records.create("m-1", {})
    operations = types_pb2.OperationList()
    operations.operations.add(op="add", path="/n").value.value.number_value = 5
    records.patch("m-1", operations=operations)
    assert '"n": 5}' in records.get("m-1").content.json


def test_every_plane_of_unicode_is_kept(records: Records) -> None:
    planes = {f"plane {p:x}": "".join(_characters(p)) for p in range(17)}
    assert all(planes.values())
    records.create("json", planes)
    request = content_pb2.CreateContentRequest(**records.ids("struct"), content=struct(planes))
    assert content_of(records.stub.CreateContent(request, timeout=TIMEOUT_S).record) == planes
    assert records.content("json") == records.content("struct") == planes
    keys = {text[:30]: plane for plane, text in planes.items()}
    records.create("keys", keys)
    assert records.content("keys") == keys
    escaped = json.dumps({"t": planes}, ensure_ascii=True)
    assert records.patch("json", escaped, strategy=types_pb2.MERGE_STRATEGY_REPLACE).changed_fields
    assert records.content("json") == {"t": planes}


def _characters(plane: int) -> list[str]:
    points = [0x10000 * plane + offset for offset in (*range(1, 0x300), *range(0xFF00, 0x10000))]
    return [chr(point) for point in points if unicodedata.category(chr(point)) != "Cs"]


@pytest.mark.parametrize(
    "text",
    ['"', "\\", "\\\\", '\\"', "'", "'';--", "$$", "%s %(x)s {}", "\b\f\n\r\t", "\x01\x1f\x7f", "\\u0000", "/~1~0"],
)
def test_quotes_and_backslashes_are_kept_as_values_and_keys(records: Records, text: str) -> None:
    for content in (document({text: text}), struct({text: text})):
        request = content_pb2.CreateContentRequest(
            tenant_id=records.tenant_id, collection="films", content=content, fields=[text]
        )
        record = records.stub.CreateContent(request, timeout=TIMEOUT_S).record
        assert content_of(record) == records.content(record.record_id) == {text: text}
    pointer = "/" + text.replace("~", "~0").replace("/", "~1")
    operations = steps({"op": "test", "path": pointer, "value": text}, {"op": "add", "path": pointer, "value": [text]})
    assert records.patch(record.record_id, operations=operations).changed_fields == [text]
    assert records.content(record.record_id) == {text: [text]}


def test_deepest_documents_decode_as_struct_for_every_rpc(patched: Records) -> None:
    deepest = nested(32)
    as_struct: dict[str, Any] = {"response_encoding": types_pb2.ENCODING_STRUCT}
    assert content_of(patched.create("m-1", deepest)) == deepest
    assert content_of(patched.get("m-1", **as_struct)) == deepest
    answer = patched.patch("m-1", {"other": nested(31)}, **as_struct)
    assert content_of(answer.record) == {**deepest, "other": nested(31)}
    request = content_pb2.BatchPatchContentRequest(
        tenant_id=patched.tenant_id,
        requests=[
            patched.patching("m-1", {"again": nested(31)}, **as_struct),
            content_pb2.PatchContentRequest(
                **patched.ids("m-2"), delta=struct(nested(32)), allow_missing=True, **as_struct
            ),
        ],
    )
    results = patched.stub.BatchPatchContent(request, timeout=TIMEOUT_S).results
    assert [result.record.content.WhichOneof("encoding") for result in results] == ["struct", "struct"]
    assert content_of(results[0].record) == {**deepest, "other": nested(31), "again": nested(31)}
    assert content_of(results[1].record) == deepest
    assert content_of(patched.delete("m-1").record)["n"] == deepest["n"]
    assert content_of(patched.undelete("m-1"))["n"] == deepest["n"]


def test_deepest_scalars_and_arrays_decode_as_struct(records: Records) -> None:
    arrays: Any = [1]
    for _ in range(30):
        arrays = [arrays]
    scalar: Any = "x"
    for _ in range(32):
        scalar = {"k": scalar}
    for record_id, content in (("arrays", {"a": arrays}), ("scalar", scalar)):
        assert content_of(records.create(record_id, content)) == content
        request = content_pb2.BatchPatchContentRequest(
            tenant_id=records.tenant_id,
            requests=[records.patching(record_id, {}, response_encoding=types_pb2.ENCODING_STRUCT)],
        )
        result = records.stub.BatchPatchContent(request, timeout=TIMEOUT_S).results[0]
        assert content_of(result.record) == content
