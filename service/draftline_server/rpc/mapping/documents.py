"""Conversion of JSON documents. All documents from callers are checked here, in both encodings."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from draftline.v1 import types_pb2
from google.protobuf import struct_pb2

from ...domain.content import Json, Limits, check_size, check_value, too_many
from ...domain.errors import DocumentTooLargeError, InvalidDocumentError

_parse_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode

# Numbers that may exceed the limits. Exponents are looked for in numbers alone: searching a whole text takes longer
# than parsing it.
_LARGE_EXPONENT = re.compile(r"[eE][-+]?[0-9]{3}")
_MANY_DIGITS = re.compile(r"(?<![0-9])[0-9]{1000}")
_FEW_DIGITS = 900  # with an exponent of two digits, they cannot become 1,000 before or after the point


class _LargeNumberError(ValueError):
    """A number with an exponent may exceed the limits."""


def _usual_number(text: str) -> Decimal:
    if ("e" in text or "E" in text) and (len(text) > _FEW_DIGITS or _LARGE_EXPONENT.search(text)):
        raise _LargeNumberError
    return Decimal(text)


_parse = msgspec.json.Decoder(float_hook=Decimal).decode
_parse_usual = msgspec.json.Decoder(float_hook=_usual_number).decode

# A Struct can be six times as long as its JSON, and many clients take messages of 4 MiB.
MAX_STRUCT_TEXT = 512 * 1024


def document_text(document: types_pb2.Document, limits: Limits, where: str) -> str:
    """Return a document as the JSON text of an object that may be stored."""
    return document_contents(document, limits, where)[0]


def document_value(document: types_pb2.Document, limits: Limits, where: str) -> dict[str, Json]:
    """Return a document as Python values that may be stored, with exact numbers."""
    return document_contents(document, limits, where)[1]


def document_contents(document: types_pb2.Document, limits: Limits, where: str) -> tuple[str, dict[str, Json]]:
    """Return both."""
    if document.WhichOneof("encoding") == "struct":
        text, value = _of_struct(document.struct, limits, where)
    else:
        text = document.json
        value = _checked(text, limits, f"{where}.json")
    if not isinstance(value, dict):
        raise _invalid(where, "must be a JSON object")
    return text, value


def json_value(message: types_pb2.JsonValue, limits: Limits, where: str) -> Json:
    """Return any JSON value as Python values, with exact numbers."""
    encoding = message.WhichOneof("encoding")
    if encoding is None:
        raise _invalid(where, "one of value and json must be set")
    if encoding == "value":
        return _of_struct(message.value, limits, where)[1]
    return _checked(message.json, limits, f"{where}.json")


def _checked(text: str, limits: Limits, where: str) -> Json:
    check_size(len(text) if text.isascii() else len(text.encode()), limits, where)
    is_usual = True
    try:
        try:
            value = _parse_usual(text)
        except msgspec.ValidationError:
            is_usual = False
            value = _parse(text)
    except RecursionError:
        raise _too_deep(where, limits) from None
    except (msgspec.ValidationError, InvalidOperation):  # too many digits for int, or too large an exponent for Decimal
        raise _invalid(where, "numbers must have at most 1000 digits before and after the point") from None
    except msgspec.DecodeError as error:
        if "\\u" in text and _has_surrogate(text):
            raise _invalid(where, "must not contain lone surrogates") from None
        raise _invalid(where, f"is not valid JSON: {error}") from None
    if (
        not is_usual
        or len(text) > 2 * limits.max_nodes
        or text.count("{") + text.count("[") > limits.max_depth
        or "\\u" in text  # escapes may hide characters that cannot be stored
        or _MANY_DIGITS.search(text)
    ):
        check_value(value, limits, where)
    return value


def _has_surrogate(text: str) -> bool:
    """Return whether a text that msgspec rejects is valid JSON except for lone surrogates."""
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        pass
    return False


def _of_struct(message: struct_pb2.Struct | struct_pb2.Value, limits: Limits, where: str) -> tuple[str, Json]:
    value = _plain(message, limits, where)
    check_value(value, limits, where)
    text = _encode(value).decode()
    check_size(len(text.encode()), limits, where)
    return text, value


def _plain(message: struct_pb2.Struct | struct_pb2.Value, limits: Limits, where: str) -> Json:
    """Convert a message to Python values. Raises DocumentTooLargeError before it converts too many."""
    nodes = 1

    def of(node: struct_pb2.Struct | struct_pb2.ListValue | struct_pb2.Value) -> Json:
        nonlocal nodes
        if isinstance(node, struct_pb2.Struct):
            nodes += len(node.fields)
        elif isinstance(node, struct_pb2.ListValue):
            nodes += len(node.values)
        if nodes > limits.max_nodes:
            raise too_many(limits, where)
        if isinstance(node, struct_pb2.Struct):
            return {key: of(value) for key, value in node.fields.items()}
        if isinstance(node, struct_pb2.ListValue):
            return [of(value) for value in node.values]
        match node.WhichOneof("kind"):
            case "number_value":
                # An integral double represents exactly that integer, consistent with `_double`.
                return int(node.number_value) if node.number_value.is_integer() else node.number_value
            case "string_value":
                return node.string_value
            case "bool_value":
                return node.bool_value
            case "struct_value":
                return of(node.struct_value)
            case "list_value":
                return of(node.list_value)
            case "null_value":
                return None
        raise _invalid(where, "a google.protobuf.Value must have one kind set")

    return of(message)


def fill_document(message: types_pb2.Document, text: str, encoding: int, fields: Sequence[str]) -> None:
    """Fill an empty message with the stored content, limited to the keys in `fields` if there are any.

    Use a Struct unless the caller wants JSON, the text is too long, or a number would lose precision.
    """
    if fields:
        text = selected_text(text, fields)
    if encoding != types_pb2.ENCODING_JSON and len(text) <= MAX_STRUCT_TEXT:
        with suppress(_InexactError):
            _fill_struct(message.struct, _parse(text))
            return
    message.json = text  # replaces a partly filled struct, since both are in one oneof


def selected_text(text: str, fields: Sequence[str]) -> str:
    """Return an object with only these keys, as JSON text."""
    members = _parse_members(text)
    return _encode({key: members[key] for key in fields if key in members}).decode()


def to_json_value(text: str | None, encoding: int) -> types_pb2.JsonValue | None:
    """Return a stored value in the requested encoding, or None if there is none."""
    if text is None:
        return None
    if encoding != types_pb2.ENCODING_JSON:
        message = types_pb2.JsonValue()
        try:
            _fill(message.value, _parse(text))
        except _InexactError:
            pass
        else:
            return message
    return types_pb2.JsonValue(json=text)


class _InexactError(Exception):
    """A number that a double cannot represent exactly."""


def _fill_struct(struct: struct_pb2.Struct, value: dict[str, Any]) -> None:
    struct.SetInParent()
    for key, member in value.items():
        _fill(struct.fields[key], member)


def _fill(target: struct_pb2.Value, value: Json) -> None:
    if value is None:
        target.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, dict):
        _fill_struct(target.struct_value, value)
    elif isinstance(value, list):
        target.list_value.SetInParent()
        for item in value:
            _fill(target.list_value.values.add(), item)
    else:
        target.number_value = _double(value)


def _double(value: int | Decimal) -> float:
    """Return the double that represents the stored number in a Struct, or raise _InexactError if there is none.

    An integral double represents its exact integer. Any other double represents its shortest decimal form, so 0.1 has
    a double although no binary fraction equals it.
    """
    try:
        double = float(value)
    except OverflowError:
        raise _InexactError from None
    if not math.isfinite(double) or (int(double) if double.is_integer() else Decimal(repr(double))) != value:
        raise _InexactError
    return double


def _too_deep(where: str, limits: Limits) -> DocumentTooLargeError:
    problem = f"must have at most {limits.max_depth} levels of nesting"
    return DocumentTooLargeError(f"{where}: {problem}", fields=[(where, problem)], limit=limits.max_depth)


def _invalid(where: str, problem: str) -> InvalidDocumentError:
    return InvalidDocumentError(f"{where}: {problem}", fields=[(where, problem)])
