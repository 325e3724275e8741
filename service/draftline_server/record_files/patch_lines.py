"""Patches from a file with one JSON object per line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from .readers import value_of_line
from .text import RecordFileError, lines

# The members that a bulk writer's `patch` takes under the same names, except for `collection` and `record_id`.
OPTIONS = frozenset({
    "delta", "operations", "strategy", "depth", "expected_version", "condition", "allow_missing", "allow_deleted",
    "parent_id", "position", "change_reason", "request_id",
})  # fmt: skip
IGNORED = frozenset({"line", "error"})  # which a file of failed lines adds


@dataclass(frozen=True, slots=True)
class PatchLine:
    """A line of a patch file. `number` counts from 1."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class FilePatch:
    """A patch of a line. `options` are the named arguments of a bulk writer's `patch`."""

    collection: str
    record_id: str
    options: Mapping[str, Any]


def patch_lines(file: BinaryIO) -> Iterator[PatchLine]:
    """Yield the lines that are not blank. Raise RecordFileError if the file is not UTF-8 or a line is too long."""
    for number, _, text in lines(file):
        if not text.isspace():
            yield PatchLine(number, text.rstrip("\r\n"))


def patch_of(line: PatchLine, collection: str) -> FilePatch:
    """Return the patch of a line; `collection` is that of lines which name none. Raise RecordFileError if invalid."""
    source = f"line {line.number}"
    value = value_of_line(line.text, source)
    problem = _problem(value, collection)
    if problem:
        raise RecordFileError(f"{source}: {problem}")
    options = {name: value[name] for name in value if name in OPTIONS}
    return FilePatch(value.get("collection", collection), value["record_id"], options)


def _problem(value: Any, collection: str) -> str:
    """Return the reason why a value is not a patch, or an empty string."""
    if not isinstance(value, dict):
        return "the patch is not an object"
    unknown = sorted(value.keys() - OPTIONS - IGNORED - {"collection", "record_id"})
    if unknown:
        return f"unknown field {unknown[0]!r}; a patch has record_id, collection, {', '.join(sorted(OPTIONS))}"
    for name in ("record_id", "collection", "condition", "strategy", "change_reason", "request_id"):
        if name in value and not isinstance(value[name], str):
            return f"field {name}: must be a string"
    for name, kind, noun in (("delta", dict, "an object"), ("operations", list, "an array of objects")):
        if name in value and not isinstance(value[name], kind):
            return f"field {name}: must be {noun}"
    if not all(isinstance(operation, dict) for operation in value.get("operations", ())):
        return "field operations: must be an array of objects"
    if not value.get("record_id"):
        return "field record_id: must contain the id of the record"
    if not value.get("collection", collection):
        return "field collection: must contain the collection, or pass --collection"
    return ""
