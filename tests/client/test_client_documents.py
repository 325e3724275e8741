"""Documents survive the round trip, with every number exact."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from pathlib import PurePath

import pytest
from draftline.documents import MAX_DEPTH, content_of, decode, document, encode
from draftline.v1 import types_pb2
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
DECIMALS = st.builds(
    lambda sign, digits, exponent: Decimal((sign, digits, exponent)),
    st.integers(0, 1),
    st.lists(st.integers(0, 9), min_size=1, max_size=40),
    st.integers(-60, 60),
)
SCALARS = (
    st.none()
    | st.booleans()
    | TEXTS
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | DECIMALS
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=30)


def written_out(value: object) -> object:
    """Return the value with each float replaced by the decimal of its repr: 0.1 equals Decimal("0.1")."""
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, list):
        return [written_out(each) for each in value]
    return {key: written_out(each) for key, each in value.items()} if isinstance(value, dict) else value


@given(st.dictionaries(TEXTS, VALUES))
def test_document_survives_the_round_trip(content: dict[str, object]) -> None:
    assert written_out(content_of(document(content))) == written_out(content)


@given(st.recursive(st.floats(allow_nan=False, allow_infinity=False) | st.integers(), st.lists))
def test_floats_and_integers_keep_their_types(value: object) -> None:
    assert repr(decode(encode(value))) == repr(value)


@given(SCALARS)
def test_encoded_scalar_is_what_the_standard_decoder_reads(value: object) -> None:
    assert json.loads(encode(value), parse_float=Decimal) == written_out(value)


@given(DECIMALS)
def test_decimal_is_decoded_as_an_equal_number(value: Decimal) -> None:
    assert written_out(decode(encode(value))) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", 0.1),
        ("-2.50", -2.5),
        ("1e3", 1000.0),
        ("1.7976931348623157e308", sys.float_info.max),
        ("0.1000000000000000055511151231257827", Decimal("0.1000000000000000055511151231257827")),
        ("1e400", Decimal("1e400")),
        ("1e-400", Decimal("1e-400")),
        ("123456789012345678901234567890.12", Decimal("123456789012345678901234567890.12")),
        ("123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_number_is_a_float_only_where_a_float_holds_it(text: str, value: object) -> None:
    assert decode(text) == value
    assert type(decode(text)) is type(value)


def test_integer_over_the_interpreters_limit_of_digits_survives() -> None:
    number = 10**5000 + 7
    assert decode(encode({"n": number})) == {"n": number}
    limit = sys.get_int_max_str_digits()
    try:
        sys.set_int_max_str_digits(640)
        assert decode(encode({"n": 10**999 + 1, "m": -1})) == {"n": 10**999 + 1, "m": -1}
    finally:
        sys.set_int_max_str_digits(limit)


def test_subclass_of_a_number_is_written_as_the_number() -> None:
    class Answer(IntEnum):
        YES = 42

    assert encode({"a": Answer.YES, "b": (True, None)}) == '{"a":42,"b":[true,null]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), Decimal("NaN"), Decimal("-Infinity")])
def test_nan_and_infinity_are_rejected(value: object) -> None:
    with pytest.raises(ValueError, match="is not a JSON number"):
        encode({"a": [value]})


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_text_with_nan_or_infinity_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is not a JSON number"):
        decode(text)


@pytest.mark.parametrize("content", [{1: "a"}, {"a": {None: 1}}, {"a": [{True: 1}]}])
def test_key_that_is_not_a_string_is_rejected(content: dict[object, object]) -> None:
    with pytest.raises(TypeError, match="is not a string"):
        encode(content)


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (object(), ""),
        (1j, ""),
        (b"bytes", ": encode it as text first"),
        ({1, 2}, ": write sorted(value) or list(value)"),
        (iter([1]), ": write list(value)"),
        (range(2), ": write list(value)"),
        (PurePath("a"), ": write str(value)"),
        (Point(1), ": write dataclasses.asdict(value), or use a typed collection"),
        (Point, ""),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_value_of_another_type_is_refused_with_what_to_write(value: object, hint: str) -> None:
    with pytest.raises(TypeError, match="at /a/0: ") as refused:
        encode({"a": [value]})
    assert f" is not a JSON type{hint}" in str(refused.value)


def test_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        encode({"a": "\ud800"})


def test_value_that_contains_itself_is_refused() -> None:
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="contains itself"):
        encode(circle)


def test_nesting_up_to_the_limit_survives() -> None:
    value: list[object] = []
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert decode(encode(value)) == value


@pytest.mark.parametrize("content", [[], "text", None, 1])
def test_content_that_is_not_an_object_is_rejected(content: object) -> None:
    with pytest.raises(TypeError, match="must be a dict"):
        document(content)  # type: ignore[arg-type]


def test_struct_is_read_too() -> None:
    struct = struct_pb2.Struct()
    struct.update({"a": [1.5, None, {"b": "c"}]})
    assert content_of(types_pb2.Document(struct=struct)) == {"a": [1.5, None, {"b": "c"}]}


def test_absent_document_is_empty() -> None:
    assert content_of(types_pb2.Document()) == {}
