"""Translation of documents and edits between the fields of a collection and those of a system."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from draftline.upstreams import Direction, FieldMapping, FieldProblem, PathEdit, Refused

from ..domain.content import check_number
from ..domain.edits import MISSING, Path, format_pointer, parse_pointer, resolve
from ..domain.errors import InvalidDocumentError, InvalidFieldError

TYPES = ("", "date", "number", "enum")


class UnmappableError(Exception):
    """A value has no form in the system. `refused` is the outcome of its write."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(problem)
        self.refused = Refused("UNMAPPABLE", f"{path} {problem}", (FieldProblem(path, problem),))


class FieldTranslator:
    """Translates by the fields of a binding. Without fields, documents are the same on both sides.

    Raises ValueError, with the index of the field, if a field is invalid, or contains another one.
    """

    def __init__(self, fields: Sequence[FieldMapping]) -> None:
        self._fields = [_Field(field, index) for index, field in enumerate(fields)]
        for side in ("local", "remote"):
            _check_disjoint(side, [getattr(each, side) for each in self._fields])

    def document_out(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return a local document in the form of the system, without fields that are only pulled."""
        if not self._fields:
            return dict(document)
        return with_edits({}, self.edits_out([PathEdit("", document)]))

    def edits_out(self, edits: Sequence[PathEdit]) -> list[PathEdit]:
        """Return local edits as edits of the system. Raises UnmappableError if a value cannot be converted."""
        if not self._fields:
            return list(edits)
        return [out for edit in edits for field in self._fields for out in field.edits_out(edit)]

    def document_in(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return a document of the system in local form, without fields that are only pushed.

        A value that cannot be converted is returned unchanged.
        """
        if not self._fields:
            return dict(document)
        local: dict[str, Any] = {}
        for field in self._fields:
            value = resolve(document, field.remote)
            if value is not MISSING and field.direction is not Direction.PUSH:
                put(local, field.local, field.value_in(value))
        return local

    def local_path(self, pointer: str) -> str:
        """Return the local path of a field of the system, or the same path if it is not mapped.

        Systems name fields by pointers or by names: `/rate`, `rate`, `address.city`.
        """
        text = pointer if pointer.startswith("/") else "/" + pointer.replace(".", "/")
        for field in self._fields:
            remote = format_pointer(field.remote)
            if text == remote or text.startswith(f"{remote}/"):
                return format_pointer(field.local) + text[len(remote) :]
        return text


class _Field:
    def __init__(self, mapping: FieldMapping, index: int) -> None:
        where = f"fields[{index}]"
        try:
            self.local = parse_pointer(mapping.local, f"{where}.local")
            self.remote = parse_pointer(mapping.remote, f"{where}.remote")
        except InvalidFieldError as error:
            raise ValueError(error.message) from None
        if not self.local or not self.remote:
            raise ValueError(f"{where}: local and remote must not be empty")
        if mapping.type not in TYPES:
            raise ValueError(f"{where}.type: must be one of date, number and enum, or empty")
        if mapping.type == "enum" and not mapping.values:
            raise ValueError(f"{where}.values: must not be empty for an enum")
        self.direction = mapping.direction
        self._mapping = mapping

    def edits_out(self, edit: PathEdit) -> Iterator[PathEdit]:
        path = parse_pointer(edit.path, "path")
        if self.direction is Direction.PULL:
            return
        if path[: len(self.local)] == self.local:  # the field, or a part of it
            rest = path[len(self.local) :]
            yield self._edit_out(rest, edit.value, removed=edit.removed)
        elif self.local[: len(path)] == path:  # an object that contains the field
            value = MISSING if edit.removed else resolve(edit.value, self.local[len(path) :])
            if path or value is not MISSING:
                yield self._edit_out((), value, removed=value is MISSING)

    def _edit_out(self, rest: Path, value: Any, *, removed: bool) -> PathEdit:
        pointer = format_pointer((*self.remote, *rest))
        if removed:
            return PathEdit(pointer, removed=True)
        return PathEdit(pointer, value if rest else self._value_out(value))

    def _value_out(self, value: Any) -> Any:
        if value is None:
            return None
        path = format_pointer(self.local)
        match self._mapping.type:
            case "date" if self._mapping.format:
                try:
                    return date.fromisoformat(value).strftime(self._mapping.format)
                except (TypeError, ValueError):
                    raise UnmappableError(path, "is not an ISO 8601 date") from None
            case "number":
                if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
                    raise UnmappableError(path, "is not a number")
                return format(Decimal(repr(value)) if isinstance(value, float) else Decimal(value), "f")
            case "enum":
                if not isinstance(value, str) or value not in self._mapping.values:
                    raise UnmappableError(path, "has a value that the mapping does not contain")
                return self._mapping.values[value]
        return value

    def value_in(self, value: Any) -> Any:
        try:
            match self._mapping.type:
                case "date" if self._mapping.format:
                    return datetime.strptime(value, self._mapping.format).date().isoformat()
                case "number" if isinstance(value, str):
                    number = Decimal(value)
                    check_number(number, "")
                    return int(number) if number == number.to_integral_value() and "." not in value else number
                case "enum":
                    return next((ours for ours, theirs in self._mapping.values.items() if theirs == value), value)
        except (TypeError, ValueError, InvalidOperation, InvalidDocumentError):
            pass
        return value


def with_edits(document: Mapping[str, Any], edits: Sequence[PathEdit]) -> dict[str, Any]:
    """Return a copy of a document with edits. Objects on the way to a path are created; arrays are replaced whole."""
    result: dict[str, Any] = dict(document)
    for edit in edits:
        path = parse_pointer(edit.path, "path")
        if edit.removed:
            _remove(result, path)
        else:
            put(result, path, edit.value)
    return result


def put(document: dict[str, Any], path: Path, value: Any) -> None:
    """Set a path of a document. Containers on the way are copied, so that they may be shared with another document."""
    for token in path[:-1]:
        below = document.get(token)
        document[token] = dict(below) if isinstance(below, dict) else {}
        document = document[token]
    document[path[-1]] = value


def _remove(document: dict[str, Any], path: Path) -> None:
    if not isinstance(resolve(document, path[:-1]), dict):
        return
    for token in path[:-1]:
        document[token] = dict(document[token])
        document = document[token]
    document.pop(path[-1], None)


def _check_disjoint(side: str, paths: Sequence[Path]) -> None:
    for index, path in enumerate(paths):
        for other, longer in enumerate(paths):
            if other != index and longer[: len(path)] == path:
                raise ValueError(f"fields[{other}].{side}: is the same as that of fields[{index}], or inside of it")
