"""The statement of a page of the change log, newest or oldest first.

The cost of a page is limited by its own size, independently of the size of the log:
- It examines a limited number of entries. If more of them follow and the page is not full, it returns how far it
  read (`scan_` and the name of each column of the position), and the next page continues there.
- Contents of creations are rebuilt only for the entries that fit into the page's bytes, judged by stored sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal_column,
    null,
    select,
    true,
)

from ..lists.order import bound
from ..tables import change, record

NO_NOTICES = change.c.kind != literal_column("'DRAFT'")
_RAW = (
    "log_xact", "change_id", "collection", "record_id", "version", "kind", "source", "edit", "base", "attributes",
    "user_id", "session_id", "commit_id", "change_reason", "request_id", "created_at",
)  # fmt: skip
_ZERO: ColumnElement[Any] = literal_column("0")


@dataclass(frozen=True, slots=True)
class LogPage:
    """The entries of a page.

    `conditions`, which an index serves, select the entries to examine; `filters` select those to return, and require
    `is_bounded`.
    `position`: the columns by which they are ordered. `is_bounded`: whether the number of examined entries is limited.
    """

    conditions: Sequence[ColumnElement[bool]]
    filters: Sequence[ColumnElement[bool]]
    position: tuple[str, ...]
    oldest_first: bool
    with_values: bool
    is_bounded: bool

    def statement(self) -> Select[Any]:
        """Return the statement. It binds tenant_id, limit, max_bytes, scan_limit and the values of the conditions.

        It returns at least one row. The `scan_` columns are NULL if all entries were examined or the page is full.
        """
        found = self._found()
        size = func.sum(found.c.stored_bytes).over(order_by=self._order(found.c), rows=(None, 0))
        sized = select(
            found,
            (size - found.c.stored_bytes).label("stored_before"),
            func.count().over().label("found_count"),
        ).subquery("sized")
        shown = (
            select(sized.c.found_count, *change_columns(sized.c, with_values=self.with_values))
            .where(sized.c.stored_before <= bound("max_bytes", BigInteger()))
            .subquery("shown")
        )
        sizes = [func.coalesce(func.octet_length(shown.c[name]), _ZERO) for name in ("edit", "base", "content")]
        total = func.sum(sizes[0] + sizes[1] + sizes[2]).over(order_by=self._order(shown.c), rows=(None, 0))
        exact = select(shown, (total - sizes[0] - sizes[1] - sizes[2]).label("bytes_before")).subquery("page")
        end = self._scan_end(found)
        one_row = select(literal_column("1")).subquery("one_row")
        return (
            select(end, exact)
            .select_from(one_row.outerjoin(end, true()))
            .outerjoin(exact, exact.c.bytes_before <= bound("max_bytes", BigInteger()))
            .order_by(*self._order(exact.c))
        )

    def _scan_end(self, found: Any) -> Any:
        """Return a query of the last examined entry; it has no row if all entries were examined or the page is full."""
        if not self.is_bounded:
            return select(*(cast(null(), BigInteger()).label(f"scan_{name}") for name in self.position)).subquery()
        count = select(func.count()).select_from(found).scalar_subquery()
        return (
            select(*(change.c[name].label(f"scan_{name}") for name in self.position))
            .where(and_(count < bound("limit", BigInteger()), *self.conditions))
            .order_by(*self._order(change.c))
            .offset(bound("scan_limit", BigInteger()) - literal_column("1"))
            .limit(literal_column("1"))
            .subquery("scan_end")
        )

    def _found(self) -> Any:
        """Return a query of the first entries as they are stored, each with the stored size of its shown parts."""
        source: Any = change
        conditions = and_(*self.conditions)
        if self.is_bounded:
            # A subquery with a limit, so that no condition of `filters` makes the planner use another index. It is
            # read only as far as needed to fill the page.
            matches = and_(true(), *self.filters).label("matches")
            looked_at = select(*(change.c[name] for name in _RAW), matches).where(conditions)
            looked_at = looked_at.order_by(*self._order(change.c)).limit(bound("scan_limit", BigInteger()))
            source = looked_at.subquery("looked_at")
            conditions = source.c.matches
        return (
            select(*(source.c[name] for name in _RAW), self._stored_bytes(source.c).label("stored_bytes"))
            .where(conditions)
            .order_by(*self._order(source.c))
            .limit(bound("limit", BigInteger()))
            .cte("found")
        )

    def _stored_bytes(self, c: Any) -> ColumnElement[Any]:
        r = record.c
        size: ColumnElement[Any] = func.coalesce(func.pg_column_size(c.edit), _ZERO)
        if not self.with_values:
            return size
        created = (
            select(func.pg_column_size(r.content))
            .where(r.tenant_id == tenant(), r.collection == c.collection, r.record_id == c.record_id)
            .scalar_subquery()
        )
        return (
            size
            + func.coalesce(func.pg_column_size(c.base), _ZERO)
            + case((c.kind == literal_column("'CREATE'"), func.coalesce(created, _ZERO)), else_=_ZERO)
        )

    def _order(self, columns: Any) -> list[Any]:
        return [columns[name].asc() if self.oldest_first else columns[name].desc() for name in self.position]


def change_columns(c: Any, *, with_values: bool) -> Sequence[ColumnElement[Any]]:
    """Return the columns that `changes.change_of` reads. They bind tenant_id.

    The content of a creation is not in the log: it is rebuilt from a later content of the record.
    """
    r = record.c
    at_creation = func.draftline.content_at(tenant(), c.collection, c.record_id, c.version)
    content = (
        select(cast(case((r.version == c.version, r.content), else_=at_creation), Text()))
        .where(r.tenant_id == tenant(), r.collection == c.collection, r.record_id == c.record_id)
        .scalar_subquery()
    )
    shown = (
        [cast(c.edit, Text()), cast(c.base, Text()), case((c.kind == literal_column("'CREATE'"), content))]
        if with_values
        else [cast(func.draftline.without_values(c.edit), Text()), cast(null(), Text()), cast(null(), Text())]
    )
    return [
        c.log_xact, c.change_id, c.collection, c.record_id, c.version, c.kind, c.source,
        *(column.label(name) for name, column in zip(("edit", "base", "content"), shown, strict=True)),
        cast(c.attributes, Text()).label("attributes"), c.user_id, c.session_id,
        cast(c.commit_id, Text()).label("commit_id"), c.change_reason,
        cast(c.request_id, Text()).label("request_id"), c.created_at,
    ]  # fmt: skip


def tenant() -> ColumnElement[Any]:
    return cast(bound("tenant_id"), Text())
