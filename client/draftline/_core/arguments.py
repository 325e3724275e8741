"""Checks of arguments by their annotations, with errors that name the argument.

Protobuf takes some wrong arguments without an error: None for a text, bytes for a text, 1 for True. It
rejects others without saying which one it was. So the functions that build calls are wrapped by `checked`,
which examines their arguments first. An iterator is read into a list, because its items are examined too.
"""

from __future__ import annotations

import inspect
import math
import reprlib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from functools import cache, wraps
from typing import Any, Literal, TypeVar
from uuid import UUID

from draftline.models.str_enum import StrEnum

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
Check = Callable[[str, Any], Any]  # of a name and a value; returns the value to use, or raises

_NAMES = {str: "a string", int: "an integer", bool: "True or False", float: "a number", datetime: "a datetime"}
_EXAMPLES = {"operations": ', such as [op.add("/a", 1)]'}
_FIXES = (  # by what was expected and what was given
    (str, (bytes, bytearray), "value.decode()"),
    (str, (int, UUID), "str(value)"),
    (Mapping, (str, bytes, bytearray), "json.loads(value)"),
)
_SINGLE = (str, bytes, bytearray, memoryview)  # iterables that are not meant as lists
_INT64 = 1 << 63
_INT32 = 1 << 31
_MAX_TIMEOUT_S = 1e9
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60

# Ids that must not be empty where they are required.
_IDS = {"tenant_id", "collection", "record_id", "upstream", "remote_id"}


def checked(build: FunctionT) -> FunctionT:
    """Wrap a function so that it raises an error that names the argument of the wrong type or value."""
    code = build.__code__
    positional = code.co_varnames[: code.co_argcount]
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    @cache
    def checks() -> dict[str, Check]:
        hints = typing.get_type_hints(build)
        required = {name for name in positional if name in _IDS and hints[name] is str}
        return {name: _not_empty if name in required else _check_of(hints[name]) for name in names}

    @wraps(build)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        check = checks()
        given = dict(zip(positional, arguments, strict=False)) | options
        values = {name: check[name](name, value) for name, value in given.items()}
        try:
            return build(**values)
        except ValueError as error:
            raise _out_of_range(values) or error from None

    return typing.cast(FunctionT, wrapped)


def checked_value(name: str, value: Any, hint: Any) -> Any:
    """Return the value, which is to be of the type. Raise TypeError or ValueError, naming it, if it is not."""
    return _check_of(hint)(name, value)


def check_timeout(timeout: object) -> None:
    """Raise TypeError or ValueError unless the timeout is a number of seconds above 0, or None."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        hint = ": write value.total_seconds()" if isinstance(timeout, timedelta) else ""
        raise TypeError(f"timeout must be a number of seconds, or None for no limit, not {_shown(timeout)}{hint}")
    if math.isnan(timeout):
        raise ValueError("timeout must be a number of seconds, or None for no limit, not nan")
    if timeout <= 0:
        raise ValueError(f"timeout must be above 0 seconds, or None for no limit, not {timeout}")
    if timeout > _MAX_TIMEOUT_S:
        raise ValueError(f"timeout must be at most {_MAX_TIMEOUT_S:.0f} seconds; for no limit, pass None")


def checked_count(name: str, value: Any) -> int:
    """Return the value. Raise TypeError or ValueError unless it is an integer of at least 1."""
    if _whole(name, value) < 1:
        raise ValueError(f"{name} must be at least 1, not {_shown_number(value)}")
    return typing.cast(int, value)


def checked_duration(name: str, value: Any) -> float:
    """Return the value. Raise TypeError or ValueError unless it is a number of seconds of at least 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {_shown(value)}")
    if not value >= 0:
        raise ValueError(f"{name} must be at least 0 seconds, not {value}")
    return value


def checked_callback(name: str, value: Any) -> None:
    """Raise TypeError unless the value is a function or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a function or None, not {_shown(value)}")


def _out_of_range(values: Mapping[str, Any]) -> ValueError | None:
    """Return an error about an integer that a 32-bit field does not hold. Protobuf does not name it."""
    for name, value in values.items():
        given = {name: value}
        if is_dataclass(value):
            given = {each.name: getattr(value, each.name) for each in fields(value)}
        for shown, each in given.items():
            if isinstance(each, int) and not 0 <= each < _INT32:
                return ValueError(f"{shown} is out of range: {_shown_number(each)}")
    return None


@cache
def _check_of(hint: Any) -> Check:
    """Return the check of a type: of its only option, or of the first option that the value may be."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    kinds = [Iterable if _is_list(option) else typing.get_origin(option) or option for option in options]
    is_known = all(isinstance(kind, type) or kind is Literal for kind in kinds)
    if not is_known or not {Any, object, tuple}.isdisjoint(kinds):
        return _unchecked  # such as Any; tuples are examined by the function itself
    enums = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, StrEnum)]
    if enums:
        return _check_of_choice(enums[0], type(None) in kinds)
    checks = [(_accepted(kind), _deep_check(option, kind)) for option, kind in zip(options, kinds, strict=True)]

    def check(name: str, value: Any) -> Any:
        for accepts, deep in checks:
            if accepts(value):
                return deep(name, value)
        wanted = " or ".join(dict.fromkeys(_shown_type(name, option) for option in options if option is not type(None)))
        if type(None) in kinds:
            wanted += " or None"
        raise TypeError(f"{name} must be {wanted}{_EXAMPLES.get(name, '')}, not {_shown(value)}{_advice(value, kinds)}")

    return check


