"""Merged lists: pages and streams of records with the caller's drafts applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import asyncpg

from ...domain.drafts import DraftKind, MergedRecord
from ...domain.errors import InvalidFieldError
from ...domain.filters.ast import MERGED_ATTRIBUTES, FieldType, Filter, FilterError, Path, SortKey
from ...domain.filters.conditions import Condition
from ...domain.filters.related import RelatedFields
from ...domain.filters.type_resolution import type_of, with_types
from ...domain.merged import MergedQuery
from ...domain.records import Actor, Record
from ..collections.cache import CollectionSpecs
from ..database import Database
from ..drafts import conflicts_of
from ..filter_templates import after_prefix, parameterize
from ..page_tokens import PageTokens, Position
from ..record_errors import invalid_filter
from ..record_rows import time_of
from ..relations.expansions import Source
from ..relations.filter_relations import related_fields
from .branches import ListQueryKey
from .entries import EntryRange
from .listing import Listing
from .order import OrderKey
from .query import count_statement, page_statement
from .ranges import EntryRanges
from .sync_states import sync_of

MAX_PAGE_BYTES = 4 * 1024 * 1024  # of content
UNDECLARED = (FieldType.NUMBER, FieldType.TEXT, FieldType.BOOLEAN)  # numbers first, then texts, then booleans


class MergedPage:
    """A page of a merged list."""

    def __init__(
        self, listing: Listing, rows: Sequence[asyncpg.Record], next_page_token: str, total_size: int | None
    ) -> None:
        self._listing = listing
        self._rows = rows
        self.next_page_token = next_page_token
        self.total_size = total_size

    @cached_property
    def records(self) -> Sequence[MergedRecord]:
        """The records, which are converted when they are first needed."""
        actor, collection = self._listing.actor, self._listing.query.collection
        return [merged_of(row, actor, collection, with_sync=self._listing.shape.with_sync) for row in self._rows]

    @cached_property
    def sources(self) -> Sequence[Source]:
        """The records as those from which relations lead."""
        return [(row["record_id"], row["content"].encode(), row["parent_id"]) for row in self._rows]


class MergedStore:
    """Reads merged lists of a user."""

    def __init__(self, database: Database, specs: CollectionSpecs, cursors: PageTokens) -> None:
        self._database = database
        self._specs = specs
        self._cursors = cursors
        self._ranges = EntryRanges(database)

    async def page(
        self,
        actor: Actor,
        query: MergedQuery,
        page_size: int,
        page_token: str,
        *,
        include_total_size: bool = False,
        max_bytes: int = MAX_PAGE_BYTES,
    ) -> MergedPage:
        """Return a page of records and the token of the next page.

        Raise InvalidFilterError if the filter does not fit the declared types, InvalidFieldError if the list cannot be
        sorted by a key of `order_by` or if the token belongs to another query.
        """
        spec = await self._specs.current(actor.tenant_id, query.collection)
        related = await related_fields(self._specs, actor.tenant_id, spec, query.filter)
        condition = _condition(query, spec.fields, related)
        shape, values = _shape_of(query, condition, spec.fields)
        shape = replace(shape, with_sync=bool(spec.upstream))
        listing = Listing(actor, query, spec, condition, shape, values)
        token_key = _bound(actor, query, shape)
        after = self._cursors.open(token_key, page_token) if page_token else None
        if after is not None:
            after = await self._resolved(actor, query, shape, after)
        limits = {"limit": page_size + 1, "max_bytes": max_bytes}
        entries = await self._ranges.for_page(listing)
        rows = await self._page_of_entries(listing, entries, after, limits) if entries is not None else None
        if rows is None:
            entries, rows = None, await self._page_of_tables(listing, after, limits)
        kept = rows[: _fitting(rows, page_size, max_bytes)]
        token = ""
        if len(rows) > len(kept):
            token = self._cursors.seal(token_key, _position(kept[-1], shape, entries))
        total = await self._count(listing) if include_total_size else None
        return MergedPage(listing, kept, token, total)

    async def _page_of_entries(
        self, listing: Listing, entries: EntryRange, after: Position | None, limits: Mapping[str, object]
    ) -> Sequence[asyncpg.Record] | None:
        """Return the rows of a page; None if the order is no longer ready."""
        shape, values = entries.query_of(listing.shape, listing.condition)
        if after is not None and entries.is_sorted:
            texts = {key.field.path: text for key, text in zip(listing.shape.order, after[1:], strict=True)}
            values["after_key"] = entries.key_after(texts)
            shape = replace(shape, after=())
        elif after is not None:
            shape = replace(shape, after=_nulls(after))
        statement, fixed = page_statement(shape)
        bound = {**fixed, **values, **limits, **_values(listing.actor, listing.query, after)}
        rows = await self._database.fetch(statement, bound, idempotent=True)
        if not rows:
            return None
        return rows if rows[0]["record_id"] is not None else []

    async def _page_of_tables(
        self, listing: Listing, after: Position | None, limits: Mapping[str, object]
    ) -> Sequence[asyncpg.Record]:
        shape = listing.shape
        if after is not None:
            shape = replace(shape, after=_nulls(after), is_ranged=self._ranges.has_declared_order(listing))
        statement, fixed = page_statement(shape)
        bound = {**fixed, **listing.values, **limits, **_values(listing.actor, listing.query, after)}
        return await self._database.fetch(statement, bound, idempotent=True)

    async def _resolved(self, actor: Actor, query: MergedQuery, shape: ListQueryKey, after: Position) -> Position:
        """Return the position with the full text of each long key, of which the token holds only a prefix and a digest.

        The text is read from the record that the previous page ended with. If that text has changed since, the position
        is before all texts with the same prefix: some records are then returned twice, but none is left out.
        """
        count = 1 + len(shape.order)
        position, digests = list(after[:count]), after[count:]
        if not any(digests):
            return position
        one = replace(shape, filter=None, after=None, has_record_ids=True, whole_keys=True)
        statement, fixed = page_statement(one)
        values = {**fixed, **_values(actor, replace(query, record_ids=(str(after[0]),)), None)}
        rows = await self._database.fetch(
            statement, values | {"limit": 1, "max_bytes": MAX_PAGE_BYTES}, idempotent=True
        )
        for index, (digest, key) in enumerate(zip(digests, shape.order, strict=True)):
            if digest is not None:
                is_same = bool(rows) and rows[0][f"digest_{index}"] == digest
                prefix = str(position[index + 1])
                position[index + 1] = rows[0][f"key_{index}"] if is_same else _before_prefix(prefix, key)
        return position

    async def _count(self, listing: Listing) -> int:
        rows: Sequence[asyncpg.Record] = []
        values = _values(listing.actor, listing.query, None)
        entries = await self._ranges.for_count(listing)
        if entries is not None:
            shape, bound = entries.query_of(listing.shape, listing.condition)
            statement, fixed = count_statement(replace(shape, order=(), with_sync=False))
            rows = await self._database.fetch(statement, {**fixed, **bound, **values}, idempotent=True)
        if not rows:
            statement, fixed = count_statement(replace(listing.shape, after=None, order=(), with_sync=False))
            rows = await self._database.fetch(statement, {**fixed, **listing.values, **values}, idempotent=True)
        total: int = rows[0]["total_size"]
        return total


def _condition(
    query: MergedQuery, declared: Mapping[Path, FieldType], related: RelatedFields | None = None
) -> Filter[Condition] | None:
    """Return the filter with types. Raise InvalidFilterError if it does not fit them."""
    try:
        return with_types(query.filter, declared, MERGED_ATTRIBUTES, related) if query.filter is not None else None
    except FilterError as error:
        raise invalid_filter("filter", error) from None


def _shape(query: MergedQuery, declared: Mapping[Path, FieldType]) -> tuple[ListQueryKey, Mapping[str, object]]:
    """Return the key of the query's statements, and the values of its filter, which they bind by name."""
    return _shape_of(query, _condition(query, declared), declared)


