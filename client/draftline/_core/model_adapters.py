"""Conversion between contents and models: dataclasses, TypedDicts, Pydantic models and msgspec structs.

Pydantic and msgspec are recognised by the attributes of their classes, and are not required by the client.
"""

from __future__ import annotations

import dataclasses
import importlib
import typing
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Generic, TypeVar
from uuid import UUID

from draftline._core.dataclass_models import MisfitError, read, read_dataclass, write_dataclass
from draftline._core.model_changes import copied, plain
from draftline.errors import ModelMismatchError
from draftline.operations import pointer

ModelT = TypeVar("ModelT")

_JSON = (str, int, float, Decimal, bool, datetime, date, UUID, Enum)


class ModelAdapter(Generic[ModelT]):
    """Converts between contents and one class of models."""

    def __init__(self, model: type[ModelT]) -> None:
        if not isinstance(model, type) and typing.get_origin(model) is None:
            raise TypeError(f"{model!r} is an object: pass its class")
        self._model: Any = model
        self.name = getattr(model, "__name__", str(model))
        _kind(model)  # raises TypeError for a class that is not a model

    def decode(self, content: Mapping[str, Any], record_id: str = "") -> ModelT:
        """Return the model for a content, which stays unchanged when the model is edited.

        Raises:
            ModelMismatchError: the content does not fit.
        """
        try:
            model: ModelT = _decoded(copied(content), self._model, "")
        except (ValueError, TypeError) as error:
            raise ModelMismatchError(record_id, self.name, _problem(error)) from error
        return model

    def encode(self, model: ModelT, *, is_new: bool = False) -> dict[str, Any]:
        """Return the content for a model, as it would be decoded from JSON.

        Raises:
            ModelMismatchError: the model has a value that JSON lacks, or is of another class.
        """
        is_dict = _kind(self._model) == "typeddict"
        if not isinstance(model, Mapping if is_dict else self._model):
            raise ModelMismatchError("", self.name, f"got an object of class {type(model).__name__}")
        try:
            content: dict[str, Any] = plain(_encoded(model, is_new=is_new))
        except (ValueError, TypeError) as error:
            raise ModelMismatchError("", self.name, str(error)) from error
        return content


def _problem(error: Exception) -> str:
    """Return the message on one line; Pydantic's errors have their paths in a list."""
    errors = getattr(error, "errors", None)
    if callable(errors):
        return "; ".join(f"{pointer(*each['loc'])}: {each['msg']}" for each in errors())
    return str(error)


def _kind(model: Any) -> str:
    if typing.is_typeddict(model) or type(model).__name__ == "_TypedDictMeta":  # that of typing_extensions
        return "typeddict"
    if hasattr(model, "model_validate") and hasattr(model, "model_dump"):
        return "pydantic"
    if hasattr(model, "__struct_fields__"):
        return "msgspec"
    if dataclasses.is_dataclass(model):
        return "dataclass"
    raise TypeError(f"{model!r} is not a model: use a dataclass, a TypedDict, a Pydantic model or a msgspec Struct")


def _decoded(content: Any, model: Any, path: str) -> Any:
    kind = _kind(model)
    if kind == "typeddict":
        return dict(content)
    if kind == "pydantic":
        try:
            return model.model_validate(content, by_alias=True, by_name=False)
        except TypeError:  # Pydantic before 2.11
            return model.model_validate(content)
    if kind == "msgspec":
        msgspec = importlib.import_module("msgspec")
        try:
            return msgspec.convert(content, type=model)
        except msgspec.ValidationError:
            return msgspec.convert(_with_whole_numbers(content), type=model)
    return read_dataclass(content, model, path, _converted)


def _with_whole_numbers(value: Any) -> Any:
    """Return a value with 1.0 as 1, which msgspec does not convert to an integer by itself."""
    if isinstance(value, Mapping):
        return {key: _with_whole_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(each) for each in value]
    is_whole = isinstance(value, (float, Decimal)) and value == int(value)
    return int(value) if is_whole else value


def _converted(value: Any, type_: Any, path: str) -> Any:
    """Return a nested value whose type the reader of dataclasses does not know: another kind of model."""
    origin = typing.get_origin(type_) or type_
    if getattr(origin, "__name__", "") in ("Required", "NotRequired", "Final"):
        return read(value, typing.get_args(type_)[0], path, _converted)
    if not isinstance(value, Mapping):
        raise MisfitError(path, value, type_)
    return _decoded(value, type_, path)


def _encoded(value: Any, *, is_new: bool) -> Any:
    if isinstance(value, Mapping):
        return {key: _encoded(each, is_new=is_new) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encoded(each, is_new=is_new) for each in value]
    if value is None or isinstance(value, _JSON):
        return value
    if hasattr(value, "model_dump"):
        _set_changed(value)
        options = {"by_alias": True, "exclude_unset": True}
        return _exact(value.model_dump(**options), lambda: value.model_dump(mode="json", **options))
    if hasattr(value, "__struct_fields__"):
        msgspec = importlib.import_module("msgspec")
        return msgspec.to_builtins(value, builtin_types=(Decimal, datetime, date, UUID))
    if dataclasses.is_dataclass(value):
        return write_dataclass(value, lambda each: _encoded(each, is_new=is_new), is_new=is_new)
    return value


def _set_changed(value: Any) -> None:
    """Mark defaults that were edited in place, such as a list with a new element, as set in Pydantic's models."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for each in value:
            _set_changed(each)
    elif hasattr(value, "model_dump"):
        for name, field in type(value).model_fields.items():
            current = getattr(value, name, None)
            _set_changed(current)
            is_editable = isinstance(current, (Mapping, list)) or hasattr(current, "model_dump")
            if is_editable and name not in value.model_fields_set and current != _default(field, current):
                value.model_fields_set.add(name)


def _default(field: Any, current: Any) -> Any:
    try:
        return field.get_default(call_default_factory=True)
    except (TypeError, ValueError):  # the factory takes the other values, from which the default may differ by now
        return current


def _exact(value: Any, as_json: Any) -> Any:
    """Return Pydantic's Python form, with its JSON form for the values of types that JSON lacks, such as URLs."""
    if _is_plain(value):
        return value
    return _combined(value, as_json())


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, _JSON)


def _combined(value: Any, other: Any) -> Any:
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        return {key: _combined(value.get(key, each), each) for key, each in other.items()}
    if isinstance(value, (list, tuple)) and isinstance(other, list):
        return [_combined(*both) for both in zip(value, other, strict=False)]
    return value if value is None or isinstance(value, _JSON) else other