def _is_list(hint: Any) -> bool:
    """Return True for a tuple of any length, such as `tuple[str, ...]`, for which every list will do."""
    return typing.get_origin(hint) is tuple and typing.get_args(hint)[-1:] == (...,)


def _check_of_choice(choice: type[StrEnum], is_optional: bool) -> Check:
    def check(name: str, value: Any) -> Any:
        if isinstance(value, choice) or (value is None and is_optional):
            return value
        try:
            return choice(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    return check


def _accepted(kind: Any) -> Callable[[Any], bool]:
    if kind is float:
        return lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return lambda value: hasattr(value, "__index__") and not isinstance(value, bool)
    if kind is Iterable:
        return lambda value: isinstance(value, Iterable) and not isinstance(value, (*_SINGLE, Mapping))
    return lambda value: isinstance(value, kind)


def _deep_check(option: Any, kind: Any) -> Check:
    if kind is str:
        return _text
    if kind is int:
        return _whole
    if kind is Iterable:
        return _items_check(typing.get_args(option))
    if kind is Mapping:
        return _mapping_check(typing.get_args(option))
    return _fields_check(kind) if is_dataclass(kind) and option is kind else _unchecked


def _unchecked(_name: str, value: Any) -> Any:
    return value


def _text(name: str, value: Any) -> Any:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            surrogate = error.object[error.start]
            raise ValueError(
                f"{name} contains the lone surrogate {surrogate!a} at index {error.start}, which is not valid text"
            ) from None
    return value


def _not_empty(name: str, value: Any) -> Any:
    value = _check_of(str)(name, value)
    if not value:
        raise ValueError(f"{name} must not be empty")
    return value


def _whole(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, not {_shown(value)}")
    if not -_INT64 <= value < _INT64:
        raise ValueError(f"{name} does not fit in 64 bits: {_shown_number(value)}")
    return value


def _items_check(items: tuple[Any, ...]) -> Check:
    def check(name: str, value: Any) -> Any:
        listed = value if isinstance(value, (list, tuple)) else list(value)
        if not items or items[0] is Any:
            return listed
        item = _check_of(items[0])
        return [item(f"{name}[{index}]", each) for index, each in enumerate(listed)]

    return check


def _mapping_check(members: tuple[Any, ...]) -> Check:
    def check(name: str, value: Any) -> Any:
        if not members or members[1] is Any:
            return value  # a document, whose encoding examines it
        key_check, member_check = _check_of(members[0]), _check_of(members[1])
        return {
            key_check(f"the key {_repr.repr(key)} of {name}", key): member_check(f"{name}[{_repr.repr(key)}]", member)
            for key, member in value.items()
        }

    return check


def _fields_check(kind: Any) -> Check:
    @cache
    def checks() -> list[tuple[str, Check]]:
        hints = typing.get_type_hints(kind)
        return [
            (each.name, _not_empty if each.name == "record_id" and hints[each.name] is str
             else _check_of(hints[each.name]))
            for each in fields(kind)
        ]  # fmt: skip

    def check(name: str, value: Any) -> Any:
        prefix = f"{name}." if "[" in name else ""  # the arguments of the caller became the fields of one object
        changed = {}
        for field, examine in checks():
            former = getattr(value, field)
            used = examine(prefix + field, former)
            if used is not former and not isinstance(former, (list, tuple)):
                changed[field] = used  # an iterator that was read, or the member of an enum
        return replace(value, **changed) if changed else value

    return check


def _shown_type(name: str, hint: Any) -> str:
    origin = typing.get_origin(hint) or hint
    if origin in _NAMES:
        return _NAMES[origin]
    if origin is Mapping:
        return "a dict"
    if origin is Iterable or _is_list(hint):
        item = typing.get_args(hint)[0]
        kind = (
            "strings"
            if item is str
            else "dicts"
            if typing.get_origin(item) is Mapping
            else name
            if name.endswith("s")
            else "keys"
        )
        return f"a list of {kind}"
    if isinstance(origin, type) and issubclass(origin, Enum) and origin.__name__ == "Unset":
        return "left out"
    return f"a {origin.__name__}" if isinstance(origin, type) else str(origin)


def _advice(value: Any, kinds: list[Any]) -> str:
    if inspect.isawaitable(value):
        return ": await it first"
    if str in kinds and isinstance(getattr(value, "record_id", None), str):
        return ": write value.record_id"
    if Iterable in kinds and isinstance(value, str):
        return f": write [{_repr.repr(value)}]"
    return next((f": write {fix}" for kind, types, fix in _FIXES if kind in kinds and type(value) in types), "")


def _shown(value: Any) -> str:
    return "None" if value is None else f"the {type(value).__name__} {_shown_number(value)}"


def _shown_number(value: Any) -> str:
    try:
        return _repr.repr(value)
    except ValueError:  # an integer over the interpreter's digit limit
        return "of very many digits"
