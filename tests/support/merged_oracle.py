"""Merge, filter and sort all records in plain Python: the oracle of merged lists, without indexes or pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from draftline_server.domain.content import changed_fields
from draftline_server.domain.filters.ast import MERGED_ATTRIBUTES, FieldType, Path, SortKey
from draftline_server.domain.merged import MergedQuery, View

from support import edit_oracle
from support.filter_oracle import MISSING, _fits, satisfies, typed, value_at

UNDECLARED = (FieldType.NUMBER, FieldType.TEXT, FieldType.BOOLEAN)


@dataclass(frozen=True)
class Row:
    """One record of the list."""

    content: dict[str, Any]
    attributes: dict[str, Any]
    kind: str | None
    draft_version: int
    modified_fields: list[str]
    modified_attributes: list[str] = field(default_factory=list)

    @property
    def told(self) -> tuple[Any, ...]:
        return (
            self.attributes["record_id"], self.attributes["version"], self.kind, self.draft_version,
            self.modified_fields, self.content, self.attributes["parent_id"], self.attributes["position"],
            self.modified_attributes,
        )  # fmt: skip


def merged_list(
    records: Sequence[Mapping[str, Any]],
    drafts: Sequence[Mapping[str, Any]],
    user: str,
    query: MergedQuery,
    declared: Mapping[Path, FieldType],
) -> list[Row]:
    """The whole list, of the rows of the tables as JSON tells them."""
    stored = {row["record_id"]: row for row in records}
    own = {
        row["record_id"]: row for row in drafts
        if row["user_id"] == user and query.session_id in ("", row["session_id"]) and query.view is not View.BASELINE
    }  # fmt: skip
    rows = [_of_draft(draft, stored.get(record_id)) for record_id, draft in own.items()]
    if query.view is View.MERGED and not query.show_deleted:
        rows = [row for row in rows if row.kind != "DELETE"]
    if query.view is not View.DRAFTS_ONLY:
        rows += [
            Row(record["content"], _attributes(record), None, 0, [])
            for record_id, record in stored.items()
            if record_id not in own and (query.show_deleted or record["deleted_at"] is None)
        ]
    rows = [
        row for row in rows
        if (not query.record_ids or row.attributes["record_id"] in query.record_ids)
        and satisfies(query.filter, row.content, row.attributes, declared)
    ]  # fmt: skip
    return in_order(rows, query.order, declared)


def _of_draft(draft: Mapping[str, Any], record: Mapping[str, Any] | None) -> Row:
    baseline = record["content"] if record else {}
    content = edit_oracle.apply(draft["edit"], baseline)
    is_creation = draft["kind"] == "CREATE"
    if record and is_creation and record["deleted_at"] is not None:  # it is brought back
        record = {**record, "parent_id": None, "position": None}
    if record and is_creation:
        record = {**record, "deleted_at": None}
    drafted = {name: pair[1] for name, pair in (draft["attributes"] or {}).items() if len(pair) == 2}
    attributes = _attributes(record or {**draft, "version": 0, "created_by": draft["user_id"],
                                        "updated_by": draft["user_id"]}) | drafted | {
        "state": "DRAFT",
        "draft_version": draft["version"],
        "modified_by": draft["user_id"],
        "modify_time": draft["updated_at"],
        "session_id": draft["session_id"] or None,
    }  # fmt: skip
    modified = changed_fields(baseline, {} if draft["kind"] == "DELETE" else content)
    own = record or {"parent_id": None, "position": None}
    moved = [name for name in ("parent_id", "position") if attributes[name] != own[name]]
    return Row(content, attributes, draft["kind"], draft["version"], modified, moved)


def _attributes(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "record_id": record["record_id"],
        "version": record["version"],
        "parent_id": record.get("parent_id"),
        "position": record.get("position"),
        "create_time": record["created_at"],
        "created_by": record["created_by"],
        "update_time": record["updated_at"],
        "updated_by": record["updated_by"],
        "delete_time": record.get("deleted_at"),
        "state": "PRISTINE",
    }


def in_order(rows: Sequence[Row], order: Sequence[SortKey], declared: Mapping[Path, FieldType]) -> list[Row]:
    """Null and missing last in both directions, ties by id; numbers, texts, booleans where nothing is declared."""
    ordered = sorted(rows, key=lambda row: row.attributes["record_id"])
    for key in reversed(order):
        if key.field.of_record:
            types: tuple[FieldType, ...] = (MERGED_ATTRIBUTES[key.field.path[0]],)
        else:
            types = (declared[key.field.path],) if key.field.path in declared else UNDECLARED
        for type_ in reversed(types):
            keyed = [(_sort_value(row, key, type_), row) for row in ordered]
            present = [pair for pair in keyed if pair[0] is not None]
            present.sort(key=lambda pair: pair[0], reverse=key.descending)
            ordered = [row for _, row in present] + [row for value, row in keyed if value is None]
    return ordered


def _sort_value(row: Row, key: SortKey, type_: FieldType) -> Any:
    found = value_at(row.attributes if key.field.of_record else row.content, key.field.path)
    value = None if found is MISSING else typed(found, type_)
    return None if type_ is FieldType.NUMBER and value is not None and not _fits(value) else value
