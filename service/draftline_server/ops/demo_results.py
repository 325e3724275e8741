"""What a call answered, for a person."""

from __future__ import annotations

from typing import Any

from draftline import BatchResult, Collection, DraftlineError, ImportResult, PatchResult, Record
from draftline.documents import encode
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

TEXT_CHARS = 600


def shown(result: Any) -> RenderableType:
    """Any result, as lines of name and value."""
    if isinstance(result, list):
        return _lines([(_name(each, number), _short(each)) for number, each in enumerate(result, 1)])
    if isinstance(result, DraftlineError):
        return Text(f"{type(result).__name__}: {result}", style="yellow")
    return _lines(_pairs(result))


def _pairs(result: Any) -> list[tuple[str, str]]:
    if isinstance(result, PatchResult):
        return [("changed_fields", ", ".join(result.changed_fields) or "none"), *_pairs(result.record)]
    if isinstance(result, Record):
        content = encode(result.content)
        pairs = [("record_id", result.record_id), ("version", str(result.version)), ("content", content[:TEXT_CHARS])]
        return pairs + ([("delete_time", str(result.delete_time))] if result.delete_time else [])
    if isinstance(result, ImportResult):
        return [
            (name, f"{getattr(result, f'{name}_count'):,}") for name in ("inserted", "updated", "unchanged", "deleted")
        ]
    if isinstance(result, Collection):
        indexes = [(f"index {number}", _index(each)) for number, each in enumerate(result.indexes, 1)]
        return [("collection", result.collection), ("version", str(result.version)), *indexes]
    return [("result", str(result))]


def _index(index: Any) -> str:
    keys = ", ".join(f"{key.path}{' desc' if key.descending else ''}" for key in index.order.keys)
    return f"{keys}: {index.state.value}"


def _name(each: Any, number: int) -> str:
    return each.collection if isinstance(each, Collection) else str(number)


def _short(each: Any) -> str:
    if isinstance(each, BatchResult):
        if each.error is not None:
            return f"{type(each.error).__name__}: {each.error}"
        return ", ".join(f"{name}={value}" for name, value in _pairs(each.result))
    if isinstance(each, Collection):
        return f"version {each.version}, {len(each.fields)} fields, {len(each.indexes)} indexes"
    return str(each)


def _lines(pairs: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    for name, value in pairs:
        table.add_row(name, Text(value))
    return table
