"""Human-readable results of calls."""

from __future__ import annotations

from typing import Any

from draftline import (
    UNSET,
    BatchResult,
    Change,
    Collection,
    CommitResult,
    Conflict,
    ConflictError,
    DraftKind,
    DraftlineError,
    ImportResult,
    MergedPage,
    MergedRecord,
    PatchResult,
    PurgeResult,
    Record,
    RevertResult,
    Statistics,
)
from draftline.documents import encode
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

TEXT_CHARS = 600


def shown(result: Any) -> RenderableType:
    """Return any result as lines of name and value."""
    if isinstance(result, MergedPage):
        return _lines([*map(_line, result.records), ("total_size", f"{result.total_size:,}")])
    if isinstance(result, Statistics):
        return _lines([_group(each) for each in result.rows()])
    if isinstance(result, list | tuple):
        if len(result) == 1 and isinstance(result[0], CommitResult | MergedRecord | RevertResult):
            return _lines(_pairs(result[0]))
        return _lines([_numbered(each, number) for number, each in enumerate(result, 1)])
    if isinstance(result, ConflictError):
        refused = Text(f"{type(result).__name__}: {result}", style="yellow")
        return Group(refused, _lines([("conflict", _conflict(each)) for each in result.conflicts]))
    if isinstance(result, DraftlineError):
        return Text(f"{type(result).__name__}: {result}", style="yellow")
    return _lines(_pairs(result))


def _group(row: dict[str, Any]) -> tuple[str, str]:
    (_, key), *measures = row.items()
    return str(key), ", ".join(f"{name} {value:,}" for name, value in measures if value is not None)


def _pairs(result: Any) -> list[tuple[str, str]]:
    if isinstance(result, PatchResult):
        return [("changed_fields", ", ".join(result.changed_fields) or "none"), *_pairs(result.record)]
    if isinstance(result, Record):
        content = encode(result.content)
        pairs = [("record_id", result.record_id), ("version", str(result.version)), ("content", content[:TEXT_CHARS])]
        return pairs + ([("delete_time", str(result.delete_time))] if result.delete_time else [])
    if isinstance(result, MergedRecord):
        return [("record_id", result.record_id), *_pairs_of_draft(result)]
    if isinstance(result, CommitResult | RevertResult):
        return [("record_id", result.record_id), *_pairs_of_commit(result)]
    if isinstance(result, Change):
        return [("record_id", result.record_id), ("change", _short(result))]
    if isinstance(result, PurgeResult):
        return [("removed permanently", ", ".join(result.record_ids)), ("left", f"{result.remaining_count:,}")]
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


def _pairs_of_draft(merged: MergedRecord) -> list[tuple[str, str]]:
    kind = merged.draft_kind
    pairs = [("draft", f"{kind.value}, version {merged.draft_version}" if kind else "none")]
    if kind is DraftKind.CHANGE:
        pairs.append(("modified_fields", ", ".join(merged.modified_fields)))
    if merged.content:
        pairs.append(("content", encode(merged.content)[:TEXT_CHARS]))
    return pairs + [("conflict", _conflict(each)) for each in merged.conflicts]


def _pairs_of_commit(result: CommitResult | RevertResult) -> list[tuple[str, str]]:
    pairs = [("changed_fields", ", ".join(result.changed_fields) or "none")]
    if result.record:
        pairs += [pair for pair in _pairs(result.record)[1:] if pair[1] != "{}"]
    return pairs + [("conflict", _conflict(each)) for each in result.conflicts]


def _conflict(conflict: Conflict) -> str:
    values = {"base": conflict.base, "mine": conflict.mine, "theirs": conflict.theirs}
    sides = (f"{name} {'nothing' if value is UNSET else encode(value)}" for name, value in values.items())
    return f"{conflict.path or 'the whole record'}: {', '.join(sides)}"


def _numbered(each: Any, number: int) -> tuple[str, str]:
    if isinstance(each, CommitResult | MergedRecord | Collection):
        return _line(each)
    if isinstance(each, tuple):
        return str(each[0]), f"{each[1]:,}"
    return str(number), _short(each)


def _line(each: CommitResult | MergedRecord | Collection) -> tuple[str, str]:
    if isinstance(each, Collection):
        return each.collection, f"version {each.version}, {len(each.fields)} fields, {len(each.indexes)} indexes"
    pairs = _pairs_of_draft(each) if isinstance(each, MergedRecord) else _pairs_of_commit(each)
    return each.record_id, ", ".join(f"{name}={value}" for name, value in pairs if value != "none")


def _short(each: Any) -> str:
    if isinstance(each, BatchResult):
        if each.error is not None:
            return f"{type(each.error).__name__}: {each.error}"
        return ", ".join(f"{name}={value}" for name, value in _pairs(each.result))
    if isinstance(each, Change):
        paths = ", ".join(path.path or "all of it" for path in each.paths)
        why = f" ({each.change_reason})" if each.change_reason else ""
        return f"version {each.version} by {each.user_id}: {each.kind.value} of {paths}{why}"
    return str(each)


def _lines(pairs: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    for name, value in pairs:
        table.add_row(name, Text(value))
    return table
