"""Conversion between JSON values and dataclasses, with type checks.

The key of an attribute is its name, or `metadata["key"]` of its field.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Literal, Union
from uuid import UUID

from draftline._core.model_changes import same
from draftline.models import UNSET, Unset
from draftline.operations import pointer


class MisfitError(ValueError):
    """A value that does not fit its type; the message begins with its path."""

    def __init__(self, path: str, value: object, expected: object) -> None:
        name = getattr(expected, "__name__", None) or str(expected).replace("typing.", "")
        text = repr(value)
        super().__init__(f"{path or 'content'}: {text[:60] + '…' if len(text) > 60 else text} is not {name}")


Convert = Callable[[Any, Any, str], Any]  # a value, its type and its path, for types that this module does not know

_TEXTS: dict[type, Callable[[str], Any]] = {
    datetime: lambda text: datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00")),
    date: date.fromisoformat,
    UUID: UUID,
}


@lru_cache(maxsize=1024)
def _attributes(model: type) -> tuple[tuple[str, str, Any, bool], ...]:
    """Return name, key, type and whether it is required, for each attribute of a dataclass."""
    hints = typing.get_type_hints(model)
    found = []
    for each in dataclasses.fields(model):
        if each.init:
            is_required = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
            found.append((each.name, each.metadata.get("key", each.name), hints[each.name], is_required))
    return tuple(found)


def read_dataclass(content: Any, model: type, path: str, convert: Convert) -> Any:
    """Return the dataclass for an object. Raise MisfitError, with the path of the value that does not fit."""
    if not isinstance(content, Mapping):
        raise MisfitError(path, content, model)
    values = {}
    for name, key, type_, is_required in _attributes(model):
        if key in content:
            values[name] = read(content[key], type_, path + pointer(key), convert)
        elif is_required:
            raise ValueError(f"{path + pointer(key)}: is missing")
    return model(**values)


def read(value: Any, type_: Any, path: str, convert: Convert) -> Any:
    """Return a JSON value as the type. Numbers and texts are not converted into each other."""
    if type_ is Any or type_ is object or isinstance(type_, typing.TypeVar):
        return value
    while (renamed := getattr(type_, "__supertype__", None)) is not None:  # of a NewType
        type_ = renamed
    origin = typing.get_origin(type_)
    if origin is not None:
        return _read_generic(value, type_, origin, path, convert)
    if type_ is None or type_ is type(None):
        return _checked(value, value is None, type_, path)
    if type_ is bool or type_ is str:
        return _checked(value, isinstance(value, type_), type_, path)
    if type_ in (int, float, Decimal):
        return _number(value, type_, path)
    if type_ in (dict, list):
        return _checked(value, isinstance(value, type_), type_, path)
    if isinstance(type_, type) and dataclasses.is_dataclass(type_):
        return read_dataclass(value, type_, path, convert)
    if isinstance(type_, type) and issubclass(type_, Enum):
        found = [
            each for each in type_ if each.value == value and isinstance(value, bool) == isinstance(each.value, bool)
        ]
        return found[0] if found else _checked(value, False, type_, path)
    if type_ in _TEXTS and isinstance(value, str):
        try:
            return _TEXTS[type_](value)
        except ValueError:
            raise MisfitError(path, value, type_) from None
    return _checked(value, False, type_, path) if type_ in _TEXTS or type_ is Unset else convert(value, type_, path)


def _read_generic(value: Any, type_: Any, origin: Any, path: str, convert: Convert) -> Any:
    arguments = typing.get_args(type_)
    if origin in (Union, types.UnionType):
        for each in arguments:
            try:
                return read(value, each, path, convert)
            except ValueError:
                continue
        raise MisfitError(path, value, type_)
    if origin is Literal:
        found = [each for each in arguments if same(each, value)]
        return found[0] if found else _checked(value, False, type_, path)
    if origin is typing.Annotated:
        return read(value, arguments[0], path, convert)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _checked(value, isinstance(value, Mapping), type_, path)
        return {key: read(each, arguments[1], path + pointer(key), convert) for key, each in value.items()}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        _checked(value, isinstance(value, list), type_, path)
        if origin is tuple and Ellipsis not in arguments:
            _checked(value, len(value) == len(arguments), type_, path)
            rows = list(zip(value, arguments, strict=True))
            return tuple(read(each, kind, f"{path}/{index}", convert) for index, (each, kind) in enumerate(rows))
        elements = [read(each, arguments[0], f"{path}/{index}", convert) for index, each in enumerate(value)]
        return tuple(elements) if origin is tuple else elements
    return convert(value, type_, path)


def _checked(value: Any, fits: bool, type_: Any, path: str) -> Any:
    if not fits:
        raise MisfitError(path, value, type_)
    return value


def _number(value: Any, type_: Any, path: str) -> Any:
    """Return a number unchanged, except for attributes of Decimal, and of int, which accept 1.0 as 1.

    An attribute of float accepts every number.
    """
    is_number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    _checked(value, is_number and (type_ is not int or value == int(value)), type_, path)
    if type_ is int:
        return int(value)
    return Decimal(repr(value)) if type_ is Decimal and not isinstance(value, Decimal) else value


def write_dataclass(model: Any, write: Callable[[Any], Any], *, is_new: bool) -> dict[str, Any]:
    """Return the object for a dataclass, without attributes that are UNSET; for a new record also without those that
    are None by default.
    """
    content = {}
    for each in dataclasses.fields(model):
        value = getattr(model, each.name)
        if value is UNSET or not each.init or (is_new and value is None and each.default is None):
            continue
        content[each.metadata.get("key", each.name)] = write(value)
    return content
