"""The change log, read: pages of it, and its rows as changes.

The log keeps edits as migrations/sql/0002_drafts.sql defines them; a change tells them path by path. Values stay
JSON text throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import asyncpg
import msgspec

from ..domain.change_query import ChangePage, ChangeQuery
from ..domain.changes import AttributeChange, Change, ChangeKind, ChangeSource, PathChange
from ..domain.edits import format_pointer
from ..domain.records import Actor
from .change_query import Shape, list_statement, pinned
from .cursors import Cursors
from .engine import Database
from .filters import lifted

MAX_PAGE_BYTES = 4 * 1024 * 1024  # of values and paths
# Of one change. Nested values have long paths: those that are longer than any values can be tell too little.
MAX_CHANGE_BYTES = 3 * 1024 * 1024
PATH_BYTES = 24  # what a path takes besides its texts, at most


class _Node(msgspec.Struct):
    """An edit, or what takes it back; see migrations/sql/0002_drafts.sql."""

    s: dict[str, msgspec.Raw] = {}
    r: list[str] = []
    m: dict[str, _Node] = {}


_node = msgspec.json.Decoder(_Node).decode
_attributes = msgspec.json.Decoder(dict[str, tuple[msgspec.Raw, msgspec.Raw]]).decode


class ChangeStore:
    """Reads the log of a tenant."""

    def __init__(self, database: Database, cursors: Cursors) -> None:
        self._database = database
        self._cursors = cursors

    async def page(self, actor: Actor, query: ChangeQuery, page_size: int, page_token: str) -> ChangePage:
        """Some changes and the token of the next page. InvalidFieldError for a foreign token."""
        pins, rest = pinned(query.filter, query.collection, query.record_id)
        form, values = lifted(rest) if rest is not None else (None, {})
        shape = Shape(tuple(sorted(pins)), form, query.oldest_first, not query.omit_values, bool(page_token))
        bound = (
            "changes", actor.tenant_id, query.collection, query.record_id, query.filter_text, query.oldest_first
        )  # fmt: skip
        values |= {f"pin_{name}": value for name, value in pins.items()}
        if page_token:
            after = self._cursors.open(bound, page_token)
            values |= {f"after_{name}": value for name, value in zip(shape.place, after, strict=True)}
        values |= {"tenant_id": actor.tenant_id, "limit": page_size + 1, "max_bytes": MAX_PAGE_BYTES}
        statement, fixed = list_statement(shape)
        rows = await self._database.fetch(statement, {**fixed, **values}, resend=True)
        changes = _fitting(rows[:page_size])
        token = ""
        if changes and rows[0]["found_count"] > len(changes):
            last = rows[len(changes) - 1]
            token = self._cursors.seal(bound, [last[name] for name in shape.place])
        return ChangePage(changes, token)


def change_of(row: asyncpg.Record) -> Change:
    """A change from the columns of `change_columns`."""
    paths, is_told = _paths(row)
    return Change(
        row["collection"],
        row["record_id"],
        row["version"],
        ChangeKind(row["kind"]),
        ChangeSource(row["source"]),
        paths,
        bool(paths) and not is_told,
        _attribute_changes(row["attributes"]),
        row["user_id"],
        row["session_id"],
        row["commit_id"] or "",
        row["change_reason"],
        row["request_id"] or "",
        row["created_at"],
    )


def _fitting(rows: Sequence[asyncpg.Record]) -> list[Change]:
    """The changes of a page: at least one, if there is one, and those after it that its bytes have room for."""
    changes: list[Change] = []
    size = 0
    for row in rows:
        change = change_of(row)
        size += sum(_size(path) for path in change.paths)
        if changes and size > MAX_PAGE_BYTES:
            break
        changes.append(change)
    return changes


def _paths(row: asyncpg.Record) -> tuple[Sequence[PathChange], bool]:
    """The edited paths in code point order, and whether their values are told."""
    if row["kind"] == ChangeKind.CREATE:
        return [PathChange("", None, row["content"])], row["content"] is not None
    edit = _node(row["edit"])
    is_told = row["base"] is not None
    found: list[PathChange] = []
    size = 0
    for path in _walk(edit, _node(row["base"]) if is_told else None, ""):
        size += _size(path)
        if size > MAX_CHANGE_BYTES:
            return [PathChange(format_pointer([key]), None, None) for key in sorted([*edit.s, *edit.r, *edit.m])], False
        found.append(path)
    return sorted(found, key=lambda path: path.path), is_told


def _walk(edit: _Node, base: _Node | None, at: str) -> Iterator[PathChange]:
    old = base.s if base is not None else {}
    for key, value in edit.s.items():
        yield PathChange(at + format_pointer([key]), _text(old.get(key)), _text(value) if base is not None else None)
    for key in edit.r:
        yield PathChange(at + format_pointer([key]), _text(old.get(key)), None)
    for key, child in edit.m.items():
        yield from _walk(child, base.m[key] if base is not None else None, at + format_pointer([key]))


def _attribute_changes(text: str | None) -> list[AttributeChange]:
    if text is None:
        return []
    return [
        AttributeChange(name, *(None if (value := _text(raw)) == "null" else value for raw in both))
        for name, both in sorted(_attributes(text).items())
    ]


def _text(raw: msgspec.Raw | None) -> str | None:
    return None if raw is None else bytes(raw).decode()


def _size(path: PathChange) -> int:
    texts = (path.path, path.old_value or "", path.new_value or "")
    return PATH_BYTES + sum(len(text) if text.isascii() else len(text.encode()) for text in texts)
