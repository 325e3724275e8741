"""The statement of a list of changes.

An attribute that the query pins to one value (an equality) and that an index leads with becomes a separate condition
on the plain column, with the predicate of that index. A session's changes, for example, are then read from its index,
newest or oldest first, without reading other changes. The changes of one record are read in the order of its versions,
which is the order of the log as well. Only one index is used; other pinned attributes filter the entries that it finds,
so a page examines a limited number of them.

Everything that determines the SQL is in `ChangeQueryKey`; every value is bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Text,
    and_,
    cast,
    func,
    literal_column,
    null,
    tuple_,
)
from sqlalchemy.dialects.postgresql import UUID

from ...domain.filters.ast import And, Filter, Operator
from ...domain.filters.conditions import Comparison, Condition
from ..filter_templates import FilterTemplate
from ..filters import FilterScope, compile_filter
from ..lists.order import bound
from ..statements import Statement, compiled
from ..tables import change
from .page import NO_NOTICES, LogPage, tenant

PINS = ("collection", "record_id", "user_id", "session_id", "commit_id")
LEADING = (("collection", "record_id"), ("commit_id",), ("session_id",), ("user_id",), ("collection",))
# A change's attributes by their names in filters; an empty text counts as absent.
ATTRIBUTES: Mapping[str, ColumnElement[Any]] = {
    **{name: change.c[name] for name in ("collection", "record_id", "version", "kind", "source", "user_id")},
    **{
        name: func.nullif(change.c[name], literal_column("''"), type_=Text())
        for name in ("session_id", "change_reason")
    },
    **{name: cast(change.c[name], Text()) for name in ("commit_id", "request_id")},
    "create_time": change.c.created_at,
}


@dataclass(frozen=True, slots=True)
class ChangeQueryKey:
    """The inputs that determine the SQL text; `pins` are the attributes that are pinned to one value."""

    pins: tuple[str, ...]
    filter: FilterTemplate | None
    oldest_first: bool
    with_values: bool
    is_continued: bool
    has_since: bool = False
    has_until: bool = False

    @property
    def leading(self) -> tuple[str, ...]:
        """The pinned attributes of the index that is used; empty if the log is read in its own order."""
        return next((names for names in LEADING if set(names) <= set(self.pins)), ())

    @property
    def position(self) -> tuple[str, ...]:
        """The columns of a position in the order."""
        return ("version",) if self.leading == ("collection", "record_id") else ("log_xact", "change_id")

    @property
    def is_bounded(self) -> bool:
        """True if entries that do not match can lie between those that do, so the examined ones must be limited."""
        return self.filter is not None or not self.leading or len(self.leading) < len(self.pins)


def pinned(
    tree: Filter[Condition] | None, collection: str, record_id: str
) -> tuple[dict[str, str], Filter[Condition] | None]:
    """Return the attributes that a query pins to one value, by name, and the rest of its filter."""
    pins = {name: value for name, value in (("collection", collection), ("record_id", record_id)) if value}
    rest: list[Filter[Condition]] = []
    for term in tree.terms if isinstance(tree, And) else () if tree is None else (tree,):
        is_equality = isinstance(term, Comparison) and term.operator is Operator.EQ and not term.lowered
        if isinstance(term, Comparison) and is_equality and isinstance(term.value, str):
            name = term.field.path[0]
            if name in PINS and pins.setdefault(name, term.value) == term.value:
                continue
        rest.append(term)
    return pins, And(tuple(rest)) if len(rest) > 1 else rest[0] if rest else None


def weeks_of(tree: Filter[Condition] | None) -> dict[str, datetime]:
    """Return the weeks (UTC, from Monday) to which a filter limits create_time: from `since`, and before `until`.

    The log has one partition per week, so the other partitions need not be read.
    """
    weeks: dict[str, datetime] = {}
    for term in tree.terms if isinstance(tree, And) else () if tree is None else (tree,):
        if isinstance(term, Comparison) and term.field.path == ("create_time",) and isinstance(term.value, datetime):
            day = term.value.astimezone(UTC)
            monday = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(day.weekday())
            if term.operator in (Operator.EQ, Operator.GE, Operator.GT):
                weeks["since"] = max(monday, weeks.get("since", monday))
            if term.operator in (Operator.EQ, Operator.LE, Operator.LT):
                until = monday + timedelta(7)
                weeks["until"] = min(until, weeks.get("until", until))
    return weeks


@lru_cache(maxsize=512)
def list_statement(key: ChangeQueryKey) -> tuple[Statement, Mapping[str, object]]:
    """Return the statement of a page, and the values that it binds itself.

    The caller binds the others by name: the parameters of the filter, pin_collection and so on, tenant_id, limit,
    max_bytes, scan_limit, since, until, and for a page that continues another one after_version, or after_log_xact and
    after_change_id.
    """
    conditions = [change.c.tenant_id == tenant(), NO_NOTICES, *map(_pin, key.leading)]
    if key.is_continued:
        here = [change.c[name] for name in key.position]
        after = [bound(f"after_{name}", BigInteger()) for name in key.position]
        if key.leading == ("collection",):  # only the index of the collection's changes can seek to it
            here, after = [change.c.collection, *here], [cast(bound("pin_collection"), Text()), *after]
        conditions.append(tuple_(*here) > tuple_(*after) if key.oldest_first else tuple_(*here) < tuple_(*after))
    if key.has_since:
        conditions.append(change.c.created_at >= bound("since", DateTime(timezone=True)))
    if key.has_until:
        conditions.append(change.c.created_at < bound("until", DateTime(timezone=True)))
    filters = [_pin(name) for name in key.pins if name not in key.leading]
    if key.filter is not None:
        filters.append(compile_filter(key.filter, FilterScope(null(), ATTRIBUTES)))
    page = LogPage(conditions, filters, key.position, key.oldest_first, key.with_values, key.is_bounded)
    return compiled("list_changes", page.statement())


def _pin(name: str) -> ColumnElement[bool]:
    column = change.c[name]
    value = bound(f"pin_{name}")
    if name == "commit_id":
        return column == cast(cast(value, Text()), UUID())  # an equality implies IS NOT NULL
    if name == "session_id":
        return and_(column == cast(value, Text()), column != literal_column("''"))
    return column == cast(value, Text())