def _shape_of(
    query: MergedQuery, condition: Filter[Condition] | None, declared: Mapping[Path, FieldType]
) -> tuple[ListQueryKey, Mapping[str, object]]:
    template, values = parameterize(condition) if condition is not None else (None, {})
    shape = ListQueryKey(
        query.collection,
        template,
        _order(tuple(query.order), declared),
        query.view,
        query.show_deleted,
        bool(query.record_ids),
        bool(query.session_id),
    )
    return shape, values


def _order(keys: Sequence[SortKey], declared: Mapping[Path, FieldType]) -> tuple[OrderKey, ...]:
    order: list[OrderKey] = []
    for key in keys:
        try:
            type_ = type_of(key.field, declared, MERGED_ATTRIBUTES)
        except FilterError as error:
            raise InvalidFieldError.of("order_by", f"at character {error.position}: {error.message}") from None
        if key.field.of_record and key.field.path == ("mistyped",):
            raise InvalidFieldError.of("order_by", "record.mistyped is for filters only: a list cannot be sorted by it")
        if type_ is not None:
            order.append(OrderKey(key.field, type_, key.descending, not key.field.of_record))
        else:
            order += [OrderKey(key.field, each, key.descending, declared=False) for each in UNDECLARED]
    return tuple(order)


def _bound(actor: Actor, query: MergedQuery, shape: ListQueryKey) -> Sequence[object]:
    """Return what a page token is bound to: the query, and the types of its sort keys."""
    return (
        "merged", actor.tenant_id, actor.user_id, query.collection, query.filter_text, query.order_text,
        query.record_ids, query.session_id, query.view, query.show_deleted, [key.type for key in shape.order],
    )  # fmt: skip


