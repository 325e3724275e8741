"""Errors about arguments of the wrong type, which name the argument.

Protobuf rejects such an argument without saying which one it was. The functions that build calls are wrapped by
`explained`, which examines their arguments only after one of them was rejected, so that valid calls cost nothing.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import wraps
from inspect import signature
from typing import Any, TypeVar

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_NAMES = {str: "a string", int: "an integer", bool: "True or False", float: "a number", datetime: "a datetime"}
_INT64 = 1 << 63


class ArgumentTypeError(TypeError):
    """An argument of the wrong type, with a message that explains it."""


def explained(build: FunctionT) -> FunctionT:
    """Wrap a function so that it raises an error that names the argument of the wrong type."""

    # Protobuf accepts None for a text, and sends an empty one.
    texts = [(index, name) for index, (name, hint) in enumerate(build.__annotations__.items()) if hint == "str"]

    @wraps(build)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        for index, name in texts:
            if index < len(arguments) and arguments[index] is None:
                raise ArgumentTypeError(f"{name} must be a string, not None")
        try:
            return build(*arguments, **options)
        except ArgumentTypeError:
            raise
        except (TypeError, ValueError, AttributeError) as error:
            given = signature(build).bind(*arguments, **options).arguments
            problem = _first_problem(given, typing.get_type_hints(build))
            if problem is None:
                raise
            raise problem from error

    return typing.cast(FunctionT, wrapped)


def _first_problem(given: Mapping[str, Any], hints: Mapping[str, Any]) -> Exception | None:
    problems = (_problem(name, value, hints.get(name, Any)) for name, value in given.items())
    return next((problem for problem in problems if problem is not None), None)


def _problem(name: str, value: Any, hint: Any) -> Exception | None:
    """Return the error about a value that is not of the type; None if it is, or if that is not examined here."""
    options = typing.get_args(hint) if _is_union(hint) else (hint,)
    problems = []
    for option in options:
        problem = _problem_with(name, value, option)
        if problem is None:
            return None
        problems.append(problem)
    nested = [each for each in problems if not str(each).startswith(f"{name} must")]
    if nested:
        return nested[0]
    return TypeError(f"{name} must be {' or '.join(map(_shown_type, options))}, not {_shown(value)}")


def _problem_with(name: str, value: Any, option: Any) -> Exception | None:
    origin = typing.get_origin(option) or option
    if not isinstance(origin, type) or origin is object:
        return None
    if origin is Iterable:
        return _items_problem(name, value, typing.get_args(option))
    if is_dataclass(origin):
        return _fields_problem(name, value, origin)
    if origin is float:
        origin = (int, float)
    if not isinstance(value, origin):
        return TypeError(f"{name} must be {_shown_type(option)}, not {_shown(value)}")
    if origin is int and not -_INT64 <= value < _INT64:
        return ValueError(f"{name} does not fit in 64 bits: {_shown(value)}")
    return None


def _items_problem(name: str, value: Any, item: tuple[Any, ...]) -> Exception | None:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        return TypeError(f"{name} must be a list, not {_shown(value)}")
    if not item or isinstance(value, Mapping) or not isinstance(value, (list, tuple, set, frozenset)):
        return None  # an iterator has been consumed
    problems = (_problem(f"{name}[{index}]", each, item[0]) for index, each in enumerate(value))
    return next((problem for problem in problems if problem is not None), None)


def _fields_problem(name: str, value: Any, kind: Any) -> Exception | None:
    if not isinstance(value, kind):
        return TypeError(f"{name} must be {_shown_type(kind)}, not {_shown(value)}")
    hints = typing.get_type_hints(kind)
    prefix = f"{name}." if "[" in name else ""  # the arguments of the caller became the fields of one object
    given = {each.name: (f"{prefix}{each.name}", getattr(value, each.name)) for each in fields(kind)}
    problems = (_problem(shown, each, hints[field]) for field, (shown, each) in given.items())
    return next((problem for problem in problems if problem is not None), None)


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _shown_type(hint: Any) -> str:
    origin = typing.get_origin(hint) or hint
    if origin in _NAMES:
        return _NAMES[origin]
    if origin in (None, type(None)):
        return "None"
    if origin is Mapping:
        return "a dict"
    if origin in (Iterable, list, tuple):
        return "a list" if origin is not tuple else f"a tuple of {len(typing.get_args(hint))}"
    if isinstance(origin, type) and issubclass(origin, Enum) and origin.__name__ == "Unset":
        return "left out"
    return f"a {origin.__name__}" if isinstance(origin, type) else str(origin)


def _shown(value: Any) -> str:
    text = repr(value)
    return f"the {type(value).__name__} {text if len(text) <= 60 else text[:60] + '...'}"
