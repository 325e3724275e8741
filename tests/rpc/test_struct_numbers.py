"""Numbers through a Struct: a double means one stored number, and what is read can be sent back unchanged."""

from __future__ import annotations

import json
import struct as binary
from decimal import Decimal
from typing import Any

import pytest
from draftline.v1 import content_pb2, types_pb2
from draftline_server.domain.content import Limits
from draftline_server.rpc.mapping.documents import document_text, fill_document
from hypothesis import example, given
from hypothesis import strategies as st
from support.responses import TIMEOUT_S, Records, content_of, exact, struct

LIMITS = Limits()
DOUBLES = st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 2**64 - 1).map(
    lambda bits: binary.unpack("<d", binary.pack("<Q", bits))[0]
).filter(lambda double: double == double and abs(double) != float("inf"))
DECIMALS = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(-(10**40), 10**40), st.integers(-60, 60)
)
NUMBERS = DOUBLES | st.integers() | st.integers(50, 1100).map(lambda bits: 2**bits % 10**1000) | DECIMALS


def shown(text: str) -> types_pb2.Document:
    """Return the document that a stored content is returned as."""
    document = types_pb2.Document()
    fill_document(document, text, types_pb2.ENCODING_STRUCT, ())
    return document


def number_of(text: str) -> Decimal:
    return Decimal(json.loads(text, parse_float=Decimal, parse_int=Decimal)["n"])


@given(DOUBLES)
@example(2.0**60)
@example(1e21)
@example(1e23)
@example(1e300)
@example(1.7976931348623157e308)
@example(295147905179352825856.0)  # RFC 8785, appendix B
@example(5e-324)
@example(-0.0)
@example(0.1)
def test_every_double_of_a_struct_comes_back_as_itself(double: float) -> None:
    text = document_text(struct({"n": double}), LIMITS, "content")
    assert number_of(text) == (int(double) if double.is_integer() else Decimal(repr(double)))
    answered = shown(text)
    assert answered.WhichOneof("encoding") == "struct"
    assert answered.struct["n"] == double


@given(NUMBERS)
@example(2**60)
@example(2**60 + 1)
@example(10**23)
@example(Decimal("1E+25"))
@example(Decimal("9007199254740993.0"))
@example(Decimal("0.1000000000000000055511151231257827"))
@example(Decimal("1." + "0" * 99 + "1"))
def test_stored_number_that_is_read_as_a_struct_is_stored_the_same_when_it_is_sent_back(number: Any) -> None:
    stored = f'{{"n": {number if not isinstance(number, Decimal) else format(number, "f")}}}'
    answered = shown(stored)
    if answered.WhichOneof("encoding") == "struct":
        again = document_text(answered, LIMITS, "content")
        assert number_of(again) == number_of(stored)
    else:
        assert answered.json == stored
        # Only what no double means is told as text.
        assert not _is_double(number_of(stored))


def _is_double(number: Decimal) -> bool:
    try:
        double = float(number)
    except OverflowError:
        return False
    if abs(double) == float("inf"):
        return False
    return (Decimal(int(double)) if double.is_integer() else Decimal(repr(double))) == number


@pytest.mark.parametrize("number", ["1152921504606846976", "295147905179352825856", str(int(1e300)), "1.50", "0.1"])
def test_replacing_a_record_by_what_was_read_as_a_struct_changes_nothing(records: Records, number: str) -> None:
    records.create("m-1", f'{{"v": {number}, "deep": [{{"v": {number}}}]}}')
    read = records.get("m-1", response_encoding=types_pb2.ENCODING_STRUCT)
    assert read.content.WhichOneof("encoding") == "struct"
    request = content_pb2.PatchContentRequest(
        **records.ids("m-1"), delta=read.content, strategy=types_pb2.MERGE_STRATEGY_REPLACE
    )
    answer = records.stub.PatchContent(request, timeout=TIMEOUT_S)
    assert (answer.record.version, [*answer.changed_fields]) == (1, [])
    assert exact(records.get("m-1").content.json)["v"] == exact(number)


def test_integral_doubles_of_a_struct_are_stored_digit_by_digit(records: Records) -> None:
    request = content_pb2.CreateContentRequest(**records.ids("m-1"), content=struct({"v": 2.0**60, "w": 1e23}))
    assert content_of(records.stub.CreateContent(request, timeout=TIMEOUT_S).record) == {"v": 2**60, "w": int(1e23)}
    assert records.content("m-1") == {"v": 1152921504606846976, "w": 99999999999999991611392}