def _values(actor: Actor, query: MergedQuery, after: Position | None) -> dict[str, object]:
    values: dict[str, object] = {
        "tenant_id": actor.tenant_id,
        "user_id": actor.user_id,
        "collection": query.collection,
        "record_ids": list(query.record_ids),
        "session_id": query.session_id,
    }
    if after is not None:
        values["after_id"] = after[0]
        values |= {f"after_{index}": value for index, value in enumerate(after[1:])}
    return values


def _nulls(after: Position) -> tuple[bool, ...]:
    return tuple(value is None for value in after[1:])


def _position(row: asyncpg.Record, shape: ListQueryKey, entries: EntryRange | None) -> Position:
    """Return the record's id and its sort keys, and if any key is too long for a token, a digest of each such key."""
    if entries is not None and entries.is_sorted:
        texts = entries.texts_of(row["entry_key"])
        return [row["record_id"], *(texts[key.field.path] for key in shape.order)]
    digests = [row[f"digest_{index}"] if key.may_be_long else None for index, key in enumerate(shape.order)]
    keys = [row[f"key_{index}"] for index in range(len(shape.order))]
    return [row["record_id"], *keys, *(digests if any(digests) else [])]


def _before_prefix(prefix: str, key: OrderKey) -> str:
    """Return a text that sorts before all longer texts with this prefix, in the order of the key."""
    if not key.descending:
        return prefix
    return after_prefix(prefix) or prefix + prefix


def _fitting(rows: Sequence[asyncpg.Record], page_size: int, max_bytes: int) -> int:
    """Return how many rows fit on the page by its size and its bytes; the first row always does."""
    size = 0
    for index, row in enumerate(rows[:page_size]):
        content: str = row["content"]
        size += len(content) if content.isascii() else len(content.encode())
        if index and size > max_bytes:
            return index
    return min(len(rows), page_size)


def merged_of(row: asyncpg.Record, actor: Actor, collection: str, *, with_sync: bool = False) -> MergedRecord:
    """Return the record of a row of a list. `with_sync`: the row has its state at the system of record."""
    record, kind = record_of(row, collection), row["draft_kind"]
    sync = sync_of(row, collection) if with_sync else None
    if kind is None:
        return MergedRecord(record, sync=sync)
    return MergedRecord(
        record,
        DraftKind(kind),
        row["draft_version"],
        row["modified_fields"],
        actor.user_id,
        row["draft_updated_at"],
        row["session_id"],
        row["change_reason"],
        conflicts_of(collection, record.record_id, record.version, row["conflicts"] or "[]"),
        row["modified_attributes"] or (),
        sync,
    )


def record_of(row: Sequence[Any], collection: str) -> Record:
    """Return the record of a row that begins with the columns of query.RECORD_COLUMNS."""
    (record_id, content, version, parent_id, position, created_at, created_by, updated_at, updated_by, deleted_at
     ) = row[:10]  # fmt: skip
    return Record(
        collection, record_id, content, version, parent_id, position, time_of(created_at), created_by,
        time_of(updated_at), updated_by, deleted_at,
    )  # fmt: skip
