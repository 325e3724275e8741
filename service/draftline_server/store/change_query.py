"""The statement of a list of changes.

What a filter pins to one value, and an index leads with, is a condition of its own on the plain column, with the
predicate of that index: a session's changes are then read from its index, newest or oldest first, and nobody
else's. The changes of one record are read in the order of its versions, which is the order of the log as well.

Everything that shapes the SQL is in `Shape`; every value is bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Text,
    and_,
    case,
    cast,
    func,
    literal_column,
    null,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import UUID

from ..domain.query import And, Comparison, Condition, Filter, Operator
from .filters import Form, compile_filter
from .merged_order import bound
from .statements import Statement, compiled
from .tables import change, record

PINS = ("collection", "record_id", "user_id", "session_id", "commit_id")
NO_NOTICES = change.c.kind != literal_column("'DRAFT'")
# A change's attributes as filters name them: what is empty is not there.
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
class Shape:
    """What decides the text of the statement; `pins` are the attributes that are pinned to one value."""

    pins: tuple[str, ...]
    filter: Form | None
    oldest_first: bool
    with_values: bool
    is_continued: bool

    @property
    def of_record(self) -> bool:
        return {"collection", "record_id"} <= set(self.pins)

    @property
    def place(self) -> tuple[str, ...]:
        """The columns that tell a change's place in the order."""
        return ("version",) if self.of_record else ("log_xact", "change_id")


def pinned(
    tree: Filter[Condition] | None, collection: str, record_id: str
) -> tuple[dict[str, str], Filter[Condition] | None]:
    """What a query pins to one value, by name, and what is left of its filter."""
    pins = {name: value for name, value in (("collection", collection), ("record_id", record_id)) if value}
    rest: list[Filter[Condition]] = []
    for term in tree.terms if isinstance(tree, And) else () if tree is None else (tree,):
        if isinstance(term, Comparison) and term.operator is Operator.EQ and isinstance(term.value, str):
            name = term.field.path[0]
            if name in PINS and pins.setdefault(name, term.value) == term.value:
                continue
        rest.append(term)
    return pins, And(tuple(rest)) if len(rest) > 1 else rest[0] if rest else None


@lru_cache(maxsize=512)
def list_statement(shape: Shape) -> tuple[Statement, Mapping[str, object]]:
    """The statement of a page, and the values that it binds itself.

    The others are bound by name: those lifted out of the filter, pin_collection and so on, tenant_id, limit,
    max_bytes, and for a page after another one after_version, or after_log_xact and after_change_id.
    """
    conditions = [change.c.tenant_id == tenant(), NO_NOTICES, *map(_pin, shape.pins)]
    if shape.filter is not None:
        conditions.append(compile_filter(shape.filter, null(), ATTRIBUTES))
    if shape.is_continued:
        here = tuple_(*(change.c[name] for name in shape.place))
        after = tuple_(*(bound(f"after_{name}", BigInteger()) for name in shape.place))
        conditions.append(here > after if shape.oldest_first else here < after)
    found = (
        select(*change_columns(with_values=shape.with_values))
        .where(and_(*conditions))
        .order_by(*_order(change.c, shape))
        .limit(bound("limit", BigInteger()))
        .subquery("found")
    )
    sizes = [
        func.coalesce(func.octet_length(found.c[name]), literal_column("0")) for name in ("edit", "base", "content")
    ]
    size = sizes[0] + sizes[1] + sizes[2]
    total = func.sum(size).over(order_by=_order(found.c, shape), rows=(None, 0))
    page = select(found, (total - size).label("bytes_before"), func.count().over().label("found_count")).subquery(
        "page"
    )
    statement = (
        select(page).where(page.c.bytes_before <= bound("max_bytes", BigInteger())).order_by(*_order(page.c, shape))
    )
    return compiled("list_changes", statement)


def change_columns(*, with_values: bool) -> Sequence[ColumnElement[Any]]:
    """What `change_of` reads. Needs the value tenant_id.

    The content of a creation is not in the log: it is the record's, with what came later taken back.
    """
    c, r = change.c, record.c
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


def _pin(name: str) -> ColumnElement[bool]:
    column = change.c[name]
    value = bound(f"pin_{name}")
    if name == "commit_id":
        return column == cast(cast(value, Text()), UUID())  # an equality tells that it is not null
    if name == "session_id":
        return and_(column == cast(value, Text()), column != literal_column("''"))
    return column == cast(value, Text())


def _order(columns: Any, shape: Shape) -> list[Any]:
    return [columns[name].asc() if shape.oldest_first else columns[name].desc() for name in shape.place]
