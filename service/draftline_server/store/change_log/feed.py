"""The log as a feed: read in log order, and only up to the point before which no change can appear later.

A change may be shown when every transaction up to its `log_xact` has ended (see migrations/sql/0003_tables.sql).
A committed change that may not be shown yet is pending: an older transaction is still running.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text, exists, func, null, or_, select, true, tuple_

from ...concurrency.call_context import call_tenant
from ...concurrency.fair_semaphore import FairSemaphore
from ...domain.changes import Change
from ...domain.errors import TokenExpiredError
from ...domain.filters.ast import Filter
from ...domain.filters.conditions import Condition
from ..database import Database
from ..filter_templates import FilterTemplate, parameterize
from ..filters import FilterScope, compile_filter
from ..lists.order import bound
from ..statements import Statement, compiled, load
from ..tables import change, change_log
from .changes import change_of
from .page import NO_NOTICES, LogPage, tenant
from .query import ATTRIBUTES

SQL = load("feed")
MAX_ROWS = 500  # of one page
MAX_PAGE_BYTES = 128 * 1024  # of values; only a single change may exceed it
MAX_ID = 2**63 - 1
MAX_SCANNED = 2_000  # the maximum number of entries that a page examines
RESERVED_SHARE = 4  # one in so many connections is reserved for tenants that are not reading


@dataclass(frozen=True, slots=True, order=True)
class LogPosition:
    """A position in the order of the log; everything after it is still to be read."""

    xact: int
    change_id: int


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of a tenant's log to read, with the notices of one user's drafts if a user is named."""

    tenant_id: str
    collection: str = ""  # empty: all
    drafts_of: str = ""  # a user id; empty: no notices of drafts
    with_values: bool = True  # include the values of the changes' paths
    form: FilterTemplate | None = None  # the template of the filter
    values: tuple[tuple[str, object], ...] = ()  # the values of the template's parameters

    def filtered(self, condition: Filter[Condition] | None) -> Scope:
        if condition is None:
            return self
        form, values = parameterize(condition)
        return replace(self, form=form, values=tuple(values.items()))


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the log; `change` is None for a notice of a draft and for the entry of a purge."""

    position: LogPosition
    record_id: str
    change: Change | None


@dataclass(frozen=True, slots=True)
class FeedPage:
    """The entries between two positions of the log."""

    start: LogPosition
    end: LogPosition
    entries: Sequence[Entry] = field(default_factory=tuple)
    more: bool = False  # more can be read now
    pending: bool = False  # there are more changes that cannot be read yet


class Feed:
    """A reader of the log with a limited number of connections, shared fairly among tenants."""

    def __init__(self, database: Database, connections: int) -> None:
        self._database = database
        self._permits = FairSemaphore(connections, connections // RESERVED_SHARE)

    async def now(self) -> LogPosition:
        """Return the current end of the readable log."""
        return _before((await self._log())["horizon"])

    async def check(self, position: LogPosition) -> None:
        """Raise TokenExpiredError if changes after the position were dropped, or if the log ends before it."""
        log = await self._log()
        _refuse_dropped(position, log["dropped_xact"], log["dropped_id"])
        if position > _before(log["horizon"]):
            raise TokenExpiredError(
                "resume_token: it is ahead of the database's log, as after a failover that lost writes; "
                "read the records again, and watch with an empty token"
            )

    async def read(self, scope: Scope, after: LogPosition) -> FeedPage:
        """Return the next page after a position. Raise TokenExpiredError if changes after it were dropped."""
        statement, fixed = _page_statement(bool(scope.collection), bool(scope.drafts_of), scope.with_values, scope.form)
        values: Mapping[str, object] = {
            **fixed,
            **dict(scope.values),
            "tenant_id": scope.tenant_id,
            "collection": scope.collection,
            "user_id": scope.drafts_of,
            "after_xact": after.xact,
            "after_id": after.change_id,
            "limit": MAX_ROWS,
            "max_bytes": MAX_PAGE_BYTES,
            "scan_limit": MAX_SCANNED,
        }
        rows = await self._fetch(scope.tenant_id, statement, dict(values))
        first = rows[0]
        _refuse_dropped(after, first["dropped_xact"], first["dropped_id"])
        entries = [_entry(row) for row in rows if row["change_id"] is not None]
        if entries and (first["found_count"] == MAX_ROWS or len(entries) < first["found_count"]):
            return FeedPage(after, entries[-1].position, entries, more=True, pending=first["pending"])
        if first["scan_log_xact"] is not None:
            scanned = LogPosition(first["scan_log_xact"], first["scan_change_id"])
            return FeedPage(after, scanned, entries, more=True, pending=first["pending"])
        # Everything up to the horizon was read, but the position never moves back before `after`.
        return FeedPage(after, max(after, _before(first["horizon"])), entries, pending=first["pending"])

    async def _log(self) -> Any:
        """Return the horizon of the log, and up to where it was dropped."""
        return (await self._fetch(call_tenant.get(), SQL["log_horizon"], {}))[0]

    async def _fetch(self, tenant_id: str, statement: Statement, values: dict[str, object]) -> Any:
        """Run the statement once the tenant has acquired a connection permit."""
        await self._permits.acquire(tenant_id)
        try:
            return await self._database.fetch(statement, values, idempotent=True)
        finally:
            self._permits.release(tenant_id)


def _before(xact: int) -> LogPosition:
    return LogPosition(xact - 1, MAX_ID)


def _refuse_dropped(position: LogPosition, dropped_xact: int, dropped_id: int) -> None:
    if position < LogPosition(dropped_xact, dropped_id):
        raise TokenExpiredError(
            "resume_token: changes after it were deleted from the log; read the records again, "
            "and watch with an empty token"
        )


def _entry(row: Any) -> Entry:
    # The deletion of a purged record is in the feed already, and its versions start again after the purge.
    return Entry(
        LogPosition(row["log_xact"], row["change_id"]),
        row["record_id"],
        change_of(row) if row["kind"] not in ("DRAFT", "PURGE") else None,
    )


@lru_cache(maxsize=512)
def _page_statement(
    has_collection: bool, with_drafts: bool, with_values: bool, form: FilterTemplate | None
) -> tuple[Statement, Mapping[str, object]]:
    """Return the statement of a page of the log.

    It returns at least one row. The first columns say how far the log goes.
    """
    horizon = func.draftline.log_horizon(type_=BigInteger())
    log = select(change_log.c.dropped_xact, change_log.c.dropped_id, horizon.label("horizon")).subquery("log")
    of_tenant = change.c.tenant_id == tenant()
    collection = bound("collection", type_=Text())
    here = [change.c.log_xact, change.c.change_id]
    after = [bound("after_xact", type_=BigInteger()), bound("after_id", type_=BigInteger())]
    conditions: list[ColumnElement[bool]] = [of_tenant, change.c.log_xact < horizon]
    filters: list[ColumnElement[bool]] = []
    if has_collection and not with_drafts:
        # The index of a collection's changes has no notices of drafts. The position includes the collection, so only
        # that index can seek to it.
        conditions += [change.c.collection == collection, NO_NOTICES]
        here, after = [change.c.collection, *here], [collection, *after]
    else:
        mine = change.c.user_id == bound("user_id", type_=Text())
        filters.append(or_(NO_NOTICES, mine) if with_drafts else NO_NOTICES)
        if has_collection:
            filters.append(change.c.collection == collection)
    conditions.append(tuple_(*here) > tuple_(*after))
    if form is not None:
        filters.append(compile_filter(form, FilterScope(null(), ATTRIBUTES)))
    position = ("log_xact", "change_id")
    page = LogPage(conditions, filters, position, oldest_first=True, with_values=with_values, is_bounded=bool(filters))
    entries = page.statement().subquery("entries")
    pending = exists().where(of_tenant, change.c.log_xact >= horizon)
    statement = (
        select(log, pending.label("pending"), entries)
        .select_from(log.join(entries, true()))
        .order_by(entries.c.log_xact, entries.c.change_id)
    )
    return compiled("read_feed", statement)
