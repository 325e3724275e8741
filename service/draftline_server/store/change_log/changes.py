"""Reading of the change log: its pages, and the conversion of its rows to changes.

The log stores edits as migrations/sql/0002_drafts.sql defines them; a change lists them path by path. Values stay JSON
text throughout.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import asyncpg
import msgspec

from ...domain.change_query import ChangePage, ChangeQuery
from ...domain.changes import AttributeChange, Change, ChangeKind, ChangeSource, PathChange
from ...domain.edits import format_pointer
from ...domain.records import Actor
from ..database import Database
from ..filter_templates import parameterize
from ..page_tokens import PageTokens
from .query import ChangeQueryKey, list_statement, pinned, weeks_of

MAX_PAGE_BYTES = 4 * 1024 * 1024  # of values and paths
# Of one change: the paths of deeply nested values can take more than any content. A larger change lists only its
# top-level keys, without values.
MAX_CHANGE_BYTES = 3 * 1024 * 1024
MAX_SCANNED = 10_000  # the maximum number of entries that a statement examines
MAX_SEARCH_S = 5.0  # after this time, a page is returned even if nothing was found
Position = Sequence[str | int | bool | None]  # the position that a page token holds
PATH_BYTES = 24  # the maximum overhead of a path besides its texts


class _Node(msgspec.Struct):
    """An edit or its inverse; see migrations/sql/0002_drafts.sql."""

    s: dict[str, msgspec.Raw] = {}
    r: list[str] = []
    m: dict[str, _Node] = {}


_node = msgspec.json.Decoder(_Node).decode
_attributes = msgspec.json.Decoder(dict[str, tuple[msgspec.Raw, msgspec.Raw]]).decode


class ChangeStore:
    """Reads pages of a tenant's change log."""

    def __init__(self, database: Database, cursors: PageTokens) -> None:
        self._database = database
        self._cursors = cursors

    async def page(self, actor: Actor, query: ChangeQuery, page_size: int, page_token: str) -> ChangePage:
        """Return a page of changes and the token of the next page.

        Raise InvalidFieldError if the token belongs to another query.
        """
        pins, rest = pinned(query.filter, query.collection, query.record_id)
        form, values = parameterize(rest) if rest is not None else (None, {})
        query_key = (
            "changes", actor.tenant_id, query.collection, query.record_id, query.filter_text, query.oldest_first
        )  # fmt: skip
        values |= {f"pin_{name}": value for name, value in pins.items()}
        values |= {
            "tenant_id": actor.tenant_id, "limit": page_size + 1, "max_bytes": MAX_PAGE_BYTES, "scan_limit": MAX_SCANNED
        }  # fmt: skip
        weeks = weeks_of(rest)
        values |= weeks
        key = ChangeQueryKey(
            tuple(sorted(pins)), form, query.oldest_first, not query.omit_values, bool(page_token), "since" in weeks,
            "until" in weeks,
        )  # fmt: skip
        after: Position | None = self._cursors.open(query_key, page_token) if page_token else None
        give_up = time.monotonic() + MAX_SEARCH_S
        while True:
            stretch = await self._read(key, values, after, page_size)
            if stretch.changes or stretch.end is None or time.monotonic() > give_up:
                next_token = "" if stretch.end is None else self._cursors.seal(query_key, stretch.end)
                return ChangePage(stretch.changes, next_token)
            key, after = replace(key, is_continued=True), stretch.end

    async def _read(
        self, key: ChangeQueryKey, values: dict[str, object], after: Position | None, page_size: int
    ) -> _Stretch:
        """Read a limited stretch of the log."""
        statement, fixed = list_statement(key)
        if after is not None:
            values = values | {f"after_{name}": value for name, value in zip(key.position, after, strict=True)}
        rows = await self._database.fetch(statement, {**fixed, **values}, idempotent=True)
        entries = [row for row in rows if row["version"] is not None]
        changes = _fitting(entries[:page_size])
        if changes and entries[0]["found_count"] > len(changes):
            last = entries[len(changes) - 1]
            return _Stretch(changes, [last[name] for name in key.position])
        scanned = [rows[0][f"scan_{name}"] for name in key.position]
        return _Stretch(changes, None if scanned[0] is None else scanned)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The changes in a stretch of the log; `end`: the position to continue after, None at the end of the log."""

    changes: list[Change]
    end: Position | None


def change_of(row: asyncpg.Record) -> Change:
    """Return a change from the columns of `change_columns`."""
    paths, has_values = _paths(row)
    return Change(
        row["collection"],
        row["record_id"],
        max(row["version"], 0),  # each purge of a record has its own version, from 0 down
        ChangeKind(row["kind"]),
        ChangeSource(row["source"]),
        paths,
        bool(paths) and not has_values,
        _attribute_changes(row["attributes"]),
        row["user_id"],
        row["session_id"],
        row["commit_id"] or "",
        row["change_reason"],
        row["request_id"] or "",
        row["created_at"],
    )


def _fitting(rows: Sequence[asyncpg.Record]) -> list[Change]:
    """Return the changes that fit on a page by their bytes, and always the first one."""
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
    """Return the edited paths in code point order, and whether their values are included."""
    if row["kind"] == ChangeKind.CREATE:
        return [PathChange("", None, row["content"])], row["content"] is not None
    edit = _node(row["edit"])
    has_values = row["base"] is not None
    changes: list[PathChange] = []
    size = 0
    for path in _walk(edit, _node(row["base"]) if has_values else None, ""):
        size += _size(path)
        if size > MAX_CHANGE_BYTES:
            return [PathChange(format_pointer([key]), None, None) for key in sorted([*edit.s, *edit.r, *edit.m])], False
        changes.append(path)
    return sorted(changes, key=lambda path: path.path), has_values


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
